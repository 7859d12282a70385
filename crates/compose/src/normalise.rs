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
            implied.push((name, span));
        }
        for key in ["network_mode", "ipc", "pid"] {
            let node = service.get(key);
            if let Some(name) = node.and_then(Node::as_str).and_then(|v| v.strip_prefix("service:"))
            {
                implied.push((name.to_owned(), node.map_or(Span::NONE, |node| node.span)));
            }
        }
        for (source, span) in texts(service, "volumes_from") {
            if !source.starts_with("container:") {
                implied.push((source.split(':').next().unwrap_or_default().to_owned(), span));
            }
        }
        if implied.is_empty() {
            continue;
        }
        let Some(known) = section(service, "depends_on") else { continue };
        for (name, span) in implied {
            known.entry(name).or_insert_with(|| {
                let entries = [
                    ("condition", text("service_started")),
                    ("required", flag(true)),
                    ("restart", flag(true)),
                ];
                Node { key: span, ..Node::map(entries, span) }
            });
        }
    }
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
    for service in services.values_mut() {
        drop_optional(service, &disabled);
    }
    disabled
}

/// A dependency that is not required and not there is none.
fn drop_optional(service: &mut Node, disabled: &BTreeSet<String>) {
    let Some(depends_on) = service.as_map_mut().and_then(|map| map.get_mut("depends_on")) else {
        return;
    };
    let optional =
        |node: &Node| node.get("required").map(|r| &r.value) == Some(&Value::Bool(false));
    if let Some(map) = depends_on.as_map_mut() {
        map.retain(|name, node| !(disabled.contains(name) && optional(node)));
    }
}

/// Reads `env_file`s and gives bare variables the values of the environment.
pub(crate) fn environment(loader: &mut Loader<'_>, tree: &mut Node, scope: &Scope) {
    let Some(services) = section(tree, "services") else { return };
    for (name, service) in services.iter_mut() {
        resolve(loader, name, service, scope);
    }
}

fn resolve(loader: &mut Loader<'_>, name: &str, service: &mut Node, scope: &Scope) {
    let lookup = |key: &str| scope.env.get(key).cloned();
    let map = service.as_map_mut();
    let files = map.and_then(|map| map.shift_remove("env_file"));
    let mut merged = Map::new();
    for file in files.as_ref().and_then(Node::as_seq).unwrap_or_default() {
        read_env_file(loader, name, file, scope, &mut merged);
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
            scope,
            &mut labels,
        );
    }
    if !merged.is_empty() || service.get("environment").is_some() {
        let Some(environment) = section(service, "environment") else { return };
        for (key, node) in environment.drain(..) {
            merged.insert(key, node);
        }
        for (key, node) in &mut merged {
            if node.is_null()
                && let Some(value) = lookup(key)
            {
                node.value = Value::Str(value);
            }
        }
        *environment = merged;
    }
    if !labels.is_empty() {
        let Some(written) = section(service, "labels") else { return };
        labels.extend(written.drain(..));
        *written = labels;
    }
}

fn read_env_file(loader: &mut Loader<'_>, name: &str, file: &Node, scope: &Scope, into: &mut Map) {
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
        scope,
        into,
    );
}

fn read_vars(
    loader: &mut Loader<'_>,
    at: &str,
    path: &str,
    place: Span,
    (raw, required): (bool, bool),
    scope: &Scope,
    into: &mut Map,
) {
    let content = match required {
        true => loader.read(Path::new(path), place),
        false => loader.read_if_exists(Path::new(path), place),
    };
    let Some(content) = content else { return };
    let lookup = |key: &str| scope.env.get(key).cloned();
    let parsed =
        if raw { dotenv::parse_raw(&content, &lookup) } else { dotenv::parse(&content, &lookup) };
    match parsed {
        Ok(vars) => {
            for (key, value) in vars {
                let value = value.map_or(Value::Null, Value::Str);
                into.insert(key, Node::new(value, place));
            }
        }
        Err(error) => {
            let message = format!("cannot read {path}: {error}");
            loader.diagnostics.push(Diagnostic::error(at, message, place));
        }
    }
}

/// Names of the engine's objects, the default network, and a fixed order of keys.
pub(crate) fn names(tree: &mut Node, project: &str) {
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
                map.entry("name".to_owned()).or_insert_with(|| text(name));
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
    if let Some(map) = tree.as_map_mut() {
        map.shift_remove("version");
        map.insert("name".to_owned(), text(project));
    }
    sort(tree);
    if let Some(map) = tree.as_map_mut() {
        const ORDER: [&str; 6] = ["name", "services", "networks", "volumes", "secrets", "configs"];
        let rank = |key: &str| ORDER.iter().position(|known| *known == key).unwrap_or(ORDER.len());
        map.sort_by(|a, _, b, _| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    }
}

fn sort(node: &mut Node) {
    match &mut node.value {
        Value::Map(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort);
        }
        Value::Seq(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}
