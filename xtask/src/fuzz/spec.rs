//! `api.txt`: operations with their parameters, and the types of bodies. One operation or field a line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// `POST /containers/{id}/wait condition:not-running|next-exit|removed`.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, Kind)>,
    pub(super) body: Option<Kind>,
}

/// What a value should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Bytes,
    Any,
    Filters,
    Words(Vec<String>),
    List(Box<Kind>),
    Map(Box<Kind>),
    Type(String),
}

#[derive(Debug)]
pub(super) struct Spec {
    pub(super) operations: Vec<Operation>,
    pub(super) types: BTreeMap<String, Vec<(String, Kind)>>,
}

pub(super) fn read() -> Result<Spec> {
    let mut spec = Spec { operations: Vec::new(), types: BTreeMap::new() };
    let mut current = None;
    for line in include_str!("api.txt").lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["type", name] => {
                spec.types.insert((*name).to_owned(), Vec::new());
                current = Some((*name).to_owned());
            }
            [field, kind] if line.starts_with(' ') => {
                let fields = current.as_ref().and_then(|name| spec.types.get_mut(name));
                fields
                    .context("a field outside a type")?
                    .push(((*field).to_owned(), Kind::of(kind)));
            }
            [method, path, rest @ ..] => spec.operations.push(operation(method, path, rest)),
            _ => anyhow::bail!("what is {line:?}?"),
        }
    }
    Ok(spec)
}

fn operation(method: &str, path: &str, rest: &[&str]) -> Operation {
    let mut operation = Operation {
        method: method.to_owned(),
        path: path.to_owned(),
        query: Vec::new(),
        body: None,
    };
    for word in rest {
        if let Some(kind) = word.strip_prefix("body=") {
            operation.body = Some(Kind::of(kind));
        } else if let Some((name, kind)) = word.split_once(':') {
            operation.query.push((name.to_owned(), Kind::of(kind)));
        }
    }
    operation
}

impl Kind {
    fn of(text: &str) -> Kind {
        let inside = |open, close| text.strip_prefix(open)?.strip_suffix(close);
        if let Some(kind) = inside('[', ']') {
            return Kind::List(Box::new(Kind::of(kind)));
        }
        if let Some(kind) = inside('{', '}') {
            return Kind::Map(Box::new(Kind::of(kind)));
        }
        if let Some(name) = text.strip_prefix('@') {
            return Kind::Type(name.to_owned());
        }
        match text {
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "float" => Kind::Float,
            "string" => Kind::Text,
            "bytes" => Kind::Bytes,
            "filters" => Kind::Filters,
            words if words.contains('|') => {
                Kind::Words(words.split('|').map(str::to_owned).collect())
            }
            _ => Kind::Any,
        }
    }
}
