//! Command strings split as a POSIX shell splits words; nothing is expanded.

/// The quote or backslash that was never finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unclosed {0}")]
pub(crate) struct Unclosed(pub(crate) &'static str);

/// Splits `text` into words; quotes group, backslash keeps the next character.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Unclosed> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(Unclosed("single quote"))? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => double(word.get_or_insert_default(), &mut chars)?,
            '\\' => match chars.next().ok_or(Unclosed("backslash"))? {
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn double(word: &mut String, chars: &mut std::str::Chars<'_>) -> Result<(), Unclosed> {
    const OPEN: Unclosed = Unclosed("double quote");
    loop {
        match chars.next().ok_or(OPEN)? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or(OPEN)? {
                '\n' => {}
                c @ ('"' | '\\' | '$' | '`') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_group_and_backslashes_keep() {
        let words = split(r#"sh -c 'echo "$x"' "a \"b\" \n" c\ d "" "#).expect("closed");
        assert_eq!(words, ["sh", "-c", r#"echo "$x""#, r#"a "b" \n"#, "c d", ""]);
    }

    #[test]
    fn an_open_quote_is_named() {
        assert_eq!(split("echo 'x"), Err(Unclosed("single quote")));
        assert_eq!(split("echo \"x"), Err(Unclosed("double quote")));
    }
}
