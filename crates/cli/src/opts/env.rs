//! `--env`, `--env-file` and `--label-file`.

/// Reads an env file: comments and blank lines are skipped, a bare name takes the client's value.
pub(crate) fn file(
    text: &str,
    name: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let variable = line.split('=').next().unwrap_or(line);
        if variable.trim_end().contains(char::is_whitespace) || variable.is_empty() {
            let reason = if variable.is_empty() {
                format!("no variable name on line '{line}'")
            } else {
                format!("variable '{variable}' contains whitespaces")
            };
            return Err(format!("invalid env file ({name}), line {}: {reason}", number + 1));
        }
        if line.contains('=') {
            out.push(line.to_owned());
        } else if let Some(value) = lookup(line.trim_end()) {
            out.push(format!("{}={value}", line.trim_end()));
        }
    }
    Ok(out)
}

/// One `-e` word: `A=b` as it is, `A` with the client's value; an unset name is not passed.
pub(crate) fn word(
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<String>, String> {
    if text.is_empty() || text.starts_with('=') {
        return Err(format!("invalid environment variable: {text}"));
    }
    if text.contains('=') {
        return Ok(Some(text.to_owned()));
    }
    Ok(lookup(text).map(|value| format!("{text}={value}")))
}

/// Later settings of a name replace earlier ones; the first place is kept.
pub(crate) fn merge(words: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let name = |w: &str| w.split('=').next().map(str::to_owned);
        match out.iter_mut().find(|known| name(known) == name(&word)) {
            Some(known) => *known = word,
            None => out.push(word),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    #[test]
    fn env_files_skip_comments_and_inherit_bare_names() {
        let text = "# c\nA=1\n\n  B=x y\nHOME\nNOT_SET\nE=\n";
        assert_eq!(file(text, "f", lookup).unwrap(), ["A=1", "B=x y", "HOME=/root", "E="]);
    }

    #[test]
    fn a_bad_env_line_is_named() {
        assert_eq!(
            file("A=1\nA B=2\n", "f.env", lookup).unwrap_err(),
            "invalid env file (f.env), line 2: variable 'A B' contains whitespaces"
        );
    }

    #[test]
    fn the_last_setting_of_a_name_wins() {
        let words = ["A=1", "B=2", "A=3"].map(str::to_owned).to_vec();
        assert_eq!(merge(words), ["A=3", "B=2"]);
        assert_eq!(word("HOME", lookup), Ok(Some("HOME=/root".to_owned())));
        assert_eq!(word("NONE", lookup), Ok(None));
        assert!(word("=x", lookup).is_err());
    }
}
