//! YAML text to [`Node`]s: anchors, merge keys, Compose's tags, duplicate keys refused.
//!
//! No recursion, and a budget on what aliases may multiply to, so that no file can exhaust the stack or the memory.

use crate::diagnostic::Diagnostic;
use crate::node::{Map, Node, Tag, Value};
use crate::source::{FileId, Span};
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;

/// Nodes that aliases may add to one file. Real files stay below some thousands.
const ALIAS_BUDGET: usize = 100_000;
/// Values written in one file. Ten thousand services of the usual kind come to half of it.
pub(crate) const MOST_VALUES: usize = 500_000;

/// Every document of a file, in order. Diagnostics of level error mean the documents are not to be used.
pub(crate) fn parse(file: FileId, text: &str) -> (Vec<Node>, Vec<Diagnostic>) {
    let mut builder = Builder::new(file);
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => {
                let span = builder.span(&span);
                if builder.event(event, span).is_err() {
                    break;
                }
            }
            Err(error) => {
                let mark = error.marker();
                let span = at(file, mark.line(), mark.col(), 1);
                builder.fail("the file is not valid YAML", span, &error.kind().to_string());
                break;
            }
        }
    }
    (builder.documents, builder.diagnostics)
}

fn at(file: FileId, line: usize, col: usize, len: usize) -> Span {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { file, line: small(line), column: small(col + 1), len: small(len.max(1)) }
}

/// A collection being read.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    pending: Option<(String, Span)>,
    /// What `<<` brought, applied when the map ends.
    merged: Vec<Node>,
}

struct Builder {
    file: FileId,
    open: Vec<Open>,
    /// Values with a name and how many values they are; those too large to be named are not kept.
    anchors: HashMap<usize, (Option<Node>, usize)>,
    budget: usize,
    /// Values read so far.
    values: usize,
    documents: Vec<Node>,
    diagnostics: Vec<Diagnostic>,
}

/// Reading cannot go on; the reason is among the diagnostics.
struct Stop;

impl Builder {
    fn new(file: FileId) -> Self {
        Builder {
            file,
            open: Vec::new(),
            anchors: HashMap::new(),
            budget: ALIAS_BUDGET,
            values: 0,
            documents: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    fn span(&self, span: &granit_parser::Span) -> Span {
        let same_line = span.start.line() == span.end.line();
        let len = if same_line { span.end.col().saturating_sub(span.start.col()) } else { 1 };
        at(self.file, span.start.line(), span.start.col(), len)
    }

    fn fail(&mut self, message: &str, span: Span, label: &str) {
        self.diagnostics.push(Diagnostic::error("", message, span).label(label));
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned());
                let value = scalar(&text, style, tag.as_deref());
                let mut node = Node::new(value, span);
                node.tag = merge_tag(tag.as_deref());
                self.value(node, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned());
                self.begin(Value::Seq(Vec::new()), tag.as_deref(), anchor, span);
            }
            Event::MappingStart(_, anchor, tag) => {
                let tag = tag.map(|tag| tag.suffix().to_owned());
                self.begin(Value::Map(Map::new()), tag.as_deref(), anchor, span);
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(id) => self.alias(id, span)?,
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, value: Value, tag: Option<&str>, anchor: usize, span: Span) {
        let mut node = Node::new(value, Span { len: 1, ..span });
        node.tag = merge_tag(tag);
        self.open.push(Open { node, anchor, pending: None, merged: Vec::new() });
    }

    fn end(&mut self) -> Result<(), Stop> {
        let Some(mut open) = self.open.pop() else { return Ok(()) };
        let merged = std::mem::take(&mut open.merged);
        if let Some(map) = open.node.as_map_mut() {
            for source in merged {
                let Value::Map(source) = source.value else { continue };
                for (key, node) in source {
                    map.entry(key).or_insert(node);
                }
            }
        }
        self.value(open.node, open.anchor)
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let Some((kept, size)) = self.anchors.get(&id) else {
            self.fail("this alias stands inside the value it names", span, "refers to itself");
            return Err(Stop);
        };
        let Some(node) = kept.as_ref().filter(|_| *size <= self.budget) else {
            self.fail(
                "the file's aliases multiply to too many values",
                span,
                &format!("more than {ALIAS_BUDGET} values would come from aliases"),
            );
            return Err(Stop);
        };
        self.budget -= size;
        let node = Node { key: Span::NONE, ..node.clone() };
        self.value(node, 0)
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        self.values += 1;
        if self.values > MOST_VALUES {
            let label = format!("more than {MOST_VALUES} values up to here");
            self.fail("the file has too many values", node.span, &label);
            return Err(Stop);
        }
        if anchor != 0 {
            let size = node.count();
            let kept = (size <= self.budget).then(|| node.clone());
            self.anchors.insert(anchor, (kept, size));
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::Seq(items) => items.push(node),
            Value::Map(_) => match open.pending.take() {
                None => return self.key(node),
                Some((key, span)) => self.entry(key, span, node),
            },
            _ => {}
        }
        Ok(())
    }

    fn key(&mut self, node: Node) -> Result<(), Stop> {
        let key = match &node.value {
            Value::Str(text) => text.clone(),
            Value::Plain(text) => {
                let diagnostic =
                    Diagnostic::error("", format!("non-string key: {text}"), node.span)
                        .label(format!("{} where a name is expected", node.kind()))
                        .help(format!("write it in quotes: \"{text}\""));
                self.diagnostics.push(diagnostic);
                text.clone()
            }
            _ => {
                self.fail("a key must be a string", node.span, "expected a word before the colon");
                return Err(Stop);
            }
        };
        if let Some(open) = self.open.last_mut() {
            open.pending = Some((key, node.span));
        }
        Ok(())
    }

    fn entry(&mut self, key: String, span: Span, mut node: Node) {
        node.key = span;
        let Some(open) = self.open.last_mut() else { return };
        if key == "<<" {
            return match node.value {
                Value::Map(_) => open.merged.push(node),
                Value::Seq(items) => open.merged.extend(items),
                _ => {
                    self.fail("`<<` merges a mapping or a list of mappings", span, "not a mapping")
                }
            };
        }
        let Value::Map(map) = &mut open.node.value else { return };
        if let Some(first) = map.get(&key) {
            let line = first.key.line;
            let message = format!("the key `{key}` is written twice");
            self.fail(&message, span, &format!("first written in line {line}"));
        } else {
            map.insert(key, node);
        }
    }
}

fn merge_tag(tag: Option<&str>) -> Tag {
    match tag {
        Some("reset") => Tag::Reset,
        Some("override") => Tag::Override,
        _ => Tag::None,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Value {
    if style != ScalarStyle::Plain || tag == Some("str") {
        return Value::Str(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Value::Plain(text.to_owned()),
        _ if is_number(text) => Value::Plain(text.to_owned()),
        // `1_000` is 1000, `_1` is a word
        _ if text.contains('_') && !text.starts_with('_') && is_number(&text.replace('_', "")) => {
            Value::Plain(text.replace('_', ""))
        }
        _ => Value::Str(text.to_owned()),
    }
}

/// YAML's numbers: decimal, `0o`/`0x`/`0b`, fractions and exponents; not `1.2.3` or `12:30`.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    if text.len() - digits.len() > 1 {
        return false;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix));
        }
    }
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
        && digits.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests;
