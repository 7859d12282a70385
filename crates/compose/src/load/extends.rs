//! `extends`: a service that begins as a copy of another one, of this file or of another.

use super::{Loader, Scope};
use crate::diagnostic::Diagnostic;
use crate::merge::merge;
use crate::node::Node;
use crate::paths;
use crate::schema::{SERVICE, Shape};
use std::path::{Path, PathBuf};

const SERVICE_SHAPE: &Shape = &Shape::Object(&SERVICE);

/// Replaces every `extends` of a layer. `below` is what earlier files said.
pub(super) fn resolve_all(
    loader: &mut Loader<'_>,
    layer: &mut Node,
    below: &Node,
    path: &Path,
    scope: &Scope,
) {
    let Some(services) = layer.get("services").and_then(Node::as_map) else { return };
    let names: Vec<String> = services
        .iter()
        .filter(|(_, service)| service.get("extends").is_some())
        .map(|(name, _)| name.clone())
        .collect();
    let frozen = layer.clone();
    for name in names {
        let mut chain = Vec::new();
        let from = Place { path, dir: &scope.dir, layer: &frozen, below: Some(below) };
        let resolved = resolve(loader, &name, &from, scope, &mut chain);
        let services = layer.as_map_mut().and_then(|map| map.get_mut("services"));
        if let (Some(resolved), Some(services)) = (resolved, services.and_then(Node::as_map_mut)) {
            services.insert(name, resolved);
        }
    }
}

/// A file in which services are looked up.
struct Place<'a> {
    path: &'a Path,
    dir: &'a Path,
    layer: &'a Node,
    below: Option<&'a Node>,
}

impl Place<'_> {
    fn service(&self, name: &str) -> Option<&Node> {
        let within = |tree: &'_ Node| tree.at(&["services", name]).is_some();
        match self.below {
            Some(below) if !within(self.layer) => below.at(&["services", name]),
            _ => self.layer.at(&["services", name]),
        }
    }
}

fn resolve(
    loader: &mut Loader<'_>,
    name: &str,
    from: &Place<'_>,
    scope: &Scope,
    chain: &mut Vec<(PathBuf, String)>,
) -> Option<Node> {
    let mut service = from.service(name)?.clone();
    let Some(extends) = service.as_map_mut().and_then(|map| map.shift_remove("extends")) else {
        return Some(service);
    };
    let step = (from.path.to_owned(), name.to_owned());
    if chain.contains(&step) {
        let names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).chain([name]).collect();
        let message = format!("circular reference: {}", names.join(" -> "));
        let diagnostic =
            Diagnostic::error(format!("services.{name}.extends"), message, extends.place());
        loader.diagnostics.push(diagnostic);
        return None;
    }
    chain.push(step);
    let base = base(loader, name, &extends, from, scope, chain);
    chain.pop();
    base.map(|base| {
        let key = service.key;
        Node { key, ..merge(base, service, SERVICE_SHAPE) }
    })
}

fn base(
    loader: &mut Loader<'_>,
    name: &str,
    extends: &Node,
    from: &Place<'_>,
    scope: &Scope,
    chain: &mut Vec<(PathBuf, String)>,
) -> Option<Node> {
    let wanted = extends.get("service")?.as_str()?.to_owned();
    let place = extends.get("service")?.span;
    let Some(file) = extends.get("file").and_then(Node::as_str) else {
        if from.service(&wanted).is_none() {
            return missing(loader, name, &wanted, from.layer, place);
        }
        return resolve(loader, &wanted, from, scope, chain);
    };
    if paths::is_remote(file) {
        let message = "a remote resource is not fetched";
        let diagnostic = Diagnostic::error(
            format!("services.{name}.extends"),
            message,
            extends.get("file")?.span,
        )
        .label("expected a path on this machine")
        .help("clone or download it, then extend the copy");
        loader.diagnostics.push(diagnostic);
        return None;
    }
    let path = paths::absolute(from.dir, scope.env.get("HOME").map(String::as_str), file);
    let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
    let documents = loader.parse(&path, extends.get("file")?.span)?;
    let document = documents.into_iter().last()?;
    let layer = loader.layer(document, &dir, scope);
    let there = Place { path: &path, dir: &dir, layer: &layer, below: None };
    if there.service(&wanted).is_none() {
        return missing(loader, name, &wanted, &layer, place);
    }
    resolve(loader, &wanted, &there, scope, chain)
}

fn missing(
    loader: &mut Loader<'_>,
    name: &str,
    wanted: &str,
    layer: &Node,
    place: crate::source::Span,
) -> Option<Node> {
    let message = format!("cannot extend service {wanted:?}: no such service");
    let services = layer.get("services").and_then(Node::as_map);
    let known = services.into_iter().flat_map(|map| map.keys().map(String::as_str));
    loader.unknown(format!("services.{name}.extends"), message, place, (wanted, known));
    None
}
