//! `resolv.conf`: the host's read, a container's written.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Where the embedded resolver listens inside a sandbox.
pub const EMBEDDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The parts of a `resolv.conf` that matter to us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub nameservers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// `--dns`, `--dns-search`, `--dns-option`: each, when not empty, replaces what the host has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsWishes {
    pub servers: Vec<String>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads a file as the resolver library does: unknown lines and bad addresses are skipped, of several
    /// `search` lines the last counts, of a zoned address the zone is dropped.
    pub fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => conf.nameservers.extend(words.next().and_then(address)),
                Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }

    /// Whether a resolver on the host's loopback is asked (systemd-resolved, dnsmasq).
    pub fn is_local_only(&self) -> bool {
        !self.nameservers.is_empty() && self.nameservers.iter().all(IpAddr::is_loopback)
    }

    /// This configuration with what the user wants instead. A search of `.` means none.
    pub fn with(&self, wishes: &DnsWishes) -> Self {
        let or = |wanted: &[String], own: &[String]| {
            if wanted.is_empty() { own.to_vec() } else { wanted.to_vec() }
        };
        let mut search = or(&wishes.search, &self.search);
        search.retain(|domain| domain != "." && !domain.is_empty());
        let servers: Vec<IpAddr> = wishes.servers.iter().filter_map(|text| address(text)).collect();
        ResolvConf {
            nameservers: if servers.is_empty() { self.nameservers.clone() } else { servers },
            search,
            options: or(&wishes.options, &self.options),
        }
    }

    /// The file of a container whose sandbox has the embedded resolver. Without an `ndots` of the user's
    /// it is 0, so that a container's bare name is asked as it is.
    pub fn embedded(&self) -> String {
        let mut conf = ResolvConf { nameservers: vec![EMBEDDED.into()], ..self.clone() };
        if !conf.options.iter().any(|option| option.starts_with("ndots:")) {
            conf.options.push("ndots:0".to_owned());
        }
        conf.to_string()
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

impl std::fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                f.write_str(word)?;
                values.iter().try_for_each(|value| write!(f, " {value}"))?;
                f.write_char('\n')?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "# made by hand\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a.example b.example ; x\noptions edns0 trust-ad\n";

    #[test]
    fn a_container_asks_the_embedded_resolver_and_keeps_the_hosts_search() {
        let text = ResolvConf::parse(HOST).embedded();
        assert_eq!(
            text,
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 trust-ad ndots:0\n"
        );
    }

    #[test]
    fn wishes_replace_and_a_dot_clears_the_search() {
        let wishes = DnsWishes {
            servers: vec!["9.9.9.9".to_owned(), "nonsense".to_owned()],
            search: vec![".".to_owned()],
            options: vec!["ndots:5".to_owned()],
        };
        let conf = ResolvConf::parse(HOST).with(&wishes);
        assert_eq!(conf.nameservers, [IpAddr::from([9, 9, 9, 9])]);
        assert_eq!(conf.embedded(), "nameserver 127.0.0.11\noptions ndots:5\n");
        assert_eq!(conf.to_string(), "nameserver 9.9.9.9\noptions ndots:5\n");
    }

    #[test]
    fn a_stub_resolver_is_recognised() {
        assert!(ResolvConf::parse("nameserver 127.0.0.53").is_local_only());
        assert!(!ResolvConf::parse(HOST).is_local_only());
        assert!(!ResolvConf::parse("").is_local_only());
    }
}
