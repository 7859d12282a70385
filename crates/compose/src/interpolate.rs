//! `$NAME`, `${NAME}`, `${NAME:-default}` and their kin, in the scalars of a tree.
//!
//! Runs before merging and typing, on values only; keys stay as they are written.

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::source::Span;
use std::collections::{BTreeMap, BTreeSet};

/// Gives the value of a variable, if it is set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a template cannot be expanded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    #[error("invalid interpolation format: `{0}`")]
    Invalid(String),
    #[error("required variable {name} is missing a value: {message}")]
    Required { name: String, message: String },
}

/// Expands `text`. Names that are neither set nor given a default are added to `unset` and become empty.
pub(crate) fn expand(
    text: &str,
    lookup: Lookup<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(index) = rest.find('$') {
        out.push_str(&rest[..index]);
        let after = &rest[index + 1..];
        rest = if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            tail
        } else if let Some(body) = after.strip_prefix('{') {
            let end = closing(body).ok_or_else(|| TemplateError::Invalid(clip(&rest[index..])))?;
            out.push_str(&braced(&body[..end], lookup, unset)?);
            &body[end + 1..]
        } else {
            // before anything but a name it is just a dollar, as in `$(date)`
            let end = name_len(after);
            if end == 0 {
                out.push('$');
                rest = after;
                continue;
            }
            out.push_str(&plain(&after[..end], lookup, unset));
            &after[end..]
        };
    }
    out.push_str(rest);
    Ok(out)
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

fn name_len(text: &str) -> usize {
    let valid =
        |(i, b): (usize, u8)| b == b'_' || b.is_ascii_alphabetic() || (i > 0 && b.is_ascii_digit());
    text.bytes().enumerate().take_while(|pair| valid(*pair)).count()
}

/// The index of the brace that closes an expression whose opening one was just read. Nothing where none does, or
/// where more are open than a person writes: what is inside is expanded by recursion.
fn closing(body: &str) -> Option<usize> {
    const DEEPEST: usize = 100;
    let mut depth = 1;
    let bytes = body.as_bytes();
    let mut index = 0;
    while index < bytes.len() {
        match bytes[index] {
            b'$' if bytes.get(index + 1) == Some(&b'$') => index += 1,
            b'$' if bytes.get(index + 1) == Some(&b'{') => {
                depth += 1;
                index += 1;
            }
            b'}' => depth -= 1,
            _ => {}
        }
        match depth {
            0 => return Some(index),
            1..=DEEPEST => index += 1,
            _ => return None,
        }
    }
    None
}

fn plain(name: &str, lookup: Lookup<'_>, unset: &mut BTreeSet<String>) -> String {
    lookup(name).unwrap_or_else(|| {
        unset.insert(name.to_owned());
        String::new()
    })
}

fn braced(
    body: &str,
    lookup: Lookup<'_>,
    unset: &mut BTreeSet<String>,
) -> Result<String, TemplateError> {
    let end = name_len(body);
    let (name, rest) = body.split_at(end);
    if end == 0 {
        return Err(TemplateError::Invalid(clip(&format!("${{{body}}}"))));
    }
    if rest.is_empty() {
        return Ok(plain(name, lookup, unset));
    }
    let (also_empty, operator) = match rest.strip_prefix(':') {
        Some(tail) => (true, tail),
        None => (false, rest),
    };
    let mut chars = operator.chars();
    let sign = chars.next();
    let word = chars.as_str();
    let value = lookup(name).filter(|value| !(also_empty && value.is_empty()));
    match (sign, value) {
        (Some('-' | '?'), Some(value)) => Ok(value),
        (Some('-'), None) | (Some('+'), Some(_)) => expand(word, lookup, unset),
        (Some('+'), None) => Ok(String::new()),
        (Some('?'), None) => {
            let message = expand(word, lookup, unset)?;
            Err(TemplateError::Required { name: name.to_owned(), message })
        }
        _ => Err(TemplateError::Invalid(clip(&format!("${{{body}}}")))),
    }
}

