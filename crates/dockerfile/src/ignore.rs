//! `.dockerignore`: which paths of a build context are left out (moby's `patternmatcher`).
//!
//! Patterns are relative to the context's root, `**` spans directories, a matched directory takes all
//! below it, `!` takes a path back in, and the last pattern that matches decides.

use crate::glob::{self, Stars};

/// The patterns of one ignore file, in order.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    letters: Vec<char>,
    /// `!`: what matches is kept.
    exception: bool,
}

/// A pattern that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    #[error("illegal exclusion pattern: \"!\"")]
    Bare,
    #[error("error checking context: 'syntax error in pattern: {0}'")]
    Malformed(String),
}

impl Ignore {
    /// Reads the file's text. Comments begin in the first column.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
        Self::from_patterns(lines.filter(|line| !line.is_empty()))
    }

    /// From patterns as `COPY --exclude` gives them.
    pub fn from_patterns<'a>(
        patterns: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, IgnoreError> {
        let patterns = patterns.into_iter().map(Pattern::new).collect::<Result<_, _>>()?;
        Ok(Ignore { patterns })
    }

    /// Whether nothing is ever left out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `path` (relative, with `/`) is left out, itself or with a directory above it.
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.trim_end_matches('/').chars().collect();
        let mut left_out = false;
        for pattern in &self.patterns {
            // An exception can only take back, a pattern only leave out: nothing else would change.
            if pattern.exception == left_out && pattern.matches_or_parent(&path) {
                left_out = !pattern.exception;
            }
        }
        left_out
    }

    /// Whether the left-out directory `dir` need not be entered: no exception reaches below it.
    pub fn prunes(&self, dir: &str) -> bool {
        let below = format!("{}/", dir.trim_end_matches('/'));
        let reaches = |pattern: &Pattern| {
            let wild = pattern.text.find(['*', '?', '[', '\\']).unwrap_or(pattern.text.len());
            let fixed = &pattern.text[..wild];
            // A pattern whose fixed part ends above `dir` may still match below it.
            format!("{}/", pattern.text).starts_with(&below)
                || (wild < pattern.text.len() && below.starts_with(fixed))
        };
        !self.patterns.iter().any(|pattern| pattern.exception && reaches(pattern))
    }
}

impl Pattern {
    fn new(line: &str) -> Result<Self, IgnoreError> {
        let line = line.trim();
        let (exception, text) = match line.strip_prefix('!') {
            Some(text) => (true, text.trim()),
            None => (false, line),
        };
        if exception && text.is_empty() {
            return Err(IgnoreError::Bare);
        }
        if glob::is_malformed(text) {
            return Err(IgnoreError::Malformed(text.to_owned()));
        }
        let clean = glob::clean(text);
        let text = match clean.strip_prefix('/') {
            Some(rest) if !rest.is_empty() => rest.to_owned(),
            _ => clean,
        };
        Ok(Pattern { letters: text.chars().collect(), text, exception })
    }

    fn matches_or_parent(&self, path: &[char]) -> bool {
        let parents = (0..path.len()).filter(|at| path[*at] == '/');
        glob::match_from(&self.letters, path, Stars::Double)
            || parents
                .into_iter()
                .any(|at| glob::match_from(&self.letters, &path[..at], Stars::Double))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(file: &str, path: &str) -> bool {
        Ignore::parse(file).unwrap().matches(path)
    }

    #[test]
    fn patterns_are_rooted_and_take_what_is_below() {
        for (file, path, want) in [
            ("node_modules", "node_modules/a/b.js", true),
            ("node_modules", "web/node_modules/a", false),
            ("**/node_modules", "web/node_modules/a", true),
            ("**/node_modules", "node_modules", true),
            ("*.md", "README.md", true),
            ("*.md", "docs/a.md", false),
            ("**/*.md", "docs/deep/a.md", true),
            ("*/temp*", "somedir/temporary.txt", true),
            ("*/*/temp*", "somedir/subdir/temporary.txt", true),
            ("temp?", "tempa", true),
            ("temp?", "temp", false),
            ("/foo", "foo/bar", true),
            ("foo/", "foo/bar", true),
            ("./foo/../bar", "bar", true),
            ("# foo", "# foo", false),
            (" # foo", "# foo", true),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/x/y/c", true),
            ("a**/c", "abc/c", true),
            ("**", "anything/at/all", true),
            (".git", ".gitignore", false),
            ("", "x", false),
            ("[a-b].txt", "b.txt", true),
            ("\\!x", "!x", true),
        ] {
            assert_eq!(left_out(file, path), want, "{file} {path}");
        }
    }

    #[test]
    fn the_last_match_decides() {
        let file = "*\n!src\nsrc/*.tmp\n!src/keep.tmp\n";
        for (path, want) in
            [("a", true), ("src/a.rs", false), ("src/b.tmp", true), ("src/keep.tmp", false)]
        {
            assert_eq!(left_out(file, path), want, "{path}");
        }
        assert!(left_out("!a\na", "a"));
        assert!(!left_out("*.md\n!README*.md\n", "README-secret.md"));
        assert!(left_out("*.md\n!README*.md\nREADME-secret.md", "README-secret.md"));
    }

    #[test]
    fn a_directory_is_entered_only_for_an_exception_below_it() {
        let ignore = Ignore::parse("*\n!src/main\n!**/deep/x").unwrap();
        assert!(!ignore.prunes("src"));
        assert!(!Ignore::parse("*\n!src/*/x").unwrap().prunes("src/a"));
        assert!(Ignore::parse("*\n!src/main").unwrap().prunes("target"));
        assert!(!ignore.prunes("target"));
    }

    #[test]
    fn malformed_patterns_are_refused() {
        assert_eq!(Ignore::parse("!").unwrap_err(), IgnoreError::Bare);
        assert!(matches!(Ignore::parse("a[").unwrap_err(), IgnoreError::Malformed(_)));
    }
}
