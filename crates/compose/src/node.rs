//! A YAML document as a tree that remembers where everything stood.

use crate::source::Span;
use indexmap::IndexMap;

/// Keys in the order of the file.
pub type Map = IndexMap<String, Node>;

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    /// An unquoted boolean or number exactly as written; gone after canonicalisation.
    Plain(String),
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Seq(Vec<Node>),
    Map(Map),
}

/// Compose's merge tags.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tag {
    #[default]
    None,
    /// `!reset`: takes away what an earlier file said.
    Reset,
    /// `!override`: replaces what an earlier file said, without merging.
    Override,
}

/// A value, its place, and the place of the key that introduced it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub value: Value,
    pub span: Span,
    /// [`Span::NONE`] in lists.
    pub key: Span,
    pub tag: Tag,
}

impl Node {
    /// A value at a place.
    pub fn new(value: Value, span: Span) -> Self {
        Node { value, span, key: Span::NONE, tag: Tag::None }
    }

    /// Text at a place.
    pub fn text(text: impl Into<String>, span: Span) -> Self {
        Node::new(Value::Str(text.into()), span)
    }

    /// A map at a place.
    pub fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>, span: Span) -> Self {
        let map = entries.into_iter().map(|(key, node)| (key.to_owned(), node)).collect();
        Node::new(Value::Map(map), span)
    }

    /// The same node with the key and tag of another.
    #[must_use]
    pub fn like(mut self, other: &Node) -> Self {
        self.key = other.key;
        self.tag = other.tag;
        self
    }

    /// The place to point at: the key when there is one, else the value.
    pub fn place(&self) -> Span {
        if self.key.is_real() { self.key } else { self.span }
    }

    /// The map inside, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The map inside, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The list inside, if it is one.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// Text, or a scalar as it was written.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) | Value::Plain(text) => Some(text),
            _ => None,
        }
    }

    /// A value of this map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// True for null.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Follows `path` through maps.
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.get(key))
    }

    /// How many values it is, itself among them.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Seq(items) => items.iter().map(Node::count).sum::<usize>(),
            Value::Map(map) => map.values().map(Node::count).sum(),
            _ => 0,
        }
    }

    /// `a string`, `a list`: for "expected …, found …".
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Plain(text)
                if matches!(text.to_ascii_lowercase().as_str(), "true" | "false") =>
            {
                "a boolean"
            }
            Value::Plain(_) | Value::Int(_) | Value::Float(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::Str(_) => "a string",
            Value::Seq(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The tree as JSON, for typed reading, hashing and printing.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Str(text) => Json::String(text.clone()),
            // what has no type of ours is what YAML says: a number or a boolean
            Value::Plain(text) => {
                let text = crate::canon::printed(text);
                serde_json::from_str(&text).unwrap_or(Json::String(text))
            }
            Value::Seq(items) => Json::Array(items.iter().map(Node::to_json).collect()),
            Value::Map(map) => {
                Json::Object(map.iter().map(|(key, node)| (key.clone(), node.to_json())).collect())
            }
        }
    }
}