/// Expands every string of a tree in place. Unset names become one warning each.
pub(crate) fn interpolate(root: &mut Node, lookup: Lookup<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut unset = BTreeSet::new();
    let mut path = Vec::new();
    walk(root, lookup, &mut path, &mut unset, diagnostics);
}

fn walk(
    node: &mut Node,
    lookup: Lookup<'_>,
    path: &mut Vec<String>,
    warned: &mut BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match &mut node.value {
        Value::Str(text) if text.contains('$') => {
            let mut unset = BTreeSet::new();
            match expand(text, lookup, &mut unset) {
                Ok(expanded) => *text = expanded,
                Err(error) => diagnostics.push(explain(&error, &path.join("."), node.span)),
            }
            for name in unset {
                if warned.insert(name.clone()) {
                    let message = format!(
                        "The \"{name}\" variable is not set. Defaulting to a blank string."
                    );
                    diagnostics.push(Diagnostic::warning("", message, node.span));
                }
            }
        }
        Value::Map(map) => {
            for (key, child) in map {
                path.push(key.clone());
                walk(child, lookup, path, warned, diagnostics);
                path.pop();
            }
        }
        Value::Seq(items) => {
            for (index, child) in items.iter_mut().enumerate() {
                path.push(index.to_string());
                walk(child, lookup, path, warned, diagnostics);
                path.pop();
            }
        }
        _ => {}
    }
}

fn explain(error: &TemplateError, path: &str, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error(path, error.to_string(), span);
    match error {
        TemplateError::Invalid(_) => diagnostic
            .label("expected $NAME, ${NAME} or ${NAME:-default}")
            .help("write `$$` for a dollar sign"),
        TemplateError::Required { name, .. } => {
            diagnostic.label(format!("`{name}` must be set and not empty"))
        }
    }
}

/// A variable that a file names, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variable {
    /// `${X:?…}` or `${X?…}`.
    pub required: bool,
    /// Of `${X:-…}` or `${X-…}`.
    pub default: String,
    /// Of `${X:+…}` or `${X+…}`.
    pub alternate: String,
}

/// Every variable of a tree whose variables were kept, by name.
pub fn variables(node: &Node) -> BTreeMap<String, Variable> {
    let mut found = BTreeMap::new();
    collect(node, &mut found);
    found
}

fn collect(node: &Node, found: &mut BTreeMap<String, Variable>) {
    match &node.value {
        Value::Str(text) => named(text, found),
        Value::Map(map) => map.values().for_each(|child| collect(child, found)),
        Value::Seq(items) => items.iter().for_each(|child| collect(child, found)),
        _ => {}
    }
}

fn named(text: &str, found: &mut BTreeMap<String, Variable>) {
    let mut rest = text;
    while let Some(index) = rest.find('$') {
        let after = &rest[index + 1..];
        rest = if let Some(tail) = after.strip_prefix('$') {
            tail
        } else if let Some((body, end)) =
            after.strip_prefix('{').and_then(|body| Some((body, closing(body)?)))
        {
            braced_name(&body[..end], found);
            &body[end + 1..]
        } else {
            let end = name_len(after);
            if end > 0 {
                found.entry(after[..end].to_owned()).or_default();
            }
            &after[end..]
        };
    }
}

fn braced_name(body: &str, found: &mut BTreeMap<String, Variable>) {
    let (name, rest) = body.split_at(name_len(body));
    let operator = rest.strip_prefix(':').unwrap_or(rest);
    let variable = found.entry(name.to_owned()).or_default();
    match operator.split_at_checked(1) {
        Some(("?", _)) => variable.required = true,
        Some(("-", word)) => word.clone_into(&mut variable.default),
        Some(("+", word)) => word.clone_into(&mut variable.alternate),
        _ => {}
    }
    if let Some((_, word)) = operator.split_at_checked(1) {
        named(word, found);
    }
}

#[cfg(test)]
mod tests;
