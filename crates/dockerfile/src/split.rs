//! The quoting rules of the line parser: flags before the arguments, and words that keep their quotes
//! for a later expansion.

/// Takes the leading `--flag` words off `text`; quotes and backslashes in them are resolved here.
pub(crate) fn flags(text: &str) -> (Vec<String>, &str) {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, after) = flag_word(rest);
        if word == "--" {
            return (found, after.trim_start());
        }
        found.push(word);
        rest = after.trim_start();
    }
    (found, rest)
}

fn flag_word(text: &str) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (letter, quote) {
            (letter, None) if letter.is_whitespace() => return (word, &text[at..]),
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            ('\\', _) => word.extend(letters.next().map(|(_, escaped)| escaped)),
            _ => word.push(letter),
        }
    }
    (word, "")
}

/// Splits at blanks that are neither quoted nor escaped. Quotes and escapes stay.
pub(crate) fn words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, None) if letter.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            // Between single quotes nothing escapes; at the very end the token is dropped.
            (letter, quote) if letter == escape && quote != Some('\'') => {
                if let Some(escaped) = letters.next() {
                    word.extend([letter, escaped]);
                }
                continue;
            }
            _ => {}
        }
        word.push(letter);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The strings of a JSON array at the start of `text`; `None` when there is none. What follows the array
/// is ignored, as Go's decoder ignores it.
pub(crate) fn json_strings(text: &str) -> Option<Result<Vec<String>, NotStrings>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Vec<serde_json::Value>>();
    let values = values.next()?.ok()?;
    let text = |value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err(NotStrings),
    };
    Some(values.into_iter().map(text).collect())
}

/// The array holds something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotStrings;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_end_at_the_first_other_word() {
        assert_eq!(
            flags("--from=a --chown='x y'  src --dst"),
            (vec!["--from=a".to_owned(), "--chown=x y".to_owned()], "src --dst")
        );
        assert_eq!(flags("-- --x"), (vec![], "--x"));
        assert_eq!(flags(""), (vec![], ""));
    }

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(words("a=\"x y\" b='\\' c=d\\ e \\", '\\'), ["a=\"x y\"", "b='\\'", "c=d\\ e"]);
        assert_eq!(words("a='x\"y z' \"\"", '\\'), ["a='x\"y z'", "\"\""]);
    }

    #[test]
    fn arrays_are_strings_or_refused() {
        assert_eq!(
            json_strings("[\"a\", \"b\\u0041\"] tail"),
            Some(Ok(vec!["a".into(), "bA".into()]))
        );
        assert_eq!(json_strings("[\"a\", 1]"), Some(Err(NotStrings)));
        assert_eq!(json_strings("[a]"), None);
        assert_eq!(json_strings("x [\"a\"]"), None);
    }
}
