//! The last touches on a merged tree: implied dependencies, profiles, environments, names, defaults.

use crate::diagnostic::Diagnostic;
use crate::dotenv;
use crate::load::{Loader, Scope};
use crate::node::{Map, Node, Value};
use crate::source::Span;
use std::collections::BTreeSet;
use std::path::Path;

fn text(text: impl Into<String>) -> Node {
    Node::text(text, Span::NONE)
}

fn flag(value: bool) -> Node {
    Node::new(Value::Bool(value), Span::NONE)
}

/// The map under `key`, made when it is not there.
fn section<'t>(tree: &'t mut Node, key: &str) -> Option<&'t mut Map> {
    let map = tree.as_map_mut()?;
    let node =
        map.entry(key.to_owned()).or_insert_with(|| Node::new(Value::Map(Map::new()), Span::NONE));
    if node.is_null() {
        node.value = Value::Map(Map::new());
    }
    node.as_map_mut()
}

fn texts(node: &Node, key: &str) -> Vec<(String, Span)> {
    let items = node.get(key).and_then(Node::as_seq).unwrap_or_default();
    items.iter().filter_map(|item| Some((item.as_str()?.to_owned(), item.span))).collect()
}

/// Adds the dependencies that links, shared namespaces and shared volumes imply.
pub(crate) fn dependencies(tree: &mut Node) {
    let Some(services) = section(tree, "services") else { return };
    for service in services.values_mut() {
        let mut implied = Vec::new();
        for (link, span) in texts(service, "links") {
            let name = link.split(':').next().unwrap_or_default().to_owned();
            implied.push((name, span, true));
        }
        for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
            let node = service.get(key);
            if let Some(name) = node.and_then(Node::as_str).and_then(|v| v.strip_prefix("service:"))
            {
                implied.push((name.to_owned(), node.map_or(Span::NONE, |node| node.span), true));
            }
        }
        for (source, span) in texts(service, "volumes_from") {
            if !source.starts_with("container:") {
                let name = source.split(':').next().unwrap_or_default().to_owned();
                implied.push((name, span, false));
            }
        }
        if implied.is_empty() {
            continue;
        }
        let Some(known) = section(service, "depends_on") else { continue };
        for (name, span, restart) in implied {
            known.entry(name).or_insert_with(|| {
                let entries = [
                    ("condition", text("service_started")),
                    ("required", flag(true)),
                    ("restart", flag(restart)),
                ];
                Node { key: span, ..Node::map(entries, span) }
            });
        }
    }
}

/// Every profile that a service names.
pub(crate) fn all_profiles(tree: &Node) -> BTreeSet<String> {
    let services = tree.get("services").and_then(Node::as_map).into_iter().flat_map(Map::values);
    services.flat_map(|service| texts(service, "profiles")).map(|(profile, _)| profile).collect()
}

/// Takes out the services that no active profile asks for, and returns their names.
pub(crate) fn profiles(tree: &mut Node, active: &[String], named: &[String]) -> BTreeSet<String> {
    let Some(services) = section(tree, "services") else { return BTreeSet::new() };
    let wanted = |service: &Node| {
        let profiles = texts(service, "profiles");
        profiles.is_empty()
            || active.iter().any(|p| p == "*")
            || profiles.iter().any(|(profile, _)| active.contains(profile))
    };
    // A service named by the user brings its own profiles with it.
    let mut disabled: BTreeSet<String> = services
        .iter()
        .filter(|(name, service)| !wanted(service) && !named.contains(name))
        .map(|(name, _)| name.clone())
        .collect();
    let brought: BTreeSet<String> = named
        .iter()
        .filter_map(|name| services.get(name))
        .flat_map(|service| texts(service, "profiles"))
        .map(|(profile, _)| profile)
        .collect();
    disabled.retain(|name| {
        let profiles = services.get(name).map(|service| texts(service, "profiles"));
        !profiles.unwrap_or_default().iter().any(|(profile, _)| brought.contains(profile))
    });
    services.retain(|name, _| !disabled.contains(name));
    disabled
}

/// Gives bare names of environments the values of the files' own variables: an included model has its own.
pub(crate) fn bare_names(tree: &mut Node, scope: &Scope) {
    let Some(services) = section(tree, "services") else { return };
    for service in services.values_mut() {
        let environment = service.as_map_mut().and_then(|map| map.get_mut("environment"));
        for (name, node) in environment.and_then(Node::as_map_mut).into_iter().flatten() {
            if let Some(value) = scope.env.get(name).filter(|_| node.is_null()) {
                node.value = Value::Str(value.clone());
            }
        }
    }
}

