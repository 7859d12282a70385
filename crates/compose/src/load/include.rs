//! `include`: whole models of their own folder and environment, added beside ours.

use super::{Loader, Scope, TOP_SHAPE};
use crate::diagnostic::Diagnostic;
use crate::merge::settle;
use crate::node::{Map, Node, Value};
use crate::source::Span;
use crate::{dotenv, paths};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SECTIONS: [&str; 5] = ["services", "networks", "volumes", "secrets", "configs"];

/// Adds every included model to `tree`. The same name with another meaning is an error.
pub(super) fn apply(
    loader: &mut Loader<'_>,
    tree: &mut Node,
    includes: &Node,
    scope: &Scope,
    open: &mut Vec<PathBuf>,
) {
    settle(tree, TOP_SHAPE);
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
        .map(|(text, span)| (paths::absolute(&scope.dir, home, text), span))
        .collect();
    let first = files.first()?.0.parent().unwrap_or(Path::new("/")).to_owned();
    let dir = match include.get("project_directory").and_then(Node::as_str) {
        Some(text) => paths::absolute(&scope.dir, home, text),
        None => first,
    };
    let env = environment(loader, include, scope, &dir, home)?;
    let depth = open.len();
    let mut parsed = Vec::new();
    for (path, span) in files {
        if open.contains(&path) {
            let message = format!("include cycle: {} includes itself", path.display());
            loader.diagnostics.push(Diagnostic::error("include", message, span));
            open.truncate(depth);
            return None;
        }
        open.push(path.clone());
        parsed.push((path.clone(), loader.parse(&path, span)?));
    }
    let model = loader.model(&Scope { dir, env }, parsed, open);
    open.truncate(depth);
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
        for (name, node) in entries {
            match target.get(&name) {
                Some(ours) if ours.to_json() != node.to_json() => {
                    let message =
                        format!("conflicts with the included {section} entry of that name");
                    let diagnostic =
                        Diagnostic::error(format!("{section}.{name}"), message, ours.place())
                            .help(format!("the include stands in line {}", place.line));
                    loader.diagnostics.push(diagnostic);
                }
                Some(_) => {}
                None => {
                    target.insert(name, node);
                }
            }
        }
    }
}
