//! Words of a Dockerfile: quotes, escapes and variables (buildkit's `shell` package).
//!
//! | written | becomes |
//! |---|---|
//! | `$V`, `${V}` | the value, or nothing |
//! | `${V-w}`, `${V:-w}` | `w` when unset (with `:` also when empty) |
//! | `${V+w}`, `${V:+w}` | `w` when set (and not empty) |
//! | `${V?w}`, `${V:?w}` | an error saying `w` when unset (or empty) |
//! | `${V#p}` `${V##p}` `${V%p}` `${V%%p}` | without the shortest or longest prefix or suffix matching `p` |
//! | `${V/p/w}`, `${V//p/w}` | the first or every match of `p` replaced |

use crate::error::{ExpandError, ExpandProblem};

/// Whether quotes are syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Processed,
    /// Inside a heredoc they are text.
    Kept,
}

/// Expands `word` to one text. `env` gives a variable's value.
pub fn expand<'e>(
    word: &str,
    escape: char,
    env: &dyn Fn(&str) -> Option<&'e str>,
) -> Result<String, ExpandError> {
    Ok(run(word, escape, Quotes::Processed, env)?.0)
}

/// Expands `word` and splits it at blanks that were neither quoted nor escaped.
pub fn expand_list<'e>(
    word: &str,
    escape: char,
    env: &dyn Fn(&str) -> Option<&'e str>,
) -> Result<Vec<String>, ExpandError> {
    Ok(run(word, escape, Quotes::Processed, env)?.1)
}

/// Expands the variables of a heredoc's content.
pub(crate) fn heredoc_text<'e>(
    content: &str,
    escape: char,
    env: &dyn Fn(&str) -> Option<&'e str>,
) -> Result<String, ExpandError> {
    Ok(run(content, escape, Quotes::Kept, env)?.0)
}

fn run<'e>(
    word: &str,
    escape: char,
    quotes: Quotes,
    env: &dyn Fn(&str) -> Option<&'e str>,
) -> Result<(String, Vec<String>), ExpandError> {
    let mut lexer = Lexer { rest: word.chars().collect(), at: 0, escape, quotes, env };
    let expanded = lexer.until(None, false);
    let (text, words) = expanded.map_err(|why| ExpandError { word: word.to_owned(), why })?;
    Ok((text, words.done()))
}

struct Lexer<'a, 'e> {
    rest: Vec<char>,
    at: usize,
    escape: char,
    quotes: Quotes,
    env: &'a dyn Fn(&str) -> Option<&'e str>,
}

/// The words that a text falls into. An empty one is none, quoted or not.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    /// A letter that separates when it is blank.
    fn add(&mut self, letter: char) {
        if letter.is_whitespace() {
            self.end();
        } else {
            self.word.push(letter);
        }
    }
    fn end(&mut self) {
        if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }
    fn done(mut self) -> Vec<String> {
        self.end();
        self.done
    }
}

type Problem = ExpandProblem;

