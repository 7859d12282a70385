//! Checks a tree against the schema and rewrites it to canonical form, all errors at once.
//!
//! After this every value has the type its key asks for, short forms are long, paths are absolute.
//! What is wrong is left out of the result and named in the diagnostics.

mod scalar;

pub(crate) use scalar::{integer, printed};

use crate::check;
use crate::diagnostic::{Diagnostic, suggestion};
use crate::load::{Keep, Target};
use crate::node::{Map, Node, Tag, Value};
use crate::paths;
use crate::schema::{self, Field, Object, Shape};
use crate::source::Span;
use std::path::{Path, PathBuf};

/// Ports of one file, ranges counted by their ports.
const MOST_PORTS: usize = 100_000;

/// One pass over one file.
pub(crate) struct Canon<'a> {
    /// Relative paths start here.
    pub(crate) dir: &'a Path,
    /// For `~/…`.
    pub(crate) home: Option<&'a str>,
    /// Where we are, for messages.
    path: Vec<String>,
    keep: Keep,
    target: Target,
    /// How many more ports ranges may come to.
    pub(crate) ports_left: usize,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl<'a> Canon<'a> {
    /// A pass over a file whose relative paths start at `dir`.
    pub(crate) fn new(dir: &'a Path, home: Option<&'a str>, keep: Keep, target: Target) -> Self {
        Canon {
            dir,
            home,
            path: Vec::new(),
            keep,
            target,
            ports_left: MOST_PORTS,
            diagnostics: Vec::new(),
        }
    }

    /// `services.web.ports[0]`.
    pub(crate) fn path(&self) -> String {
        self.path.iter().fold(String::new(), |mut out, part| {
            if !out.is_empty() && !part.starts_with('[') {
                out.push('.');
            }
            out.push_str(part);
            out
        })
    }

    /// Reports an error here.
    pub(crate) fn error(&mut self, message: impl Into<String>, span: Span, label: &str) {
        let diagnostic = Diagnostic::error(self.path(), message, span).label(label);
        self.diagnostics.push(diagnostic);
    }

    /// `web must be a mapping`, with what was found.
    pub(crate) fn mismatch(&mut self, node: &Node, expected: &str) {
        let message = format!("must be {expected}, not {}", node.kind());
        self.error(message, node.span, &format!("expected {expected}"));
    }

    /// Reports a warning here.
    pub(crate) fn warn(&mut self, message: impl Into<String>, span: Span) {
        let diagnostic = Diagnostic::warning(self.path(), message, span);
        self.diagnostics.push(diagnostic);
    }

    /// An absolute path for a path of this file.
    pub(crate) fn absolute(&self, text: &str) -> PathBuf {
        // an absolute path stays as it is spelled
        if self.keep.paths || text.starts_with('/') {
            return PathBuf::from(text);
        }
        paths::absolute(self.dir, self.home, text)
    }

    /// Runs `work` one step deeper in the path.
    fn within<T>(&mut self, part: String, work: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(part);
        let result = work(self);
        self.path.pop();
        result
    }

    /// The canonical form of `node`, or nothing when it was wrong or null.
    pub(crate) fn node(&mut self, node: Node, shape: &'static Shape) -> Option<Node> {
        self.many(node, shape).into_iter().next()
    }

    /// Like [`Canon::node`]; a short form may give several.
    fn many(&mut self, node: Node, shape: &'static Shape) -> Vec<Node> {
        // a template may become any type
        let template = self.keep.variables && node.as_str().is_some_and(|text| text.contains('$'));
        if node.tag == Tag::Reset || template {
            return vec![node];
        }
        let (key, tag) = (node.key, node.tag);
        let keep = |mut done: Node| {
            done.key = key;
            done.tag = tag;
            done
        };
        match shape {
            Shape::Form(form, inner) => form(self, node)
                .into_iter()
                .flat_map(|long| self.many(long, inner))
                .map(keep)
                .collect(),
            Shape::Replace(inner) => self.many(node, inner).into_iter().map(keep).collect(),
            Shape::Or(scalar, collection) => {
                let which = if node.as_map().is_some() { collection } else { scalar };
                self.many(node, which).into_iter().map(keep).collect()
            }
            _ => self.plain(node, shape).map(keep).into_iter().collect(),
        }
    }

    fn plain(&mut self, node: Node, shape: &'static Shape) -> Option<Node> {
        match shape {
            Shape::Any => Some(node),
            Shape::Object(object) => self.object(node, object),
            Shape::Map(inner) => self.map(node, inner),
            Shape::List(inner, _) => self.list(node, inner),
            Shape::Strings => self.strings(node),
            Shape::Dict { bare_is_null } => self.dict(node, *bare_is_null),
            Shape::Command => self.command(node),
            _ => self.scalar(node, shape),
        }
    }

    fn object(&mut self, node: Node, object: &'static Object) -> Option<Node> {
        let Value::Map(map) = node.value else {
            self.mismatch(&node, "a mapping");
            return None;
        };
        let span = node.span;
        let before = self.diagnostics.len();
        let mut done = Map::new();
        for (name, child) in map {
            if name.starts_with("x-") {
                done.insert(name, child);
                continue;
            }
            match object.field(&name) {
                None => self.unknown(&name, &child, object),
                // `command: null` takes away what an earlier file said
                Some(Field { shape: Shape::Command, .. }) if child.is_null() => {
                    done.insert(name, Node { tag: Tag::Reset, ..child });
                }
                // whether that is a mistake is known when all files are merged
                Some(_) if child.is_null() && child.tag == Tag::None => {
                    done.insert(name, child);
                }
                Some(field) => {
                    if let Some(child) = self.field(child, field) {
                        done.insert(name, child);
                    }
                }
            }
        }
        // what is taken away, as `command:` without a value does, is none
        let given = |node: &Node| node.tag != Tag::Reset;
        let missing = |field: &&Field| field.required && !done.get(field.name).is_some_and(given);
        for field in object.fields.iter().filter(missing) {
            let path = format!("{}.{}", self.path(), field.name);
            if !self.diagnostics[before..].iter().any(|d| d.path == path) {
                let place = if node.key.is_real() { node.key } else { span };
                let message = format!("`{}` is missing", field.name);
                self.error(message, place, &format!("{} needs `{}`", object.what, field.name));
            }
        }
        Some(Node::new(Value::Map(done), span))
    }

    fn field(&mut self, child: Node, field: &'static Field) -> Option<Node> {
        let acts = |reason: &str| self.target == Target::Cluster && reason == schema::CLUSTER;
        let reason = field.unsupported.filter(|reason| child.tag != Tag::Reset && !acts(reason));
        if let Some(reason) = reason {
            let place = child.place();
            let message = format!("`{}` has no effect: {reason}", field.name);
            let diagnostic = Diagnostic::warning(self.path(), message, place);
            self.diagnostics.push(diagnostic);
        }
        self.within(field.name.to_owned(), |canon| canon.node(child, field.shape))
    }

    fn unknown(&mut self, name: &str, child: &Node, object: &'static Object) {
        let names = object.fields.iter().map(|field| field.name);
        let near = suggestion(self.diagnostics.len(), name, names);
        let message = format!("unknown key `{name}`");
        let mut diagnostic = Diagnostic::error(self.path(), message, child.place())
            .label(format!("not a key of {}", object.what));
        let service = child.get("image").is_some() || child.get("build").is_some();
        if let Some(near) = near {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        } else if self.path.is_empty() && service {
            diagnostic = diagnostic.help("services stand under `services:`");
        }
        self.diagnostics.push(diagnostic);
    }

    fn map(&mut self, node: Node, inner: &'static Shape) -> Option<Node> {
        let Value::Map(map) = node.value else {
            self.mismatch(&node, "a mapping");
            return None;
        };
        let top = self.path.len() == 1 && self.path[0] != "include";
        let mut done = Map::new();
        for (name, child) in map {
            if top && !check::key(&name) {
                self.error(
                    format!("`{name}` is not a valid name"),
                    child.place(),
                    "expected letters, digits, `.`, `_` or `-`",
                );
                continue;
            }
            let (key, span) = (child.key, child.span);
            let kept = match child.is_null() {
                true => Some(child),
                false => self.within(name.clone(), |canon| canon.node(child, inner)),
            };
            // What was wrong keeps its name, so that those who refer to it are not blamed as well.
            let kept = kept.unwrap_or_else(|| Node { key, ..Node::new(Value::Null, span) });
            done.insert(name, kept);
        }
        Some(Node::new(Value::Map(done), node.span))
    }

    fn list(&mut self, node: Node, inner: &'static Shape) -> Option<Node> {
        let Value::Seq(items) = node.value else {
            self.mismatch(&node, "a list");
            return None;
        };
        let mut done = Vec::with_capacity(items.len());
        for (index, child) in items.into_iter().enumerate() {
            done.extend(self.within(format!("[{index}]"), |canon| canon.many(child, inner)));
        }
        Some(Node::new(Value::Seq(done), node.span))
    }

    fn strings(&mut self, node: Node) -> Option<Node> {
        match node.value {
            Value::Seq(_) => self.list(node, &Shape::Str),
            Value::Str(_) => {
                let span = node.span;
                Some(Node::new(Value::Seq(vec![Node { key: Span::NONE, ..node }]), span))
            }
            _ => {
                self.mismatch(&node, "a string or a list of strings");
                None
            }
        }
    }

    fn dict(&mut self, node: Node, bare_is_null: bool) -> Option<Node> {
        let span = node.span;
        let mut done = Map::new();
        match node.value {
            Value::Map(map) => {
                for (name, child) in map {
                    if let Some(child) =
                        self.within(name.clone(), |canon| canon.entry(child, bare_is_null))
                    {
                        done.insert(name, child);
                    }
                }
            }
            Value::Seq(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let Value::Str(text) = &item.value else {
                        self.within(format!("[{index}]"), |canon| {
                            canon.mismatch(&item, "KEY=value")
                        });
                        continue;
                    };
                    if let Some((name, _)) = text.split_once('=')
                        && bare_is_null
                        && name.ends_with(char::is_whitespace)
                    {
                        let message = format!("the name `{name}` ends with a space");
                        self.error(
                            message,
                            item.span,
                            "expected KEY=value without spaces around `=`",
                        );
                        continue;
                    }
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, Value::Str(value.to_owned())),
                        None if bare_is_null => (text.as_str(), Value::Null),
                        None => (text.as_str(), Value::Str(String::new())),
                    };
                    done.insert(
                        name.to_owned(),
                        Node { key: item.span, ..Node::new(value, item.span) },
                    );
                }
            }
            _ => {
                self.mismatch(&node, "a mapping or a list of KEY=value");
                return None;
            }
        }
        Some(Node::new(Value::Map(done), span))
    }

    fn entry(&mut self, child: Node, bare_is_null: bool) -> Option<Node> {
        if child.is_null() && !bare_is_null && child.tag == Tag::None {
            return Some(Node { value: Value::Str(String::new()), ..child });
        }
        if child.is_null() { Some(child) } else { self.node(child, &Shape::Scalar) }
    }

    fn command(&mut self, node: Node) -> Option<Node> {
        match &node.value {
            Value::Seq(_) => self.list(node, &Shape::Str),
            Value::Str(text) => match crate::words::split(text) {
                Ok(words) => {
                    let words = words.into_iter().map(|word| Node::text(word, node.span)).collect();
                    Some(Node::new(Value::Seq(words), node.span))
                }
                Err(unclosed) => {
                    self.error(format!("cannot split the command: {unclosed}"), node.span, "");
                    None
                }
            },
            _ => {
                self.mismatch(&node, "a string or a list of strings");
                None
            }
        }
    }
}
