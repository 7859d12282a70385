//! Checks over the whole project: what must be there, what names must exist, and that no circle closes.

mod consistency;

use crate::diagnostic::{Diagnostic, Level, suggestion};
use crate::graph;
use crate::load::Target;
use crate::node::{Node, Value};
use crate::source::Span;
use std::collections::{BTreeMap, BTreeSet};

fn entries<'t>(tree: &'t Node, key: &str) -> impl Iterator<Item = (&'t String, &'t Node)> {
    tree.get(key).and_then(Node::as_map).into_iter().flatten()
}

fn names<'t>(tree: &'t Node, key: &str) -> BTreeSet<&'t str> {
    entries(tree, key).map(|(name, _)| name.as_str()).collect()
}

/// Rules that hold inside each service of an active profile.
pub(crate) fn services(tree: &Node, target: Target, diagnostics: &mut Vec<Diagnostic>) {
    let errors = diagnostics.iter().filter(|d| d.level == Level::Error);
    let blamed: BTreeSet<String> = errors.map(|d| d.path.clone()).collect();
    for (name, service) in entries(tree, "services") {
        let at = format!("services.{name}");
        // an `extends` that is still there could not be followed
        let excused = service.get("extends").is_some()
            || ["", ".image", ".build"].iter().any(|rest| blamed.contains(&format!("{at}{rest}")));
        let mut error = |message: &str, span: Span, label: &str| {
            diagnostics.push(Diagnostic::error(&at, message, span).label(label));
        };
        let has = |key: &str| service.get(key);
        let sourced = ["image", "build", "provider"]
            .iter()
            .any(|key| has(key).is_some_and(|node| node.as_str() != Some("")));
        if !sourced && !excused {
            error(
                "has neither an image nor a build context specified",
                service.place(),
                "needs `image` or `build`",
            );
        }
        if let (Some(mode), Some(networks)) = (has("network_mode"), has("networks"))
            && networks.as_map().is_some_and(|map| !map.is_empty())
        {
            error(
                "declares mutually exclusive `network_mode` and `networks`",
                mode.place(),
                "remove one of the two",
            );
        }
        let build = |key| service.at(&["build", key]);
        if let (Some(inline), Some(_)) = (build("dockerfile_inline"), build("dockerfile")) {
            error(
                "declares mutually exclusive `dockerfile` and `dockerfile_inline`",
                inline.place(),
                "remove one of the two",
            );
        }
        replicas(&at, service, diagnostics);
        ports_of_host(&at, service, diagnostics);
        ports_of_container(&at, service, diagnostics);
        anonymous_binds(&at, service, diagnostics);
        consistency::all(&at, service, diagnostics);
    }
    for kind in ["secrets", "configs"] {
        for (name, node) in entries(tree, kind) {
            file_source(&format!("{kind}.{name}"), node, target, diagnostics);
        }
    }
    for (name, node) in entries(tree, "volumes") {
        external_alone(&format!("volumes.{name}"), node, Level::Error, diagnostics);
    }
    for (name, node) in entries(tree, "networks") {
        external_alone(&format!("networks.{name}"), node, Level::Warning, diagnostics);
    }
}

fn replicas(at: &str, service: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let scale = service.get("scale").map(|n| (&n.value, n.place()));
    let replicas = service.at(&["deploy", "replicas"]).map(|n| &n.value);
    if let (Some((scale, place)), Some(replicas)) = (scale, replicas)
        && scale != replicas
    {
        let message = "can't set distinct values on 'scale' and 'deploy.replicas'";
        diagnostics
            .push(Diagnostic::error(at, message, place).label("differs from `deploy.replicas`"));
    }
    let many = [scale.map(|(value, _)| value), replicas].into_iter().flatten();
    let many = many.filter_map(|value| if let Value::Int(n) = value { Some(*n) } else { None });
    if let (Some(count), Some(name)) =
        (many.max().filter(|n| *n > 1), service.get("container_name"))
    {
        let message =
            format!("cannot be scaled to {count}: `container_name` allows one container only");
        diagnostics.push(
            Diagnostic::error(at, message, name.place())
                .label("Docker requires each container to have a unique name"),
        );
    }
}