/// The named services and what they depend on; all when none is named.
fn closure(services: &Map, named: &[String]) -> BTreeSet<String> {
    let mut open: Vec<&String> =
        if named.is_empty() { services.keys().collect() } else { named.iter().collect() };
    let mut chosen = BTreeSet::new();
    while let Some(name) = open.pop() {
        if let Some(service) = services.get(name)
            && chosen.insert(name.clone())
        {
            let on = service.get("depends_on").and_then(Node::as_map);
            open.extend(on.into_iter().flat_map(Map::keys));
        }
    }
    chosen
}

/// Reads `env_file`s and `label_file`s of the services that are asked for: those of others may be missing.
pub(crate) fn environment(
    loader: &mut Loader<'_>,
    tree: &mut Node,
    scope: &Scope,
    named: &[String],
) {
    let Some(services) = section(tree, "services") else { return };
    let chosen = closure(services, named);
    for (name, service) in services.iter_mut().filter(|(name, _)| chosen.contains(*name)) {
        resolve(loader, name, service, scope);
    }
}

fn resolve(loader: &mut Loader<'_>, name: &str, service: &mut Node, scope: &Scope) {
    let map = service.as_map_mut();
    let files = map.and_then(|map| map.shift_remove("env_file"));
    let own = service.get("environment").and_then(Node::as_map).cloned().unwrap_or_default();
    let mut merged = Map::new();
    for file in files.as_ref().and_then(Node::as_seq).unwrap_or_default() {
        read_env_file(loader, name, file, (scope, &own), &mut merged);
    }
    let label_files = service.as_map_mut().and_then(|map| map.shift_remove("label_file"));
    let mut labels = Map::new();
    for file in label_files.as_ref().and_then(Node::as_seq).unwrap_or_default() {
        let Some(path) = file.as_str() else { continue };
        read_vars(
            loader,
            &format!("services.{name}.label_file"),
            path,
            file.span,
            (false, true),
            (scope, &Map::new()),
            &mut labels,
        );
    }
    if !merged.is_empty() || service.get("environment").is_some() {
        let Some(environment) = section(service, "environment") else { return };
        merged.extend(environment.drain(..));
        *environment = merged;
    }
    if !labels.is_empty() {
        let Some(written) = section(service, "labels") else { return };
        labels.extend(written.drain(..));
        *written = labels;
    }
}

fn read_env_file(
    loader: &mut Loader<'_>,
    name: &str,
    file: &Node,
    surroundings: (&Scope, &Map),
    into: &mut Map,
) {
    let Some(path) = file.get("path").and_then(Node::as_str) else { return };
    let required = file.get("required").is_none_or(|node| node.value == Value::Bool(true));
    let raw = file.get("format").is_some();
    let place = file.get("path").map_or(file.span, |node| node.span);
    read_vars(
        loader,
        &format!("services.{name}.env_file"),
        path,
        place,
        (raw, required),
        surroundings,
        into,
    );
}

fn read_vars(
    loader: &mut Loader<'_>,
    at: &str,
    path: &str,
    place: Span,
    (raw, required): (bool, bool),
    (scope, own): (&Scope, &Map),
    into: &mut Map,
) {
    let content = match required {
        true => loader.read_env(Path::new(path), place),
        false => loader.read_if_exists(Path::new(path), place),
    };
    let Some(content) = content else { return };
    let known = |vars: &Map, key: &str| vars.get(key).and_then(Node::as_str).map(str::to_owned);
    let lookup = |key: &str| {
        let found = scope.env.get(key).cloned();
        found.or_else(|| known(own, key)).or_else(|| known(into, key))
    };
    let parsed =
        if raw { dotenv::parse_raw(&content, &lookup) } else { dotenv::parse(&content, &lookup) };
    match parsed {
        Ok(vars) => {
            // a bare name that nobody sets says nothing
            let set = vars.into_iter().filter_map(|(key, value)| Some((key, value?)));
            into.extend(set.map(|(key, value)| (key, Node::text(value, place))));
        }
        Err(error) => {
            let message = format!("cannot read {path}: {error}");
            loader.diagnostics.push(Diagnostic::error(at, message, place));
        }
    }
}

