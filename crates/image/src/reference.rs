//! Image names as people type them, and the one full spelling of each (Docker's `distribution/reference`).
//!
//! `busybox` is `docker.io/library/busybox:latest`; `localhost/x` and `a.b/x` name a registry; what
//! Docker refuses is refused with its words.

use crate::Digest;
use std::fmt;

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
/// The longest repository name that registries take, domain included.
const MAX_NAME: usize = 255;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    #[error("repository name must have at least one component")]
    Empty,
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Hexadecimal(String),
    #[error("invalid checksum digest length")]
    DigestLength,
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
}

/// A checked name: registry, repository, and a tag, a digest, both or neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads `[domain/]path[:tag][@digest]`, filling in Docker Hub.
    pub fn parse(text: &str) -> Result<Reference, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Hexadecimal(text.to_owned()));
        }
        if text.is_empty() {
            return Err(ReferenceError::Format);
        }
        let (domain, remainder) = split_domain(text);
        let name_end = remainder.find([':', '@']).unwrap_or(remainder.len());
        let path = &remainder[..name_end];
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ReferenceError::Uppercase(path.to_owned()));
        }
        let (tag, digest) = split_suffix(&remainder[name_end..])?;
        if !valid_domain(&domain) || !valid_path(path) {
            return Err(ReferenceError::Format);
        }
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Reference { domain, path: path.to_owned(), tag, digest })
    }

    /// The registry: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }
    /// The repository inside the registry: `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }
    /// Domain and path.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }
    /// The name as people write it: `busybox`, `user/x`, `host:5000/x`. Whole where a part of it would be another
    /// registry's: `docker.io/localhost/x`.
    pub fn familiar_name(&self) -> String {
        let short = match self.path.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official,
            _ => &self.path,
        };
        let (domain, path) = split_domain(short);
        if (&domain, &path) == (&self.domain, &self.path) { short.to_owned() } else { self.name() }
    }
    /// The familiar name with tag and digest. It parses to the same.
    pub fn familiar(&self) -> String {
        let shown = self.familiar_name() + &self.suffix();
        if is_identifier(&shown) { format!("{OFFICIAL}{shown}") } else { shown }
    }
    /// Adds `:latest` when there is neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }
    /// The same repository under `tag` (checked), without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !valid_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }
    /// The same repository by `digest` alone.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }
    /// Whether both are the same repository of the same registry.
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.domain == other.domain && self.path == other.path
    }
    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

/// The full spelling, under which the store keeps it.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.domain, self.path, self.suffix())
    }
}

/// The first component is a domain if it could not be a path: a dot, a colon, capitals, or `localhost`.
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
    let name = remainder.split([':', '@']).next().unwrap_or_default();
    if domain == DEFAULT_DOMAIN && !name.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL}{remainder}"));
    }
    (domain.to_owned(), remainder.to_owned())
}

type Suffix = (Option<String>, Option<Digest>);

fn split_suffix(suffix: &str) -> Result<Suffix, ReferenceError> {
    let (tag, digest) = match suffix.split_once('@') {
        Some((tag, digest)) => (tag, Some(parse_digest(digest)?)),
        None => (suffix, None),
    };
    let tag = match tag.strip_prefix(':') {
        Some(tag) if valid_tag(tag) => Some(tag.to_owned()),
        None if tag.is_empty() => None,
        _ => return Err(ReferenceError::Format),
    };
    Ok((tag, digest))
}

fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let Some((algorithm, hex)) = text.split_once(':') else { return Err(ReferenceError::Format) };
    if hex.len() < 32 || !hex.bytes().all(is_hex) {
        return Err(ReferenceError::Format);
    }
    match algorithm {
        "sha256" if hex.len() != 64 => Err(ReferenceError::DigestLength),
        "sha256" => Digest::parse(text).ok_or(ReferenceError::Format),
        _ => Err(ReferenceError::DigestAlgorithm),
    }
}

/// Whether the text is an image's id rather than a name.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || b == b'.' || b == b'-')
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Components of `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn valid_path(path: &str) -> bool {
    path.split('/').all(|component| {
        let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = component.as_bytes();
        let ends =
            bytes.first().copied().is_some_and(alnum) && bytes.last().copied().is_some_and(alnum);
        ends && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
    })
}

#[cfg(test)]
mod tests;
