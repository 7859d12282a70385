//! `.env` and `env_file` contents.
//!
//! `KEY=value`, `export KEY=value`, `KEY: value`, quotes (single: as written; double: escapes and variables),
//! values over several lines in quotes, comments. A bare `KEY` asks for the caller's environment.

use crate::interpolate::{Lookup, expand};
use indexmap::IndexMap;
use std::collections::BTreeSet;

/// Variables in the order of the file; `None` is a bare name that the environment does not have.
pub type Vars = IndexMap<String, Option<String>>;

/// A line that is no assignment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct DotenvError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

/// Reads a file; `lookup` is the environment, which also wins over the file's earlier lines in expansions.
pub fn parse(text: &str, lookup: Lookup<'_>) -> Result<Vars, DotenvError> {
    let mut vars = Vars::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut reader = Reader { rest: &text, line: 1 };
    while let Some((key, separator)) = reader.key()? {
        let value = if separator {
            let raw = reader.value()?;
            let known = |name: &str| lookup(name).or_else(|| vars.get(name).cloned().flatten());
            Some(match raw {
                Raw::Literal(text) => text,
                Raw::Template(text) => expand(&text, &known, &mut BTreeSet::new())
                    .map_err(|error| reader.error(error.to_string()))?,
            })
        } else {
            lookup(&key)
        };
        vars.insert(key, value);
    }
    Ok(vars)
}

/// `format: raw`: `KEY=value` with the value exactly as written, quotes included.
pub fn parse_raw(text: &str, lookup: Lookup<'_>) -> Result<Vars, DotenvError> {
    let mut vars = Vars::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (line.trim_end(), lookup(line.trim_end())),
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            let message = format!("invalid variable name `{key}`");
            return Err(DotenvError { line: index + 1, message });
        }
        vars.insert(key.to_owned(), value);
    }
    Ok(vars)
}

enum Raw {
    Literal(String),
    Template(String),
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, message: String) -> DotenvError {
        DotenvError { line: self.line, message }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (head, tail) = self.rest.split_at(bytes);
        self.line += head.matches('\n').count();
        self.rest = tail;
        head
    }

    /// The next name and whether a value follows; `None` at the end.
    fn key(&mut self) -> Result<Option<(String, bool)>, DotenvError> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('#') {
                break;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            let blank = after.len() - after.trim_start_matches([' ', '\t']).len();
            self.take("export".len() + blank);
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let key = self.rest[..end].trim_end();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        if key.is_empty() || !key.chars().all(word) {
            let shown: String = self.rest.lines().next().unwrap_or("").chars().take(40).collect();
            return Err(self.error(format!("unexpected character in variable name near `{shown}`")));
        }
        let key = key.to_owned();
        self.take(end);
        let separator = self.rest.starts_with(['=', ':']);
        if separator {
            self.take(1);
        }
        Ok(Some((key, separator)))
    }

    fn value(&mut self) -> Result<Raw, DotenvError> {
        let blank = self.rest.len() - self.rest.trim_start_matches([' ', '\t']).len();
        self.take(blank);
        match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                self.take(1);
                self.quoted(quote)
            }
            _ => {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                let line = self.take(end);
                let comment = [" #", "\t#"].iter().filter_map(|mark| line.find(mark)).min();
                let line = &line[..comment.unwrap_or(line.len())];
                Ok(Raw::Template(line.trim_end().to_owned()))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Raw, DotenvError> {
        let mut end = None;
        let mut escaped = false;
        for (index, c) in self.rest.char_indices() {
            if c == quote && !escaped {
                end = Some(index);
                break;
            }
            escaped = c == '\\' && !escaped;
        }
        let end = end.ok_or_else(|| self.error("unterminated quoted value".to_owned()))?;
        let body = self.take(end).to_owned();
        self.take(1);
        let line_end = self.rest.find('\n').unwrap_or(self.rest.len());
        let tail = self.rest[..line_end].trim();
        if !tail.is_empty() && !tail.starts_with('#') {
            return Err(self.error(format!("unexpected text after the closing quote: `{tail}`")));
        }
        self.take(line_end);
        Ok(if quote == '"' {
            Raw::Template(unescape(&body))
        } else {
            Raw::Literal(body.replace("\\'", "'"))
        })
    }
}

/// A shell's escapes in double quotes; `\$` becomes `$$`, so that expansion leaves it alone.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('a') => out.push('\x07'),
            Some('b') => out.push('\x08'),
            Some('f') => out.push('\x0c'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\x0b'),
            Some('$') => out.push_str("$$"),
            Some('0') => {
                let digits: Vec<u32> = std::iter::from_fn(|| chars.next_if(|c| c.is_digit(8)))
                    .take(3)
                    .filter_map(|c| c.to_digit(8))
                    .collect();
                let code = digits.iter().fold(0, |code, digit| code * 8 + digit);
                out.extend(char::from_u32(code));
            }
            Some(c @ ('"' | '\\')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}

#[cfg(test)]
mod tests;
