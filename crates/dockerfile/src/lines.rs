//! From text to logical lines: parser directives, comments, continuations, heredocs.

use crate::error::{ParseError, Syntax};
use crate::instruction::Heredoc;

/// The token that escapes, unless `# escape=` says otherwise.
pub(crate) const DEFAULT_ESCAPE: char = '\\';

/// One instruction's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Of its first physical line, from 1.
    pub(crate) number: usize,
    /// Continuations joined, comments between them left out.
    pub(crate) text: String,
    pub(crate) heredocs: Vec<Heredoc>,
}

/// A file's logical lines, and its escape token.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) escape: char,
    pub(crate) lines: Vec<Line>,
}

/// Splits `text`. Fails on bad directives and unterminated heredocs only.
pub(crate) fn split(text: &str) -> Result<Lines, ParseError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = directives(text)?;
    let mut physical = text.split_inclusive('\n').enumerate();
    let mut lines = Vec::new();
    while let Some((at, first)) = physical.next() {
        if is_comment(first) {
            continue;
        }
        let number = at + 1;
        let (mut joined, mut goes_on) = continuation(first.trim(), escape);
        while goes_on && let Some((_, next)) = physical.next() {
            let next = next.trim_end_matches(['\n', '\r']);
            if !is_comment(next) && !next.trim().is_empty() {
                let (text, more) = continuation(next, escape);
                joined.push_str(&text);
                goes_on = more;
            }
        }
        if joined.trim().is_empty() {
            continue;
        }
        let mut heredocs = openings(&joined);
        for heredoc in &mut heredocs {
            let content = heredoc_content(heredoc, physical.by_ref().map(|(_, line)| line));
            let what = Syntax::UnterminatedHeredoc;
            heredoc.content = content.ok_or(ParseError::At { line: number, what })?;
        }
        lines.push(Line { number, text: joined.trim().to_owned(), heredocs });
    }
    Ok(Lines { escape, lines })
}

/// Reads `# key=value` lines from the top, up to the first line that is none.
fn directives(text: &str) -> Result<char, ParseError> {
    let mut seen: Vec<String> = Vec::new();
    let mut escape = DEFAULT_ESCAPE;
    for (at, line) in text.lines().enumerate() {
        let Some((key, value)) = directive(line) else { break };
        let refuse = |what| Err(ParseError::At { line: at + 1, what });
        if seen.contains(&key) {
            return refuse(Syntax::DuplicateDirective(key));
        }
        if key == "escape" {
            escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => return refuse(Syntax::EscapeToken(other.to_owned())),
            };
        }
        seen.push(key);
    }
    Ok(escape)
}

fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let key = key.trim().to_ascii_lowercase();
    // Others are plain comments, and end the directives.
    matches!(key.as_str(), "escape" | "syntax" | "check").then(|| (key, value.trim()))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line without the escape token that ends it, and whether there was one.
fn continuation(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t', '\r', '\n']);
    match trimmed.strip_suffix(escape) {
        Some(kept) if !kept.ends_with(escape) => (kept.to_owned(), true),
        _ => (line.trim_end_matches(['\r', '\n']).to_owned(), false),
    }
}

/// The heredocs that an instruction opens; only those that can take one are looked at.
fn openings(line: &str) -> Vec<Heredoc> {
    let mut words = line.split_whitespace();
    let mut command = words.next().unwrap_or_default().to_ascii_uppercase();
    if command == "ONBUILD" {
        command = words.next().unwrap_or_default().to_ascii_uppercase();
    }
    let takes = matches!(command.as_str(), "ADD" | "COPY" | "RUN");
    let arguments = words.clone().find(|word| !word.starts_with("--"));
    if !takes || arguments.is_none_or(|first| first.starts_with('[')) {
        return Vec::new();
    }
    shell_words(line).iter().filter_map(|word| Heredoc::opening(word)).collect()
}

/// Splits at blanks outside quotes; quotes and escapes stay in the words.
fn shell_words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, None) if letter.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', Some('"') | None) => {
                word.push(letter);
                word.extend(letters.next());
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    words.push(word);
    words
}

/// The lines up to the terminator; `None` when it does not come.
fn heredoc_content<'a>(heredoc: &Heredoc, lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut content = String::new();
    for line in lines {
        let bare = line.trim_end_matches(['\n', '\r']);
        let bare = if heredoc.chomp { bare.trim_start_matches('\t') } else { bare };
        if bare == heredoc.name {
            return Some(content);
        }
        content.push_str(line);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(usize, String)> {
        split(text).unwrap().lines.into_iter().map(|line| (line.number, line.text)).collect()
    }

    #[test]
    fn continued_lines_are_joined_across_comments_and_empty_lines() {
        let text = "# c\n\nRUN a \\\n  # not this\n\n && b\\\\\n  \t USER x\nRUN c \\  \n d";
        assert_eq!(
            texts(text),
            [
                (3, "RUN a  && b\\\\".to_owned()),
                (7, "USER x".to_owned()),
                (8, "RUN c  d".to_owned())
            ]
        );
    }

    #[test]
    fn directives_end_at_the_first_other_line() {
        assert_eq!(split("# syntax=x\n# escape=`\nRUN a `\n b").unwrap().lines[0].text, "RUN a  b");
        assert_eq!(split("# hello\n# escape=`\nRUN a").unwrap().escape, '\\');
        let twice = split("#escape=`\n# escape = \\\n").unwrap_err();
        assert_eq!(
            twice.to_string(),
            "dockerfile parse error on line 2: only one escape parser directive can be used"
        );
        assert_eq!(
            split("# escape=x\n").unwrap_err().to_string(),
            "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\"
        );
    }

    #[test]
    fn heredocs_take_the_lines_up_to_their_names() {
        let text = "RUN <<A cat - <<-'B'\none\n# two\nA\n\tthree\n\tB\nUSER x";
        let lines = split(text).unwrap().lines;
        let contents: Vec<_> = lines[0].heredocs.iter().map(|doc| doc.content.as_str()).collect();
        assert_eq!(contents, ["one\n# two\n", "\tthree\n"]);
        assert_eq!((lines[0].heredocs[0].expand, lines[0].heredocs[1].expand), (true, false));
        assert_eq!((lines[1].number, lines[1].text.as_str()), (7, "USER x"));
        assert_eq!(
            split("FROM a\nRUN <<A\nx").unwrap_err().to_string(),
            "dockerfile parse error on line 2: unterminated heredoc"
        );
    }

    #[test]
    fn what_only_looks_like_a_heredoc_is_none() {
        for text in
            ["RUN echo \"<<A\"", "RUN [\"a\", \"<<A\"]", "ENV A=<<A", "RUN a <<<A", "RUN x << A"]
        {
            assert_eq!(split(text).unwrap().lines[0].heredocs, [], "{text}");
        }
    }
}
