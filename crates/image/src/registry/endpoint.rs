//! Where a repository's registry is: addresses to try, in order, and how far they may be trusted.

use super::RegistryConfig;
use super::error::RegistryError;
use crate::Reference;
use std::net::IpAddr;

const HUB: &str = "docker.io";
const HUB_REGISTRY: &str = "registry-1.docker.io";

/// One base address of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// `host[:port]`, as it is shown.
    pub(crate) authority: String,
    /// Of a mirror with a path: `/prefix`.
    pub(crate) prefix: String,
    /// Whether to look at the certificate.
    pub(crate) verify: bool,
    pub(crate) mirror: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
    pub(crate) fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

impl Endpoint {
    /// Splits `http[s]://host[:port][/path]`.
    pub(crate) fn parse(url: &str, verify: bool) -> Result<(Endpoint, String), RegistryError> {
        let bad = || RegistryError::Address(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| bad())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            _ => return Err(bad()),
        };
        let authority = uri.authority().ok_or_else(bad)?.as_str().to_owned();
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let endpoint = Endpoint { scheme, authority, prefix: String::new(), verify, mirror: false };
        Ok((endpoint, path))
    }

    /// The address of `path` (`/v2/…`) here.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{}{path}", self.scheme.as_str(), self.authority, self.prefix)
    }
}

/// What to try for `repository`: mirrors (for pulls from Docker Hub), then HTTPS, then HTTP if allowed.
pub(crate) fn endpoints(
    config: &RegistryConfig,
    repository: &Reference,
    pull: bool,
) -> Vec<Endpoint> {
    let mut all = Vec::new();
    let domain = repository.domain();
    if domain == HUB && pull {
        for mirror in &config.mirrors {
            let Ok((endpoint, path)) = Endpoint::parse(mirror, true) else { continue };
            let verify = !is_insecure(config, &endpoint.authority);
            let prefix = path.trim_end_matches('/').to_owned();
            all.push(Endpoint { prefix, verify, mirror: true, ..endpoint });
        }
    }
    let authority = if domain == HUB { HUB_REGISTRY } else { domain }.to_owned();
    let insecure = is_insecure(config, &authority);
    let at = |scheme, authority| Endpoint {
        scheme,
        authority,
        prefix: String::new(),
        verify: !insecure,
        mirror: false,
    };
    all.push(at(Scheme::Https, authority.clone()));
    if insecure {
        all.push(at(Scheme::Http, authority));
    }
    all
}

/// Loopback addresses, and what the daemon was told (hosts or CIDRs).
fn is_insecure(config: &RegistryConfig, authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) { host } else { authority }
    });
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let address =
        if host == "localhost" { Ok(IpAddr::from([127, 0, 0, 1])) } else { host.parse::<IpAddr>() };
    if address.as_ref().is_ok_and(IpAddr::is_loopback) {
        return true;
    }
    config.insecure.iter().any(|entry| match entry.split_once('/') {
        Some((network, bits)) => in_network(network, bits, address.as_ref().ok()),
        None => entry == authority || entry == host,
    })
}

fn in_network(network: &str, bits: &str, address: Option<&IpAddr>) -> bool {
    let bytes = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let (Ok(network), Ok(bits), Some(address)) = (network.parse(), bits.parse::<usize>(), address)
    else {
        return false;
    };
    let (network, address) = (bytes(&network), bytes(address));
    let bit = |of: &[u8], n: usize| of.get(n / 8).map(|byte| byte >> (7 - n % 8) & 1);
    network.len() == address.len() && (0..bits).all(|n| bit(&network, n) == bit(&address, n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(config: &RegistryConfig, name: &str) -> String {
        let all = endpoints(config, &Reference::parse(name).unwrap(), true);
        let show =
            |at: &Endpoint| format!("{}{}", at.url("/v2/"), if at.verify { "" } else { "!" });
        all.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn loopback_and_named_registries_may_be_plain_http() {
        let none = RegistryConfig::default();
        assert_eq!(tried(&none, "a.b/x"), "https://a.b/v2/");
        assert_eq!(
            tried(&none, "127.3.2.1:5000/x"),
            "https://127.3.2.1:5000/v2/! http://127.3.2.1:5000/v2/!"
        );
        assert_eq!(tried(&none, "localhost/x"), "https://localhost/v2/! http://localhost/v2/!");
        let insecure = vec!["a.b:5000".to_owned(), "10.0.0.0/9".to_owned()];
        let some = RegistryConfig { insecure, ..RegistryConfig::default() };
        assert_eq!(tried(&some, "a.b:5000/x"), "https://a.b:5000/v2/! http://a.b:5000/v2/!");
        assert_eq!(tried(&some, "10.1.2.3/x"), "https://10.1.2.3/v2/! http://10.1.2.3/v2/!");
        assert_eq!(tried(&some, "10.200.2.3/x"), "https://10.200.2.3/v2/");
    }

    #[test]
    fn mirrors_come_first_and_only_for_docker_hub() {
        let mirrors = vec!["http://m:5000/hub/".to_owned()];
        let config = RegistryConfig { mirrors, ..RegistryConfig::default() };
        assert_eq!(tried(&config, "x"), "http://m:5000/hub/v2/ https://registry-1.docker.io/v2/");
        assert_eq!(tried(&config, "a.b/x"), "https://a.b/v2/");
    }
}
