//! The key sequence that leaves a container running (`ctrl-p,ctrl-q` unless configured).

/// Docker's default.
pub(crate) const DEFAULT: &str = "ctrl-p,ctrl-q";

/// A parsed `--detach-keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// Reads `a`, `ctrl-x`, `ctrl-p,ctrl-q`…
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = if text.is_empty() { DEFAULT } else { text };
        text.split(',').map(key).collect::<Result<_, _>>().map(DetachKeys)
    }

    /// A scanner for one session's input.
    pub(crate) fn scanner(&self) -> Scanner {
        Scanner { keys: self.0.clone(), matched: 0 }
    }
}

fn key(text: &str) -> Result<u8, String> {
    let unknown = || format!("Unknown character: '{text}'");
    match text.strip_prefix("ctrl-") {
        Some(rest) => match rest.as_bytes() {
            [c @ b'a'..=b'z'] => Ok(c - b'a' + 1),
            [b'@'] => Ok(0),
            [c @ b'['..=b'_'] => Ok(c - b'[' + 27),
            _ => Err(unknown()),
        },
        None => match text.as_bytes() {
            [c] => Ok(*c),
            _ => Err(unknown()),
        },
    }
}

/// What to do with a chunk of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) pass: Vec<u8>,
    pub(crate) detached: bool,
}

/// Finds the keys in a stream; holds back a prefix until it is decided.
#[derive(Debug)]
pub(crate) struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

impl Scanner {
    /// Takes typed bytes; after `detached` the rest is not for the container.
    pub(crate) fn push(&mut self, typed: &[u8]) -> Scan {
        let mut pass = Vec::with_capacity(typed.len());
        for &byte in typed {
            if byte != self.keys[self.matched] {
                pass.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if byte != self.keys[self.matched] {
                pass.push(byte);
                continue;
            }
            self.matched += 1;
            if self.matched == self.keys.len() {
                return Scan { pass, detached: true };
            }
        }
        Scan { pass, detached: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_found_across_reads() {
        let mut scanner = DetachKeys::parse("").unwrap().scanner();
        assert_eq!(scanner.push(b"ls\x10"), Scan { pass: b"ls".to_vec(), detached: false });
        assert_eq!(scanner.push(b"\x11x"), Scan { pass: vec![], detached: true });
    }

    #[test]
    fn a_broken_sequence_is_passed_on() {
        let mut scanner = DetachKeys::parse("").unwrap().scanner();
        assert_eq!(scanner.push(b"\x10a"), Scan { pass: b"\x10a".to_vec(), detached: false });
        assert_eq!(scanner.push(b"\x10\x10\x11"), Scan { pass: b"\x10".to_vec(), detached: true });
    }

    #[test]
    fn keys_are_single_characters_or_controls() {
        assert_eq!(DetachKeys::parse("ctrl-x,q").unwrap(), DetachKeys(vec![24, b'q']));
        assert!(DetachKeys::parse("ctrl-1").is_err());
        assert!(DetachKeys::parse("ab").is_err());
    }
}
