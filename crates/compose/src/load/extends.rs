//! `extends`: a service that begins as a copy of another one, of this file or of another.
//!
//! A chain is followed to its end first and merged backwards; what is resolved once is kept, so that neither
//! a long chain nor many services of one base take more than their own length. What they become is counted: each of a
//! chain holds all of those before it.

use super::{Loader, Scope};
use crate::diagnostic::Diagnostic;
use crate::graph;
use crate::merge::merge;
use crate::node::{Map, Node, Value};
use crate::paths;
use crate::schema::{SERVICE, Shape};
use crate::source::Span;
use crate::yaml::MOST_VALUES;
use std::collections::{BTreeMap, BTreeSet};
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
    let extending = services.iter().filter(|(_, service)| service.get("extends").is_some());
    let names: Vec<String> = extending.map(|(name, _)| name.clone()).collect();
    if names.is_empty() {
        return;
    }
    let own = File { path: path.to_owned(), dir: scope.dir.clone(), layer: layer.clone() };
    let mut resolver = Resolver { scope, below, files: vec![own], done: BTreeMap::new() };
    for name in names {
        let resolved = resolver.resolve(loader, &name);
        let services = layer.as_map_mut().and_then(|map| map.get_mut("services"));
        if let (Some(resolved), Some(services)) = (resolved, services.and_then(Node::as_map_mut)) {
            services.insert(name, resolved);
        }
    }
}

/// A file in which services are looked up.
struct File {
    path: PathBuf,
    dir: PathBuf,
    layer: Node,
}

/// A service of one of the files.
type At = (usize, String);

struct Resolver<'a> {
    scope: &'a Scope,
    below: &'a Node,
    /// The first is the layer's own.
    files: Vec<File>,
    /// Nothing for those that cannot be resolved: the reason was told.
    done: BTreeMap<At, Option<Node>>,
}

impl Resolver<'_> {
    fn service(&self, (file, name): &At) -> Option<&Node> {
        let path = ["services", name.as_str()];
        let found = self.files.get(*file)?.layer.at(&path);
        found.or_else(|| self.below.at(&path).filter(|_| *file == 0))
    }

    fn resolve(&mut self, loader: &mut Loader<'_>, name: &str) -> Option<Node> {
        if loader.values_left == 0 {
            return None;
        }
        let mut chain: Vec<(At, Node)> = Vec::new();
        let mut open: BTreeSet<At> = BTreeSet::new();
        let mut at: At = (0, name.to_owned());
        let mut base = None;
        let whole = loop {
            if let Some(done) = self.done.get(&at) {
                base.clone_from(done);
                break done.is_some();
            }
            let Some(mut service) = self.service(&at).cloned() else { break false };
            let extends = service.as_map_mut().and_then(|map| map.shift_remove("extends"));
            open.insert(at.clone());
            chain.push((at.clone(), service));
            let Some(extends) = extends else { break true };
            let Some(next) = self.next(loader, &at, &extends) else { break false };
            if self.service(&next).is_some_and(Node::is_null) {
                // nothing to begin with: left where it stands, as Compose v2 leaves it
                let file = self.files.get(next.0).filter(|_| next.0 > 0);
                leave(&mut chain, extends, file.map(|file| file.path.as_path()));
                break true;
            }
            if open.contains(&next) {
                circle(loader, &chain, &next, &extends);
                break false;
            }
            at = next;
        };
        while let Some((at, own)) = chain.pop() {
            let place = own.place();
            base = match base.take() {
                Some(base) => Some(Node { key: own.key, ..merge(base, own, SERVICE_SHAPE) }),
                None => whole.then_some(own),
            };
            let size = base.as_ref().map_or(0, Node::count);
            let Some(left) = loader.values_left.checked_sub(size) else {
                too_many(loader, &at.1, place);
                return None;
            };
            loader.values_left = left;
            self.done.insert(at, base.clone());
        }
        base
    }

    /// The service that an `extends` of `from` names, its file read.
    fn next(&mut self, loader: &mut Loader<'_>, from: &At, extends: &Node) -> Option<At> {
        let wanted = extends.get("service")?;
        let file = match extends.get("file") {
            Some(file) => self.file(loader, from, file)?,
            None => from.0,
        };
        let at = (file, wanted.as_str()?.to_owned());
        if self.service(&at).is_some() {
            return Some(at);
        }
        let message = format!("cannot extend service {:?}: no such service", at.1);
        let path = format!("services.{}.extends", from.1);
        let services = self.files.get(file)?.layer.get("services").and_then(Node::as_map);
        let none = Map::new();
        let known = services.unwrap_or(&none).keys().map(String::as_str);
        loader.unknown(path, message, wanted.span, (&at.1, known));
        None
    }

    fn file(&mut self, loader: &mut Loader<'_>, from: &At, named: &Node) -> Option<usize> {
        let text = named.as_str()?;
        if paths::is_remote(text) {
            let path = format!("services.{}.extends", from.1);
            let diagnostic =
                Diagnostic::error(path, "a remote resource is not fetched", named.span)
                    .label("expected a path on this machine")
                    .help("clone or download it, then extend the copy");
            loader.diagnostics.push(diagnostic);
            return None;
        }
        let home = self.scope.env.get("HOME").map(String::as_str);
        let path = paths::absolute(&self.files.get(from.0)?.dir, home, text);
        // the first file's own layer has its includes in it, and its paths start at the project's folder
        let known = self.files.iter().skip(1).position(|file| file.path == path);
        if let Some(index) = known {
            return Some(index + 1);
        }
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let empty = || Node::map([], named.span);
        let document = loader.parse(&path, named.span)?.into_iter().next_back();
        let layer = loader.layer(document.unwrap_or_else(empty), &dir, self.scope);
        self.files.push(File { path, dir, layer });
        Some(self.files.len() - 1)
    }
}

/// Puts an `extends` back, its file absolute.
fn leave(chain: &mut [(At, Node)], mut extends: Node, file: Option<&Path>) {
    if let Some(file) = file
        && let Some(Value::Str(text)) =
            extends.as_map_mut().and_then(|map| map.get_mut("file")).map(|node| &mut node.value)
    {
        *text = file.to_string_lossy().into_owned();
    }
    if let Some(service) = chain.last_mut().and_then(|(_, service)| service.as_map_mut()) {
        service.insert("extends".to_owned(), extends);
    }
}

fn too_many(loader: &mut Loader<'_>, name: &str, place: Span) {
    // said once: nothing more is resolved
    if std::mem::take(&mut loader.values_left) > 0 {
        let message = "the services that extend others come to too many values";
        let label = format!("more than {MOST_VALUES} values up to here");
        let path = format!("services.{name}.extends");
        loader.diagnostics.push(Diagnostic::error(path, message, place).label(label));
    }
}

fn circle(loader: &mut Loader<'_>, chain: &[(At, Node)], next: &At, extends: &Node) {
    let names = chain.iter().map(|((_, name), _)| name.as_str());
    let from = chain.iter().position(|(at, _)| at == next).unwrap_or(0);
    let names: Vec<&str> = names.skip(from).chain([next.1.as_str()]).collect();
    let message = format!("circular reference: {}", graph::shown(&names));
    let name = chain.last().map_or("", |((_, name), _)| name.as_str());
    let path = format!("services.{name}.extends");
    loader.diagnostics.push(Diagnostic::error(path, message, extends.place()));
}