impl Lexer<'_, '_> {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }
    fn next(&mut self) -> Option<char> {
        let letter = self.peek();
        self.at += usize::from(letter.is_some());
        letter
    }

    /// Reads up to `stop` (or the end). With `raw_escapes` an escape keeps its token: it is for a pattern.
    fn until(&mut self, stop: Option<char>, raw_escapes: bool) -> Result<(String, Words), Problem> {
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(letter) = self.peek() {
            let quoted = match letter {
                _ if Some(letter) == stop => {
                    self.next();
                    return Ok((text, words));
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|letter| words.add(letter));
                    text.push_str(&value);
                    continue;
                }
                '\'' if self.quotes == Quotes::Processed => Some(self.single_quoted()?),
                '"' if self.quotes == Quotes::Processed => Some(self.double_quoted(raw_escapes)?),
                _ => None,
            };
            if let Some(quoted) = quoted {
                words.word.push_str(&quoted);
                text.push_str(&quoted);
                continue;
            }
            self.next();
            if letter != self.escape {
                words.add(letter);
                text.push(letter);
                continue;
            }
            if raw_escapes {
                words.word.push(letter);
                text.push(letter);
            }
            let Some(escaped) = self.next() else { break };
            words.word.push(escaped);
            text.push(escaped);
        }
        match stop {
            None => Ok((text, words)),
            Some('/') => Err(Problem::Unclosed("/")),
            Some(_) => Err(Problem::MissingBrace),
        }
    }

    fn single_quoted(&mut self) -> Result<String, Problem> {
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err(Problem::Unclosed("single-quote")),
                Some('\'') => return Ok(text),
                Some(letter) => text.push(letter),
            }
        }
    }

    fn double_quoted(&mut self, raw_escapes: bool) -> Result<String, Problem> {
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(Problem::Unclosed("double-quote")),
                Some('"') => {
                    self.next();
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.dollar()?),
                Some(letter) => {
                    self.next();
                    if letter != self.escape {
                        text.push(letter);
                        continue;
                    }
                    if raw_escapes {
                        text.push(letter);
                    }
                    match self.peek() {
                        None => {}
                        // Only these can be escaped between quotes.
                        Some(next) if next == '"' || next == '$' || next == self.escape => {
                            text.push(next);
                            self.next();
                        }
                        Some(_) => text.push(letter),
                    }
                }
            }
        }
    }

    fn dollar(&mut self) -> Result<String, Problem> {
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name) });
        }
        self.next();
        match self.peek() {
            None => return Err(Problem::MissingBrace),
            Some('{' | '}' | ':') => return Err(Problem::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(Problem::MissingBrace),
            Some('}') => Ok(self.value(&name)),
            Some(':') => match self.next() {
                Some(kind @ ('+' | '-' | '?')) => self.conditional(&name, kind, true),
                Some(other) => Err(Problem::Modifier(format!(":{other}"))),
                None => Err(Problem::MissingBrace),
            },
            Some(kind @ ('+' | '-' | '?')) => self.conditional(&name, kind, false),
            Some(kind @ ('#' | '%')) => self.trimmed(&name, kind),
            Some('/') => self.replaced(&name),
            Some(other) => Err(Problem::Modifier(other.to_string())),
        }
    }

    fn value(&self, name: &str) -> String {
        (self.env)(name).unwrap_or_default().to_owned()
    }

    /// Letters, digits and `_`; or only digits; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(letter) = self.peek() {
            let all_digits = name.starts_with(|first: char| first.is_numeric());
            if name.is_empty() && matches!(letter, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
                self.next();
                return letter.to_string();
            }
            let fits = if all_digits {
                letter.is_numeric()
            } else {
                letter.is_alphanumeric() || letter == '_'
            };
            if !fits {
                break;
            }
            name.push(letter);
            self.next();
        }
        name
    }

    fn conditional(
        &mut self,
        name: &str,
        kind: char,
        empty_is_unset: bool,
    ) -> Result<String, Problem> {
        let (word, _) = self.until(Some('}'), false)?;
        let value = (self.env)(name);
        let missing = value.is_none() || (empty_is_unset && value == Some(""));
        match kind {
            '-' if missing => Ok(word),
            '+' if missing => Ok(String::new()),
            '+' => Ok(word),
            '?' if missing => {
                let message = match (word.is_empty(), value) {
                    (false, _) => word,
                    (true, None) => "is not allowed to be unset".to_owned(),
                    (true, Some(_)) => "is not allowed to be empty".to_owned(),
                };
                Err(Problem::Required { name: name.to_owned(), message })
            }
            _ => Ok(self.value(name)),
        }
    }

    fn trimmed(&mut self, name: &str, kind: char) -> Result<String, Problem> {
        let greedy = self.peek() == Some(kind);
        if greedy {
            self.next();
        }
        let (pattern, _) = self.until(Some('}'), true)?;
        let pattern: Vec<char> = pattern.chars().collect();
        let value: Vec<char> = self.value(name).chars().collect();
        let fits = |cut: &usize| {
            let part = if kind == '#' { &value[..*cut] } else { &value[value.len() - cut..] };
            wild(&pattern, part)
        };
        let cut =
            if greedy { (0..=value.len()).rev().find(fits) } else { (0..=value.len()).find(fits) };
        let cut = cut.unwrap_or(0);
        let kept = if kind == '#' { &value[cut..] } else { &value[..value.len() - cut] };
        Ok(kept.iter().collect())
    }

    fn replaced(&mut self, name: &str) -> Result<String, Problem> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let (pattern, _) = self.until(Some('/'), true)?;
        let (with, _) = self.until(Some('}'), true)?;
        let pattern: Vec<char> = pattern.chars().collect();
        let value: Vec<char> = self.value(name).chars().collect();
        let (mut out, mut at, mut count) = (String::new(), 0, 0);
        while at < value.len() {
            let longest = (at + 1..=value.len()).rev().find(|end| wild(&pattern, &value[at..*end]));
            match longest.filter(|_| all || count == 0) {
                Some(end) => {
                    out.push_str(&with);
                    (at, count) = (end, count + 1);
                }
                None => {
                    out.push(value[at]);
                    at += 1;
                }
            }
        }
        Ok(out)
    }
}

/// The shell's `*` and `?` (over any characters), with `\` to escape.
fn wild(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|taken| wild(rest, &text[taken..])),
        ['?', rest @ ..] => !text.is_empty() && wild(rest, &text[1..]),
        ['\\', letter, rest @ ..] | [letter, rest @ ..] => {
            text.first() == Some(letter) && wild(rest, &text[1..])
        }
    }
}

#[cfg(test)]
mod tests;
