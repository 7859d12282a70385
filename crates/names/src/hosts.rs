//! A container's `/etc/hosts` and `/etc/hostname`.

use std::net::{IpAddr, Ipv4Addr};

/// What the file is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    pub hostname: String,
    pub domainname: String,
    /// The container's own addresses, that of the first network first; none with `--network none`.
    pub addresses: Vec<IpAddr>,
    /// `--add-host` entries, `NAME:ADDRESS`; an address `host-gateway` is [`Hosts::host_gateway`].
    pub extra: Vec<String>,
    pub host_gateway: Option<Ipv4Addr>,
}

/// dockerd's beginning of the file.
const LOCAL: &str = "127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
";

impl Hosts {
    /// The user's entries.
    pub fn extra_lines(&self) -> String {
        let line = |entry: &String| {
            // The first colon divides: the address may be IPv6.
            let (name, address) = entry.split_once([':', '='])?;
            match address {
                "host-gateway" => Some(format!("{}\t{name}\n", self.host_gateway?)),
                address => Some(format!("{}\t{name}\n", address.trim_matches(['[', ']']))),
            }
        };
        self.extra.iter().filter_map(line).collect()
    }

    /// The container's own name, at each of its addresses.
    pub fn own_lines(&self) -> String {
        let line = |address: &IpAddr| match (self.hostname.as_str(), self.domainname.as_str()) {
            ("", _) => String::new(),
            (host, "") => format!("{address}\t{host}\n"),
            (host, domain) => format!("{address}\t{host}.{domain} {host}\n"),
        };
        self.addresses.iter().map(line).collect()
    }
}

impl std::fmt::Display for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{LOCAL}{}{}", self.extra_lines(), self.own_lines())
    }
}

/// The content of `/etc/hostname`.
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_localhost_the_users_entries_and_the_container_itself() {
        let hosts = Hosts {
            hostname: "web".to_owned(),
            domainname: "example.org".to_owned(),
            addresses: vec![Ipv4Addr::new(172, 18, 0, 2).into()],
            extra: ["db:10.0.0.5", "gw:host-gateway", "six:2001:db8::1", "bad"]
                .map(str::to_owned)
                .to_vec(),
            host_gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
        };
        let text = hosts.to_string();
        let own = text.strip_prefix(LOCAL).unwrap();
        assert_eq!(
            own,
            "10.0.0.5\tdb\n172.17.0.1\tgw\n2001:db8::1\tsix\n172.18.0.2\tweb.example.org web\n"
        );
    }

    #[test]
    fn without_a_network_there_is_only_localhost() {
        let hosts = Hosts { hostname: "web".to_owned(), ..Hosts::default() };
        assert_eq!(hosts.to_string(), LOCAL);
    }
}
