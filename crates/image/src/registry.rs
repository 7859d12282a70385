//! Registries: the distribution protocol over our own small HTTP client.
//!
//! ```text
//! pull/push ──► client (retries, redirects, tokens) ──► connect (TCP, TLS) ──► registry or mirror
//! ```

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod connect;
pub(crate) mod download;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod flight;
mod login;
pub(crate) mod manifest;
pub(crate) mod pull;
pub(crate) mod push;
mod search;

/// What the daemon was told of registries.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// URLs that are asked before Docker Hub.
    pub mirrors: Vec<String>,
    /// Hosts (`host[:port]`) or CIDRs that may be spoken to without TLS or without a valid certificate.
    /// Loopback addresses always may.
    pub insecure: Vec<String>,
    /// `<dir>/<host>/*.crt` are trusted for that host; dockerd's is `/etc/docker/certs.d`.
    pub certs_dir: Option<std::path::PathBuf>,
}

/// What an image runs on, in Go's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: String,
}

impl Platform {
    /// This machine.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "aarch64" => ("arm64", "v8"),
            "x86" => ("386", ""),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            other => (other, ""),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Reads `os/arch[/variant]`, `arch`, or `os`. `None` when it is none of these.
    pub fn parse(text: &str) -> Option<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if !parts.iter().all(word) {
            return None;
        }
        let host = Platform::host();
        let platform = match parts.as_slice() {
            [os @ ("linux" | "windows" | "darwin")] => Platform { os: (*os).to_owned(), ..host },
            [arch] => Platform::of("linux", arch, ""),
            [os, arch] => Platform::of(os, arch, ""),
            [os, arch, variant] => Platform::of(os, arch, variant),
            _ => return None,
        };
        Some(platform)
    }

    fn of(os: &str, architecture: &str, variant: &str) -> Platform {
        let (architecture, normal) = match architecture {
            "x86_64" | "x86-64" => ("amd64", ""),
            "aarch64" | "arm64" => ("arm64", "v8"),
            "i386" | "x86" => ("386", ""),
            "armhf" | "arm" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            other => (other, ""),
        };
        let variant = if variant.is_empty() { normal } else { variant };
        Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.to_owned(),
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}
