//! Scalars: text, numbers and their units.

use super::Canon;
use crate::diagnostic::{Diagnostic, nearest};
use crate::node::{Node, Value};
use crate::schema::Shape;
use crate::units;

impl Canon<'_> {
    pub(super) fn scalar(&mut self, node: Node, shape: &'static Shape) -> Option<Node> {
        let value = match (shape, &node.value) {
            (_, Value::Null | Value::Seq(_) | Value::Map(_)) => None,
            (Shape::Str, Value::Str(text)) => Some(Value::Str(text.clone())),
            (Shape::Str, _) => {
                self.quote_it(&node);
                return None;
            }
            (Shape::Word, value) if !is_boolean(value) => Some(Value::Str(as_text(value))),
            (Shape::Scalar, value) => Some(Value::Str(as_text(value))),
            (Shape::Path, Value::Str(text)) => {
                Some(Value::Str(self.absolute(text).to_string_lossy().into_owned()))
            }
            (Shape::Enum(words), value) => return self.word(&node, &spelled(value), words),
            (Shape::Checked(check), Value::Str(text)) => match check(text) {
                Ok(()) => Some(Value::Str(text.clone())),
                Err(expected) => {
                    self.error(format!("`{text}` is not valid"), node.span, expected);
                    return None;
                }
            },
            (_, value) => typed(shape, value),
        };
        match value {
            Some(value) => Some(Node { value, ..node }),
            None => {
                self.mismatch(&node, shape.expected());
                None
            }
        }
    }

    pub(crate) fn quote_it(&mut self, node: &Node) {
        let text = node.as_str().unwrap_or_default().to_owned();
        let message = format!("must be a string, not {}", node.kind());
        let diagnostic = Diagnostic::error(self.path(), message, node.span)
            .label("expected a string")
            .help(format!("write it in quotes: \"{text}\""));
        self.diagnostics.push(diagnostic);
    }

    fn word(&mut self, node: &Node, text: &str, words: &[&str]) -> Option<Node> {
        if words.contains(&text) {
            return Some(Node { value: Value::Str(text.to_owned()), ..node.clone() });
        }
        let mut diagnostic =
            Diagnostic::error(self.path(), format!("`{text}` is not valid"), node.span)
                .label(format!("expected one of {}", words.join(", ")));
        if let Some(near) = nearest(text, words.iter().copied()) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        self.diagnostics.push(diagnostic);
        None
    }
}

fn is_boolean(value: &Value) -> bool {
    match value {
        Value::Bool(_) => true,
        Value::Plain(text) => matches!(text.to_ascii_lowercase().as_str(), "true" | "false"),
        _ => false,
    }
}

/// A scalar as its author spelled it; booleans in lower case.
fn spelled(value: &Value) -> String {
    match value {
        Value::Plain(text) if matches!(text.as_str(), "True" | "TRUE" | "False" | "FALSE") => {
            text.to_lowercase()
        }
        Value::Plain(text) | Value::Str(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        _ => String::new(),
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Plain(text) => printed(text),
        _ => spelled(value),
    }
}

/// A bare scalar as Compose v2 prints YAML's value: `0x10` is 16, `1.50` is 1.5 and `1e6` is 1e+06; text stays.
pub(crate) fn printed(text: &str) -> String {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    match (literal(text), number) {
        (Some(number), _) => number.to_string(),
        (None, Some(number)) => float(number),
        (None, None) if is_boolean(&Value::Plain(text.to_owned())) => text.to_lowercase(),
        (None, None) => text.to_owned(),
    }
}

/// A fraction as Go prints it: with an exponent below 0.0001 and from a million on.
fn float(number: f64) -> String {
    if number == 0.0 || (1e-4..1e6).contains(&number.abs()) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// A number without point and exponent, in the range of 64 bits with a sign or without.
fn literal(text: &str) -> Option<i128> {
    let digits = text.trim_start_matches(['+', '-']);
    if digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains(['x', 'o', 'b']) {
        return integer(text).map(i128::from);
    }
    if digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let number = integer(text).map(i128::from).or_else(|| text.parse().ok())?;
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

fn typed(shape: &Shape, value: &Value) -> Option<Value> {
    let text = spelled(value);
    match shape {
        Shape::Bool => boolean(&text, matches!(value, Value::Str(_))).map(Value::Bool),
        Shape::Int => integer(&text).map(Value::Int),
        Shape::Float => text.parse::<f64>().ok().filter(|f| f.is_finite()).map(|float| {
            if float.fract() == 0.0 && float.abs() < 9e15 {
                Value::Int(float as i64)
            } else {
                Value::Float(float)
            }
        }),
        Shape::Duration if !matches!(value, Value::Str(_)) => None,
        Shape::Duration => {
            let nanos = units::parse_duration(&text)?;
            Some(Value::Str(units::print_duration(nanos)))
        }
        Shape::Bytes => units::parse_bytes(&text).map(|bytes| Value::Str(bytes.to_string())),
        Shape::Mode => {
            mode(&text, matches!(value, Value::Str(_))).map(|mode| Value::Str(format!("0{mode:o}")))
        }
        _ => None,
    }
}

fn boolean(text: &str, quoted: bool) -> Option<bool> {
    match (text.to_ascii_lowercase().as_str(), quoted) {
        ("true", _) | ("yes" | "on" | "y", true) => Some(true),
        ("false", _) | ("no" | "off" | "n", true) => Some(false),
        _ => None,
    }
}

/// Decimal, `0x`, `0o`, `0b`, and the old `0440` octal; a fraction only if it is zero.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let radix = |prefix: &str, radix| {
        digits.strip_prefix(prefix).map(|rest| i64::from_str_radix(rest, radix).ok())
    };
    let special = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2));
    let number = match special {
        Some(number) => number,
        None if digits.len() > 1 && digits.starts_with('0') && !digits.contains('.') => {
            i64::from_str_radix(digits, 8).ok()
        }
        None => digits.parse().ok().or_else(|| {
            digits
                .parse::<f64>()
                .ok()
                .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
                .map(|f| f as i64)
        }),
    };
    number.map(|number: i64| sign * number)
}

/// Quoted text is octal; a bare number is what YAML says: `0440` octal, `440` decimal.
fn mode(text: &str, quoted: bool) -> Option<u32> {
    let mode = match quoted {
        true => i64::from_str_radix(text.trim_start_matches("0o"), 8).ok()?,
        false => integer(text)?,
    };
    u32::try_from(mode).ok().filter(|mode| *mode <= 0o7777)
}
