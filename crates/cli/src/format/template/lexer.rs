//! Text and tokens of a template.

use super::TemplateError;

/// A piece of the template: literal text or the tokens of one action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Action(Vec<Token>),
}

/// A token inside `{{ }}`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.A.B`, without the leading dot; empty for `.`.
    Field(Vec<String>),
    /// `$x.A.B`: the name without `$`, then fields.
    Variable(String, Vec<String>),
    Word(String),
    Text(String),
    Number(f64),
    Open,
    /// `)` and a field chain that follows it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Splits `text` into pieces, applying `{{-` and `-}}`.
pub(super) fn lex(text: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let Some(start) = rest.find("{{") else {
            push_text(&mut pieces, rest, trim_next, false);
            return Ok(pieces);
        };
        let inside = &rest[start + 2..];
        let trim_left = inside.starts_with("- ") || inside.starts_with("-\n");
        push_text(&mut pieces, &rest[..start], trim_next, trim_left);
        let inside = if trim_left { &inside[1..] } else { inside };
        let end = action_end(inside)?;
        let (mut action, after) = (&inside[..end], &inside[end + 2..]);
        trim_next = action.ends_with(" -");
        if trim_next {
            action = &action[..action.len() - 1];
        }
        let action = action.trim();
        if !action.starts_with("/*") {
            pieces.push(Piece::Action(tokens(action)?));
        }
        rest = after;
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where the closing `}}` is, skipping strings.
fn action_end(text: &str) -> Result<usize, TemplateError> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"'), b'\\') => at += 1,
            (Some(open), byte) if byte == open => quote = None,
            (None, byte @ (b'"' | b'`')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    let reason = if quote.is_some() { "unterminated quoted string" } else { "unclosed action" };
    Err(TemplateError::Syntax(reason.to_owned()))
}

fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let chars: Vec<char> = action.chars().collect();
    let mut at = 0;
    let mut out = Vec::new();
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            c if c.is_whitespace() => {}
            '(' => out.push(Token::Open),
            ')' => out.push(Token::Close(chain(&chars, &mut at))),
            '|' => out.push(Token::Pipe),
            ',' => out.push(Token::Comma),
            '=' => out.push(Token::Assign),
            ':' if chars.get(at) == Some(&'=') => {
                at += 1;
                out.push(Token::Declare);
            }
            '"' | '`' => out.push(Token::Text(quoted(&chars, &mut at, c)?)),
            '.' => {
                at -= 1;
                out.push(Token::Field(chain_or_dot(&chars, &mut at)));
            }
            '$' => {
                let name = word(&chars, &mut at);
                out.push(Token::Variable(name, chain(&chars, &mut at)));
            }
            c if c.is_ascii_digit() || (c == '-' && next_is_digit(&chars, at)) => {
                at -= 1;
                out.push(number(&chars, &mut at)?);
            }
            c if c.is_alphabetic() || c == '_' => {
                at -= 1;
                out.push(Token::Word(word(&chars, &mut at)));
            }
            other => {
                return Err(TemplateError::Syntax(format!("unexpected {other:?} in command")));
            }
        }
    }
    Ok(out)
}

fn next_is_digit(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(char::is_ascii_digit)
}

fn word(chars: &[char], at: &mut usize) -> String {
    let start = *at;
    while chars.get(*at).is_some_and(|c| c.is_alphanumeric() || *c == '_') {
        *at += 1;
    }
    chars[start..*at].iter().collect()
}

/// `.A.B` at `at`; stops before a dot that no name follows.
fn chain(chars: &[char], at: &mut usize) -> Vec<String> {
    let mut fields = Vec::new();
    while chars.get(*at) == Some(&'.') {
        let mut next = *at + 1;
        let field = word(chars, &mut next);
        if field.is_empty() {
            break;
        }
        *at = next;
        fields.push(field);
    }
    fields
}

fn chain_or_dot(chars: &[char], at: &mut usize) -> Vec<String> {
    let fields = chain(chars, at);
    if fields.is_empty() {
        *at += 1;
    }
    fields
}

fn number(chars: &[char], at: &mut usize) -> Result<Token, TemplateError> {
    let start = *at;
    *at += 1;
    while chars.get(*at).is_some_and(|c| c.is_ascii_digit() || *c == '.') {
        *at += 1;
    }
    let text: String = chars[start..*at].iter().collect();
    let value = text.parse();
    value
        .map(Token::Number)
        .map_err(|_| TemplateError::Syntax(format!("bad number syntax: {text:?}")))
}

fn quoted(chars: &[char], at: &mut usize, quote: char) -> Result<String, TemplateError> {
    let mut out = String::new();
    while let Some(&c) = chars.get(*at) {
        *at += 1;
        match c {
            c if c == quote => return Ok(out),
            '\\' if quote == '"' => {
                let escaped = chars.get(*at).copied().unwrap_or('\\');
                *at += 1;
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    other => other,
                });
            }
            c => out.push(c),
        }
    }
    Err(TemplateError::Syntax("unterminated quoted string".to_owned()))
}
