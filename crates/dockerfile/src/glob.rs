//! Path patterns: Go's `filepath.Match`, and the same with `**` for `.dockerignore`.

/// What `**` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stars {
    /// The same as `*`.
    Single,
    /// Any number of path segments.
    Double,
}

/// Whether the whole of `path` matches Go's `filepath.Match` pattern. A malformed one matches nothing.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, path): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), path.chars().collect());
    match_from(&pattern, &path, Stars::Single)
}

/// The same on characters, with a choice for `**`.
pub(crate) fn match_from(pattern: &[char], path: &[char], stars: Stars) -> bool {
    match pattern {
        [] => path.is_empty(),
        ['*', '*', rest @ ..] if stars == Stars::Double => match_double(rest, path),
        ['*', rest @ ..] => {
            let segment = path.iter().position(|letter| *letter == '/').unwrap_or(path.len());
            (0..=segment).any(|taken| match_from(rest, &path[taken..], stars))
        }
        ['?', rest @ ..] => {
            path.first().is_some_and(|letter| *letter != '/') && match_from(rest, &path[1..], stars)
        }
        ['[', rest @ ..] => match (path.first(), class(rest)) {
            (Some(letter), Some(class)) => {
                *letter != '/' && class.has(*letter) && match_from(class.rest, &path[1..], stars)
            }
            _ => false,
        },
        ['\\', letter, rest @ ..] | [letter, rest @ ..] => {
            path.first() == Some(letter) && match_from(rest, &path[1..], stars)
        }
    }
}

/// `**` before `rest`: nothing, or whole segments (with their slash), or, at the end, anything.
fn match_double(rest: &[char], path: &[char]) -> bool {
    let rest = rest.strip_prefix(&['/']).unwrap_or(rest);
    if rest.is_empty() {
        return true;
    }
    let starts =
        path.iter().enumerate().filter(|(_, letter)| **letter == '/').map(|(at, _)| at + 1);
    std::iter::once(0).chain(starts).any(|at| match_from(rest, &path[at..], Stars::Double))
}

/// A `[…]` class, read from after its bracket.
struct Class<'a> {
    negated: bool,
    ranges: Vec<(char, char)>,
    rest: &'a [char],
}

impl Class<'_> {
    fn has(&self, letter: char) -> bool {
        self.ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != self.negated
    }
}

fn class(text: &[char]) -> Option<Class<'_>> {
    let (negated, mut rest) = match text {
        ['^', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let [']', after @ ..] = rest
            && !ranges.is_empty()
        {
            return Some(Class { negated, ranges, rest: after });
        }
        let (low, after) = class_letter(rest)?;
        let (high, after) = match after {
            ['-', after @ ..] => class_letter(after)?,
            _ => (low, after),
        };
        ranges.push((low, high));
        rest = after;
    }
}

fn class_letter(text: &[char]) -> Option<(char, &[char])> {
    match text {
        ['\\', letter, rest @ ..] => Some((*letter, rest)),
        [] | ['\\' | '-' | ']', ..] => None,
        [letter, rest @ ..] => Some((*letter, rest)),
    }
}

/// Whether Go would refuse the pattern with `syntax error in pattern`.
pub(crate) fn is_malformed(pattern: &str) -> bool {
    let letters: Vec<char> = pattern.chars().collect();
    let mut rest = &letters[..];
    loop {
        rest = match rest {
            [] => return false,
            ['\\'] => return true,
            ['\\', _, rest @ ..] => rest,
            ['[', after @ ..] => match class(after) {
                Some(class) => class.rest,
                None => return true,
            },
            [_, rest @ ..] => rest,
        };
    }
}

/// Go's `path.Clean` on text: no `.`, no `//`, `..` resolved where it can be.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            ".." if rooted => {}
            part => kept.push(part),
        }
    }
    match (rooted, kept.is_empty()) {
        (true, _) => format!("/{}", kept.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => kept.join("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_gos_do() {
        let yes = [
            ("*.txt", "a.txt"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[^a-c]x", "dx"),
            ("a\\*b", "a*b"),
            ("*", ""),
            ("a/*/c", "a/b/c"),
            ("[\\]]", "]"),
            ("x*y*z", "xaybz"),
        ];
        let no = [
            ("*.txt", "dir/a.txt"),
            ("a?c", "a/c"),
            ("[a-c]x", "dx"),
            ("a\\*b", "acb"),
            ("[", "["),
            ("**", "a/b"),
            ("a", "ab"),
            ("[]a]", "]"),
        ];
        for (pattern, path) in yes {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in no {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_go_cleans_them() {
        for (path, want) in [
            ("", "."),
            ("a//b/./c", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("/", "/"),
            ("a/..", "."),
            ("../../x", "../../x"),
            ("dir/", "dir"),
        ] {
            assert_eq!(clean(path), want, "{path}");
        }
    }
}
