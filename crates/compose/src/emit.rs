//! A canonical tree as YAML: what `config` prints, readable by any Compose.

use crate::node::{Node, Value};
use std::fmt::Write as _;

/// The tree as a YAML document. `$` is doubled, so that reading it again gives the same tree.
pub fn yaml(node: &Node) -> String {
    let mut doubled = node.clone();
    double(&mut doubled);
    templates(&doubled)
}

/// The tree as a YAML document with every `$` as it stands: for files whose variables were kept.
pub fn templates(node: &Node) -> String {
    let mut out = String::new();
    block(node, 0, &mut out);
    out
}

fn double(node: &mut Node) {
    match &mut node.value {
        Value::Str(text) if text.contains('$') => *text = text.replace('$', "$$"),
        Value::Map(map) => map.values_mut().for_each(double),
        Value::Seq(items) => items.iter_mut().for_each(double),
        _ => {}
    }
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
            // the lines of a text stand two deeper than its key, and as deep as the rest of a list's entry
            let _ = writeln!(out, "{:indent$}{}", "", inline(node, indent.saturating_sub(2)));
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
        Value::Plain(text) => crate::canon::printed(text),
        Value::Str(text) => string(text, indent),
        Value::Seq(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

fn word(key: &str) -> String {
    scalar(key)
}

fn string(text: &str, indent: usize) -> String {
    let block = text.contains('\n')
        && text.contains(|c| c != '\n')
        && !text.contains(" \n")
        && !text.ends_with(' ')
        && text.chars().all(|c| matches!(c, '\n' | '\t') || !(c.is_control() || is_special(c)));
    if !block {
        return scalar(text);
    }
    // how deep the lines stand has to be said where the first one with a sign begins with a space
    let depth = if text.trim_start_matches('\n').starts_with(' ') { "2" } else { "" };
    let body = text.strip_suffix('\n').unwrap_or(text);
    let end = match (text.ends_with('\n'), body.ends_with('\n')) {
        (false, _) => "-",
        (true, false) => "",
        (true, true) => "+",
    };
    let pad = indent + 2;
    let lines: Vec<String> = body
        .split('\n')
        .map(|line| if line.is_empty() { String::new() } else { format!("{:pad$}{line}", "") })
        .collect();
    format!("|{depth}{end}\n{}", lines.join("\n"))
}

fn is_special(c: char) -> bool {
    matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}')
}

/// One line of text, as Go's YAML writer quotes it: not at all where no reader can take it for something else.
fn scalar(text: &str) -> String {
    if is_ambiguous(text) || text.contains(|c: char| c.is_control() || is_special(c)) {
        quoted(text)
    } else if is_plain(text) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

/// Text that the grammar lets stand without quotes.
fn is_plain(text: &str) -> bool {
    let mut chars = text.chars();
    let (first, second) = (chars.next().unwrap_or(' '), chars.next().unwrap_or(' '));
    let indicator =
        ",[]{}&*!|>'\"%@`#".contains(first) || (matches!(first, '-' | '?' | ':') && second == ' ');
    !indicator
        && !text.starts_with(' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.starts_with("---")
        && !text.starts_with("...")
}

/// Text that some YAML reader, of this version or the one before, takes for another type.
fn is_ambiguous(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = ["", "~", "null", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", "="];
    let sign = lower.trim_start_matches(['+', '-']);
    if words.contains(&lower.as_str()) || matches!(sign, ".inf" | ".nan") {
        return true;
    }
    // `_1` is a word to every reader
    let digits = if sign.starts_with('_') { String::new() } else { sign.replace('_', "") };
    let radix = |prefix: &str, radix: u32| {
        let rest = digits.strip_prefix(prefix).unwrap_or_default();
        !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix))
    };
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && (digits.parse::<f64>().is_ok() || radix("0x", 16) || radix("0o", 8) || radix("0b", 2));
    // 12:30 was a number in base 60 once, 2024-01-31 is a date
    let sexagesimal = digits.contains(':')
        && digits.split(':').enumerate().all(|(index, part)| is_base_60(part, index));
    let dates: Vec<&str> = digits.splitn(3, '-').collect();
    let date = matches!(dates.as_slice(), [year, month, day]
        if year.len() == 4
            && [year, month].iter().all(|part| part.chars().all(|c| c.is_ascii_digit()))
            && day.starts_with(|c: char| c.is_ascii_digit()));
    number || sexagesimal || date
}

/// One part of `190:20:30.5`: after the first, at most 59.
fn is_base_60(part: &str, index: usize) -> bool {
    let whole = if index == 0 { part } else { part.split('.').next().unwrap_or(part) };
    let digits = !whole.is_empty() && whole.chars().all(|c| c.is_ascii_digit());
    digits && (index == 0 || whole.parse().is_ok_and(|number: u32| number < 60))
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

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn only_what_could_be_read_as_something_else_is_quoted() {
        for plain in [
            "5s",
            "10.5.0.0/16",
            "127.0.0.1",
            "-c",
            "--flag=x",
            "a:b",
            "./x y",
            "$$A",
            "ß",
            "1.2.3",
            "8080:80",
            "02:42:72:98:65:08",
            "127.0.0.1:80",
            "_1",
        ] {
            assert_eq!(scalar(plain), plain);
        }
        for double in
            ["", "80", "0x1f", "1_000", "1e3", "yes", "Null", "22:22", "2024-01-31", ".5", "a\tb"]
        {
            assert!(scalar(double).starts_with('"'), "{double} became {}", scalar(double));
        }
        for single in
            ["*", "@daily", "a: b", "a #b", "- x", "{{.Name}}", "it's: so", "#a", " a", "a "]
        {
            assert!(scalar(single).starts_with('\''), "{single} became {}", scalar(single));
        }
    }
}