fn ports_of_host(at: &str, service: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let host = service.get("network_mode").and_then(Node::as_str) == Some("host");
    if let Some(ports) = service.get("ports").filter(|_| host) {
        let message = "`ports` have no effect with `network_mode: host`";
        diagnostics.push(Diagnostic::warning(at, message, ports.place()));
    }
}

fn ports_of_container(at: &str, service: &Node, diagnostics: &mut Vec<Diagnostic>) {
    for port in service.get("ports").and_then(Node::as_seq).unwrap_or_default() {
        let Some(target) = port.get("target") else { continue };
        let Value::Int(number) = target.value else { continue };
        if !(1..=65535).contains(&number) {
            let message = format!("`{number}` is not a port of a container");
            let label = "a number from 1 to 65535";
            diagnostics.push(Diagnostic::error(at, message, target.span).label(label));
        }
    }
}

fn anonymous_binds(at: &str, service: &Node, diagnostics: &mut Vec<Diagnostic>) {
    for mount in service.get("volumes").and_then(Node::as_seq).unwrap_or_default() {
        let kind = mount.get("type").and_then(Node::as_str);
        if kind == Some("bind") && mount.get("source").is_none() {
            diagnostics.push(Diagnostic::error(at, "a bind needs a `source`", mount.span));
        }
        if mount.get("target").is_none() {
            diagnostics.push(Diagnostic::error(at, "a volume needs a `target`", mount.span));
        }
    }
}

fn external(node: &Node) -> bool {
    node.get("external").map(|e| &e.value) == Some(&Value::Bool(true))
}

fn file_source(at: &str, node: &Node, target: Target, diagnostics: &mut Vec<Diagnostic>) {
    if external(node) {
        return external_alone(at, node, Level::Warning, diagnostics);
    }
    let given =
        ["file", "environment", "content"].iter().filter(|key| node.get(key).is_some()).count();
    // a cluster's drivers bring the content themselves
    let driven = node.get("driver").is_some() || node.get("template_driver").is_some();
    let plugin = target == Target::Cluster && driven;
    if given > 1 {
        let message = "`file`, `environment` and `content` exclude each other";
        diagnostics.push(Diagnostic::error(at, message, node.place()).label("keep one"));
    }
    if given == 0 && !plugin {
        let message = "says no source";
        let label = "one of `file`, `environment`, `content` or `external` must be set";
        diagnostics.push(Diagnostic::error(at, message, node.place()).label(label));
    }
}

/// What is not ours is not ours to describe: an error for volumes, which hold data, else a warning.
fn external_alone(at: &str, node: &Node, level: Level, diagnostics: &mut Vec<Diagnostic>) {
    if !external(node) {
        return;
    }
    for (key, child) in node.as_map().into_iter().flatten() {
        if !matches!(key.as_str(), "external" | "name") && !key.starts_with("x-") {
            let message = format!("conflicting parameters \"external\" and {key:?} specified");
            let diagnostic = Diagnostic::error(at, message, child.place()).label("not ours to set");
            diagnostics.push(Diagnostic { level, ..diagnostic });
        }
    }
}

/// What the project defines, by kind.
struct Known<'t> {
    services: BTreeSet<&'t str>,
    networks: BTreeSet<&'t str>,
    volumes: BTreeSet<&'t str>,
    models: BTreeSet<&'t str>,
    secrets: BTreeSet<&'t str>,
    configs: BTreeSet<&'t str>,
}

/// Names that services use: other services, networks, volumes, secrets, configs.
pub(crate) fn references(
    tree: &Node,
    disabled: &BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    consistency::container_names(tree, diagnostics);
    let mut known = Known {
        services: names(tree, "services"),
        networks: names(tree, "networks"),
        volumes: names(tree, "volumes"),
        models: names(tree, "models"),
        secrets: names(tree, "secrets"),
        configs: names(tree, "configs"),
    };
    known.networks.insert("default");
    for (name, service) in entries(tree, "services") {
        let at = format!("services.{name}");
        dependencies(&at, service, &known, disabled, diagnostics);
        contexts(&at, tree, service, &known, diagnostics);
        used(&at, service, &known, diagnostics);
    }
}