/// Names of the engine's objects, the default network, and a fixed order of keys.
pub(crate) fn names(tree: &mut Node, project: &str, keep_form: bool) {
    if let Some(map) = tree.as_map_mut() {
        map.shift_remove("version");
        map.insert("name".to_owned(), text(project));
    }
    if keep_form {
        return;
    }
    let mut uses_default = false;
    if let Some(services) = section(tree, "services") {
        for service in services.values_mut() {
            let own = service.get("network_mode").is_some() || service.get("provider").is_some();
            if own {
                continue;
            }
            let Some(networks) = section(service, "networks") else { continue };
            if networks.is_empty() {
                networks.insert("default".to_owned(), Node::new(Value::Null, Span::NONE));
            }
            uses_default |= networks.contains_key("default");
        }
    }
    if let Some(networks) = section(tree, "networks")
        && uses_default
    {
        networks.entry("default".to_owned()).or_insert_with(|| Node::map([], Span::NONE));
    }
    for kind in ["networks", "volumes", "secrets", "configs"] {
        let Some(entries) = section(tree, kind) else { continue };
        for (key, node) in entries.iter_mut() {
            if node.is_null() {
                node.value = Value::Map(Map::new());
            }
            let external = node.get("external").map(|e| &e.value) == Some(&Value::Bool(true));
            let name = if external { key.clone() } else { format!("{project}_{key}") };
            if let Some(map) = node.as_map_mut() {
                // what an unset variable leaves is no name
                if map.get("name").is_none_or(|given| given.as_str() == Some("")) {
                    map.insert("name".to_owned(), text(name));
                }
                if !external {
                    map.shift_remove("external");
                }
            }
        }
        if entries.is_empty()
            && let Some(map) = tree.as_map_mut()
        {
            map.shift_remove(kind);
        }
    }
}

/// Init containers run in the service's image unless they name one.
pub(crate) fn init_images(tree: &mut Node) {
    let Some(services) = section(tree, "services") else { return };
    for service in services.values_mut() {
        let image = service.get("image").cloned().filter(|image| image.as_str() != Some(""));
        let hooks = service.as_map_mut().and_then(|map| map.get_mut("pre_start"));
        let Some(Value::Seq(hooks)) = hooks.map(|hooks| &mut hooks.value) else { continue };
        for hook in hooks.iter_mut().filter_map(Node::as_map_mut) {
            if let Some(image) = &image {
                hook.entry("image".to_owned()).or_insert_with(|| image.clone());
            }
        }
    }
}

/// What a build does not say; variables of builds that nobody sets are not passed on.
pub(crate) fn builds(tree: &mut Node, scope: &Scope) {
    let Some(services) = section(tree, "services") else { return };
    for service in services.values_mut() {
        let build = service.as_map_mut().and_then(|map| map.get_mut("build"));
        let Some(build) = build.and_then(Node::as_map_mut) else { continue };
        let context = || text(scope.dir.to_string_lossy());
        build.entry("context".to_owned()).or_insert_with(context);
        // A blank one is none: it is not printed, and what is printed must mean the same.
        build.retain(|key, value| key != "dockerfile_inline" || value.as_str() != Some(""));
        if !build.contains_key("dockerfile_inline") {
            build.entry("dockerfile".to_owned()).or_insert_with(|| text("Dockerfile"));
        }
        if let Some(args) = build.get_mut("args").and_then(Node::as_map_mut) {
            args.retain(|name, value| {
                if let Some(found) = scope.env.get(name).filter(|_| value.is_null()) {
                    value.value = Value::Str(found.clone());
                }
                !value.is_null()
            });
        }
    }
}

/// Networks, volumes, secrets, configs and models that no service uses are not part of the project.
pub(crate) fn prune(tree: &mut Node) {
    let mut used: BTreeSet<(&'static str, String)> = BTreeSet::new();
    for service in tree.get("services").and_then(Node::as_map).into_iter().flat_map(Map::values) {
        for kind in ["networks", "models"] {
            let names = service.get(kind).and_then(Node::as_map).into_iter().flat_map(Map::keys);
            used.extend(names.map(|name| (kind, name.clone())));
        }
        for mount in service.get("volumes").and_then(Node::as_seq).unwrap_or_default() {
            let source = mount.get("source").and_then(Node::as_str);
            used.extend(source.map(|name| ("volumes", name.to_owned())));
        }
        let build = service.get("build");
        for kind in ["secrets", "configs"] {
            let grants = [service.get(kind), build.and_then(|build| build.get(kind))];
            for grant in grants.into_iter().flatten().filter_map(Node::as_seq).flatten() {
                let source = grant.get("source").and_then(Node::as_str);
                used.extend(source.map(|name| (kind, name.to_owned())));
            }
        }
        let spec = service.at(&["credential_spec", "config"]).and_then(Node::as_str);
        used.extend(spec.map(|name| ("configs", name.to_owned())));
    }
    for kind in ["networks", "volumes", "secrets", "configs", "models"] {
        if let Some(entries) = tree.as_map_mut().and_then(|map| map.get_mut(kind)?.as_map_mut()) {
            entries.retain(|name, _| used.contains(&(kind, name.clone())));
        }
        if let Some(map) = tree.as_map_mut()
            && map.get(kind).and_then(Node::as_map).is_some_and(Map::is_empty)
        {
            map.shift_remove(kind);
        }
    }
}
