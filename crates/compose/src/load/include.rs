//! `include`: whole models of their own folder and environment, added beside ours.

use super::{Loader, Scope};
use crate::diagnostic::Diagnostic;
use crate::merge::merge;
use crate::node::{Map, Node, Value};
use crate::schema::{Shape, TOP};
use crate::source::Span;
use crate::{dotenv, paths};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SECTIONS: [&str; 6] = ["services", "networks", "volumes", "secrets", "configs", "models"];

/// Files that include one another: each is read within the one that includes it.
const DEEPEST: usize = 100;

/// Adds every included model to the layer `tree`. What both say, the layer says last.
pub(super) fn apply(
    loader: &mut Loader<'_>,
    tree: &mut Node,
    includes: &Node,
    scope: &Scope,
    open: &mut Vec<PathBuf>,
) {
    for include in includes.as_seq().unwrap_or_default() {
        if let Some(model) = model(loader, include, scope, open) {
            import(loader, tree, model, include.span);
        }
    }
}

fn model(
    loader: &mut Loader<'_>,
    include: &Node,
    scope: &Scope,
    open: &mut Vec<PathBuf>,
) -> Option<Node> {
    let home = scope.env.get("HOME").map(String::as_str);
    let files: Vec<(PathBuf, Span)> = texts(include, "path")
        .map(|(text, span)| {
            let remote = paths::is_remote(text);
            (if remote { text.into() } else { paths::absolute(&scope.dir, home, text) }, span)
        })
        .collect();
    let first = files.first()?.0.parent().unwrap_or(Path::new("/")).to_owned();
    let dir = match include.get("project_directory").and_then(Node::as_str) {
        Some(text) => paths::absolute(&scope.dir, home, text),
        None => first,
    };
    let env = environment(loader, include, scope, &dir, home)?;
    let depth = open.len();
    if depth >= DEEPEST {
        let message = format!("more than {DEEPEST} files include one another");
        loader.diagnostics.push(Diagnostic::error("include", message, include.span));
        // told once: the others of such a project are not read
        loader.files_left = 0;
        return None;
    }
    let mut parsed = Vec::new();
    for (path, span) in files {
        if paths::is_remote(&path.to_string_lossy()) {
            let message = "a remote resource is not fetched";
            let diagnostic = Diagnostic::error("include", message, span)
                .label("expected a path on this machine")
                .help("clone or download it, then include the copy");
            loader.diagnostics.push(diagnostic);
            open.truncate(depth);
            return None;
        }
        if open.contains(&path) {
            let message = format!("include cycle: {} includes itself", path.display());
            loader.diagnostics.push(Diagnostic::error("include", message, span));
            open.truncate(depth);
            return None;
        }
        open.push(path.clone());
        parsed.push((path.clone(), loader.parse(&path, span)?));
    }
    let inner = Scope { dir, env };
    let model = loader.model(&inner, parsed, open);
    open.truncate(depth);
    for source in ["secrets", "configs"].iter().filter_map(|kind| model.get(kind)?.as_map()) {
        for name in source.values().filter_map(|source| source.get("environment")?.as_str()) {
            if let Some(value) = inner.env.get(name).filter(|_| !scope.env.contains_key(name)) {
                loader.included.insert(name.to_owned(), value.clone());
            }
        }
    }
    Some(model)
}

fn texts<'n>(include: &'n Node, key: &str) -> impl Iterator<Item = (&'n str, Span)> {
    let items = include.get(key).and_then(Node::as_seq).unwrap_or_default();
    items.iter().filter_map(|item| Some((item.as_str()?, item.span)))
}

/// The included model's variables: ours, then its `env_file`s or its folder's `.env`.
fn environment(
    loader: &mut Loader<'_>,
    include: &Node,
    scope: &Scope,
    dir: &Path,
    home: Option<&str>,
) -> Option<BTreeMap<String, String>> {
    let named: Vec<(PathBuf, Span)> = texts(include, "env_file")
        .map(|(text, span)| (paths::absolute(&scope.dir, home, text), span))
        .collect();
    let mut contents = Vec::new();
    if named.is_empty() {
        let path = dir.join(".env");
        contents.extend(loader.read_if_exists(&path, include.span).map(|text| (path, text)));
    }
    for (path, span) in named {
        let text = loader.read(&path, span)?;
        contents.push((path, text));
    }
    let mut env = scope.env.clone();
    for (path, text) in contents {
        match dotenv::parse(&text, &|name| scope.lookup(name)) {
            Ok(vars) => {
                for (key, value) in vars {
                    if let Some(value) = value {
                        env.entry(key).or_insert(value);
                    }
                }
            }
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                loader.diagnostics.push(Diagnostic::error("include", message, include.span));
            }
        }
    }
    Some(env)
}

fn import(loader: &mut Loader<'_>, tree: &mut Node, mut model: Node, place: Span) {
    let (Some(tree), Some(model)) = (tree.as_map_mut(), model.as_map_mut()) else { return };
    for section in SECTIONS {
        let Some(Node { value: Value::Map(entries), span, .. }) = model.shift_remove(section)
        else {
            continue;
        };
        let target = tree
            .entry(section.to_owned())
            .or_insert_with(|| Node::new(Value::Map(Map::new()), span));
        let Some(target) = target.as_map_mut() else { continue };
        let shape = TOP.field(section).map_or(&Shape::Any, |field| field.shape);
        let shape = if let Shape::Map(entry) = shape { entry } else { shape };
        for (name, node) in entries {
            match target.shift_remove(&name) {
                Some(ours) => {
                    if ours.to_json() != node.to_json() {
                        let message = format!(
                            "is also in the model included in line {}; what this file says goes over it",
                            place.line
                        );
                        let at = format!("{section}.{name}");
                        loader.diagnostics.push(Diagnostic::warning(at, message, ours.place()));
                    }
                    target.insert(name, merge(node, ours, shape));
                }
                None => {
                    target.insert(name, node);
                }
            }
        }
    }
}
