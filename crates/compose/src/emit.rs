//! A canonical tree as YAML: what `config` prints, readable by any Compose.

use crate::node::{Node, Value};
use std::fmt::Write as _;

/// The tree as a YAML document. `$` is doubled, so that reading it again gives the same tree.
pub fn yaml(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

fn block(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            for (key, child) in map {
                let _ = write!(out, "{:indent$}{}:", "", word(key));
                value(child, indent, out);
            }
        }
        Value::Seq(items) if !items.is_empty() => {
            for item in items {
                item_block(item, indent, out);
            }
        }
        _ => {
            let _ = writeln!(out, "{:indent$}{}", "", inline(node, indent));
        }
    }
}

/// What follows `key:`.
fn value(node: &Node, indent: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) if !map.is_empty() => {
            out.push('\n');
            block(node, indent + 2, out);
        }
        Value::Seq(items) if !items.is_empty() => {
            out.push('\n');
            block(node, indent + 2, out);
        }
        _ => {
            let _ = writeln!(out, " {}", inline(node, indent));
        }
    }
}

/// `- ` and the item, whose first line stands on the same line.
fn item_block(item: &Node, indent: usize, out: &mut String) {
    let mut text = String::new();
    block(item, indent + 2, &mut text);
    let _ = write!(out, "{:indent$}- {}", "", text.trim_start_matches(' '));
}

fn inline(node: &Node, indent: usize) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Plain(text) => text.clone(),
        Value::Str(text) => string(&text.replace('$', "$$"), indent),
        Value::Seq(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

fn word(key: &str) -> String {
    if is_plain(key) { key.to_owned() } else { quoted(key) }
}

fn string(text: &str, indent: usize) -> String {
    let simple =
        |line: &str| !line.starts_with([' ', '\t']) && line.chars().all(|c| !c.is_control());
    let lines = text.strip_suffix('\n').unwrap_or(text);
    if text.contains('\n')
        && !lines.ends_with('\n')
        && lines.lines().all(simple)
        && !lines.is_empty()
    {
        let mark = if text.ends_with('\n') { "|" } else { "|-" };
        let pad = indent + 2;
        let body: Vec<String> = lines
            .split('\n')
            .map(|line| if line.is_empty() { String::new() } else { format!("{:pad$}{line}", "") })
            .collect();
        return format!("{mark}\n{}", body.join("\n"));
    }
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Text that no YAML reader takes for anything else.
fn is_plain(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '_' | '.');
    let inner = |c: char| c.is_alphanumeric() || "-_./=+@ ,$:()^~;<>".contains(c);
    let lower = text.to_ascii_lowercase();
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", ".inf", ".nan"];
    text.starts_with(first)
        && text.chars().all(inner)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !reserved.contains(&lower.as_str())
        && text.parse::<f64>().is_err()
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
