//! Image names: which registry, which tag, and how they are shown.

/// The registry whose name is left out.
pub(crate) const DEFAULT_REGISTRY: &str = "docker.io";

/// An image name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// As written, without tag and digest.
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

impl Reference {
    /// Takes `text` apart; refuses what no registry would accept.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let invalid = || "invalid reference format".to_owned();
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (text, None),
        };
        let last_slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (repository, tag) = match rest[last_slash..].find(':') {
            Some(at) => {
                let colon = last_slash + at;
                (&rest[..colon], Some(rest[colon + 1..].to_owned()))
            }
            None => (rest, None),
        };
        let tag_ok = |tag: &str| {
            !tag.is_empty()
                && tag.len() <= 128
                && tag.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
        };
        let path = repository.split_once('/').filter(|(host, _)| is_registry(host));
        let path = path.map_or(repository, |(_, path)| path);
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(format!(
                "invalid reference format: repository name ({path}) must be lowercase"
            ));
        }
        let path_ok = !path.is_empty()
            && path.split('/').all(|part| {
                part.starts_with(|c: char| c.is_ascii_alphanumeric())
                    && part.ends_with(|c: char| c.is_ascii_alphanumeric())
                    && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
            });
        if !path_ok || tag.as_deref().is_some_and(|tag| !tag_ok(tag)) {
            return Err(invalid());
        }
        if digest.as_deref().is_some_and(|digest| !digest.contains(':')) {
            return Err(invalid());
        }
        Ok(Reference { repository: repository.to_owned(), tag, digest })
    }

    /// The registry's host.
    pub(crate) fn registry(&self) -> &str {
        match self.repository.split_once('/') {
            Some((host, _)) if is_registry(host) => host,
            _ => DEFAULT_REGISTRY,
        }
    }

    /// The full name, with registry, `library/` and tag.
    pub(crate) fn canonical(&self) -> String {
        let registry = self.registry();
        let path = self
            .repository
            .strip_prefix(registry)
            .map_or(self.repository.as_str(), |rest| rest.trim_start_matches('/'));
        let library =
            if registry == DEFAULT_REGISTRY && !path.contains('/') { "library/" } else { "" };
        let tail = match (&self.tag, &self.digest) {
            (_, Some(digest)) => format!("@{digest}"),
            (Some(tag), None) => format!(":{tag}"),
            (None, None) => ":latest".to_owned(),
        };
        format!("{registry}/{library}{path}{tail}")
    }
}

fn is_registry(host: &str) -> bool {
    host.contains('.') || host.contains(':') || host == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Reference::parse(text).map_or_else(|err| err, |reference| reference.canonical())
    }

    #[test]
    fn names_are_completed_as_docker_completes_them() {
        assert_eq!(canonical("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(canonical("me/app:1"), "docker.io/me/app:1");
        assert_eq!(canonical("localhost:5000/app"), "localhost:5000/app:latest");
        assert_eq!(canonical("a@sha256:00"), "docker.io/library/a@sha256:00");
    }

    #[test]
    fn impossible_names_are_refused() {
        assert_eq!(
            canonical("Busy"),
            "invalid reference format: repository name (Busy) must be lowercase"
        );
        assert_eq!(canonical("a:"), "invalid reference format");
        assert_eq!(canonical(""), "invalid reference format");
        assert_eq!(canonical("a b"), "invalid reference format");
    }
}
