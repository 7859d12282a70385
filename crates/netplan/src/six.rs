//! IPv6 on bridges, beside the IPv4 plan: addresses, routes, and one table of rules.
//!
//! Few networks have it, so it is kept apart: a node without one has no table, no forwarding and no cost. The rules are
//! replaced as a whole at each change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv6Addr;
use types::ContainerId;
use types::port::Protocol;

/// All that the kernel should hold for IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SixPlan {
    /// As in [`crate::Table::instance`].
    pub instance: String,
    /// By the interface's name.
    pub bridges: BTreeMap<String, SixBridge>,
    pub endpoints: Vec<SixEndpoint>,
    pub ports: Vec<SixPort>,
}

/// A bridge's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SixBridge {
    /// The bridge's own address.
    pub gateway: Ipv6Addr,
    pub prefix_len: u8,
    pub internal: bool,
    pub icc: bool,
    pub masquerade: bool,
}

/// An interface inside a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SixEndpoint {
    pub sandbox: ContainerId,
    pub interface: String,
    pub address: Ipv6Addr,
    pub prefix_len: u8,
    /// Where the default route leads, of the endpoint that has it.
    pub gateway: Option<Ipv6Addr>,
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SixPort {
    pub protocol: Protocol,
    /// `::` is every address of the host but `::1`, which the kernel does not route.
    pub host_ip: Ipv6Addr,
    pub host_port: u16,
    pub container: Ipv6Addr,
    pub container_port: u16,
}

impl SixPlan {
    pub fn is_empty(&self) -> bool {
        self.bridges.is_empty()
    }

    /// The table's name, family `ip6`.
    pub fn table(&self) -> String {
        format!("sampan_{}", self.instance)
    }

    /// For `nft -f`: the table as it should be, in the place of the old one; or its removal.
    pub fn ruleset(&self) -> String {
        let table = self.table();
        let mut text = format!("table ip6 {table} {{}}\ndelete table ip6 {table}\n");
        if self.is_empty() {
            return text;
        }
        let translations: Vec<String> = self.ports.iter().map(SixPort::translation).collect();
        let chain = |text: &mut String, head: &str, rules: &[String]| {
            let _ = writeln!(text, "\tchain {head}");
            for rule in rules {
                let _ = writeln!(text, "\t\t{rule}");
            }
            text.push_str("\t}\n");
        };
        let _ = writeln!(text, "table ip6 {table} {{");
        let nat = "type nat hook prerouting priority dstnat; policy accept;";
        chain(&mut text, &format!("prerouting {{\n\t\t{nat}"), &translations);
        let nat = "type nat hook output priority -100; policy accept;";
        chain(&mut text, &format!("output {{\n\t\t{nat}"), &translations);
        let nat = "type nat hook postrouting priority srcnat; policy accept;";
        chain(&mut text, &format!("postrouting {{\n\t\t{nat}"), &self.sources());
        let filter = "type filter hook forward priority filter; policy accept;";
        chain(&mut text, &format!("forward {{\n\t\t{filter}"), &self.forwards());
        text.push_str("}\n");
        text
    }

    /// What leaves takes the host's address; so does what a container sends to a port of its own network.
    fn sources(&self) -> Vec<String> {
        let mut rules = Vec::new();
        for (name, bridge) in &self.bridges {
            let subnet = format!("{}/{}", bridge.gateway, bridge.prefix_len);
            rules.push(format!("ip6 saddr {subnet} ip6 daddr {subnet} ct status dnat masquerade"));
            if bridge.masquerade && !bridge.internal {
                rules.push(format!("ip6 saddr {subnet} oifname != \"{name}\" masquerade"));
            }
        }
        rules
    }

    /// Into a bridge comes what belongs to a connection, what was translated, and its own; out of an internal one nothing.
    fn forwards(&self) -> Vec<String> {
        let mut rules = vec![
            "ct state established,related accept".to_owned(),
            "ct status dnat accept".to_owned(),
        ];
        for (name, bridge) in &self.bridges {
            let verdict = if bridge.icc { "accept" } else { "drop" };
            rules.push(format!("iifname \"{name}\" oifname \"{name}\" {verdict}"));
            rules.push(format!("oifname \"{name}\" drop"));
            if bridge.internal {
                rules.push(format!("iifname \"{name}\" drop"));
            }
        }
        rules
    }
}

impl SixPort {
    fn translation(&self) -> String {
        let to = match self.host_ip.is_unspecified() {
            true => "ip6 daddr != ::1 fib daddr type local".to_owned(),
            false => format!("ip6 daddr {}", self.host_ip),
        };
        format!(
            "{to} {} dport {} dnat to [{}]:{}",
            self.protocol.as_str(),
            self.host_port,
            self.container,
            self.container_port
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_ipv6_removes_its_table_and_nothing_else() {
        let plan = SixPlan { instance: "0a".to_owned(), ..SixPlan::default() };
        assert_eq!(plan.ruleset(), "table ip6 sampan_0a {}\ndelete table ip6 sampan_0a\n");
    }

    #[test]
    fn a_network_lets_in_its_own_and_what_is_published() {
        let bridge = SixBridge {
            gateway: "fd00::1".parse().unwrap(),
            prefix_len: 64,
            internal: false,
            icc: false,
            masquerade: true,
        };
        let port = SixPort {
            protocol: Protocol::Tcp,
            host_ip: Ipv6Addr::UNSPECIFIED,
            host_port: 8080,
            container: "fd00::2".parse().unwrap(),
            container_port: 80,
        };
        let plan = SixPlan {
            instance: "0a".to_owned(),
            bridges: [("br-a".to_owned(), bridge)].into(),
            endpoints: Vec::new(),
            ports: vec![port],
        };
        let text = plan.ruleset();
        for rule in [
            "ip6 daddr != ::1 fib daddr type local tcp dport 8080 dnat to [fd00::2]:80",
            "iifname \"br-a\" oifname \"br-a\" drop",
            "ip6 saddr fd00::1/64 oifname != \"br-a\" masquerade",
        ] {
            assert!(text.contains(rule), "{rule:?} is missing in\n{text}");
        }
        let internal = SixPlan {
            bridges: [("br-a".to_owned(), SixBridge { internal: true, ..bridge })].into(),
            ..plan
        };
        assert!(!internal.ruleset().contains("oifname != \"br-a\" masquerade"));
    }
}