fn dependencies(
    at: &str,
    service: &Node,
    known: &Known<'_>,
    disabled: &BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (wanted, node) in entries(service, "depends_on") {
        let optional = node.get("required").map(|r| &r.value) == Some(&Value::Bool(false));
        let defined = known.services.contains(wanted.as_str());
        // one that may be absent stays as it is written: without it there is nothing to wait for
        if optional && !defined {
            continue;
        }
        if disabled.contains(wanted) {
            let message = format!("depends on {wanted:?}, which no active profile enables");
            diagnostics.push(Diagnostic::error(at, message, node.place()));
        } else if !defined {
            undefined(at, "service", wanted, node.place(), &known.services, diagnostics);
        }
    }
}

/// Everything that is not a service.
fn used(at: &str, service: &Node, known: &Known<'_>, diagnostics: &mut Vec<Diagnostic>) {
    for (kind, key, known) in
        [("network", "networks", &known.networks), ("model", "models", &known.models)]
    {
        for (wanted, node) in entries(service, key) {
            if !known.contains(wanted.as_str()) {
                undefined(at, kind, wanted, node.place(), known, diagnostics);
            }
        }
    }
    let items = |path: &[&str]| service.at(path).and_then(Node::as_seq).unwrap_or_default();
    for mount in items(&["volumes"]) {
        let source = mount.get("source").and_then(Node::as_str).filter(|text| !text.is_empty());
        if let (Some("volume"), Some(source)) = (mount.get("type").and_then(Node::as_str), source)
            && !known.volumes.contains(source)
        {
            undefined(at, "volume", source, mount.span, &known.volumes, diagnostics);
        }
    }
    for (kind, key, known) in
        [("secret", "secrets", &known.secrets), ("config", "configs", &known.configs)]
    {
        for grant in items(&[key]).iter().chain(items(&["build", key])) {
            if let Some(source) = grant.get("source").and_then(Node::as_str)
                && !known.contains(source)
            {
                undefined(at, kind, source, grant.span, known, diagnostics);
            }
        }
    }
}

/// A context that is another service's image needs that service to be built.
fn contexts(
    at: &str,
    tree: &Node,
    service: &Node,
    known: &Known<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let Some(contexts) = service.at(&["build", "additional_contexts"]) else { return };
    for (name, context) in contexts.as_map().into_iter().flatten() {
        let Some(wanted) = context.as_str().and_then(|text| text.strip_prefix("service:")) else {
            continue;
        };
        if !known.services.contains(wanted) {
            undefined(at, "service", wanted, context.place(), &known.services, diagnostics);
        } else if tree.at(&["services", wanted, "build"]).is_none() {
            let message =
                format!("takes service {wanted} as the context {name}, which is not built");
            diagnostics.push(Diagnostic::error(at, message, context.place()));
        }
    }
}

fn undefined(
    at: &str,
    kind: &str,
    name: &str,
    place: Span,
    known: &BTreeSet<&str>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut diagnostic = Diagnostic::error(at, format!("refers to undefined {kind} {name}"), place)
        .label("not defined");
    if let Some(near) = suggestion(diagnostics.len(), name, known.iter().copied()) {
        diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
    } else if kind != "service" {
        diagnostic = diagnostic.help(format!("declare it at the top level under `{kind}s:`"));
    }
    diagnostics.push(diagnostic);
}

/// No service may wait for itself, over however many others.
pub(crate) fn cycles(tree: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let edges: BTreeMap<&str, Vec<&str>> = entries(tree, "services")
        .map(|(name, service)| {
            (name.as_str(), entries(service, "depends_on").map(|(on, _)| on.as_str()).collect())
        })
        .collect();
    if let Some(cycle) = graph::cycle(&edges) {
        let place = tree
            .at(&["services", cycle[0], "depends_on", cycle[1]])
            .map_or(Span::NONE, Node::place);
        let message = format!("dependency cycle detected: {}", graph::shown(&cycle));
        let at = format!("services.{}", cycle[0]);
        diagnostics.push(Diagnostic::error(at, message, place).label("closes the circle"));
    }
}
