//! `ports`: `80`, `8080:80`, `127.0.0.1::80`, `8000-8002:80-82/udp`, `[::1]:80:80`, and the long form.

use super::default_of_blank;
use crate::canon::Canon;
use crate::node::{Node, Value};

/// One entry as written to long entries; a range of container ports gives one for each.
pub(crate) fn port(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    if node.as_map().is_some() {
        let mut node = node;
        default_of_blank(&mut node, "mode", Node::text("ingress", span));
        default_of_blank(&mut node, "protocol", Node::text("tcp", span));
        return vec![node];
    }
    let Some(text) = node.as_str() else {
        canon.mismatch(&node, "a port");
        return Vec::new();
    };
    if canon.ports_left == 0 {
        // told already; what a range comes to is not even counted
        return Vec::new();
    }
    match parse(text) {
        Ok(ports) if ports.len() > canon.ports_left => {
            canon.error("the file's ranges come to too many ports", span, "of all ranges so far");
            canon.ports_left = 0;
            Vec::new()
        }
        Ok(ports) => {
            canon.ports_left -= ports.len();
            ports.into_iter().map(|port| port.node(&node)).collect()
        }
        Err(reason) => {
            canon.error(
                format!("`{text}` is not a port: {reason}"),
                span,
                "expected [[ip:]host:]container[/protocol]",
            );
            Vec::new()
        }
    }
}

struct Long {
    host_ip: String,
    published: String,
    target: u16,
    protocol: String,
}

impl Long {
    fn node(self, written: &Node) -> Node {
        let text = |text: String| Node::text(text, written.span);
        let mut entries = Vec::new();
        if !self.host_ip.is_empty() {
            entries.push(("host_ip", text(self.host_ip)));
        }
        entries.push(("mode", text("ingress".to_owned())));
        entries.push(("protocol", text(self.protocol)));
        if !self.published.is_empty() {
            entries.push(("published", text(self.published)));
        }
        entries.push(("target", Node::new(Value::Int(i64::from(self.target)), written.span)));
        Node::map(entries, written.span)
    }
}

fn parse(text: &str) -> Result<Vec<Long>, &'static str> {
    let (spec, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err("the protocol is none of tcp, udp and sctp");
    }
    let (rest, target) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (host_ip, published) = match rest.rsplit_once(':') {
        Some((ip, published)) => (ip.trim_start_matches('[').trim_end_matches(']'), published),
        None => ("", rest),
    };
    if !host_ip.is_empty() && host_ip.parse::<std::net::IpAddr>().is_err() {
        return Err("the host address is not an IP address");
    }
    let targets = range(target)?;
    if targets.0 == 0 {
        return Err("a container's port is a number from 1 to 65535");
    }
    let published = if published.is_empty() { None } else { Some((published, range(published)?)) };
    let count = targets.1 - targets.0;
    if let Some((_, hosts)) = &published
        && count > 0
        && hosts.1 - hosts.0 != count
    {
        return Err("the two ranges differ in length");
    }
    let long = |offset: u16| Long {
        host_ip: host_ip.to_owned(),
        published: match &published {
            None => String::new(),
            Some((_, hosts)) if count > 0 || hosts.0 == hosts.1 => (hosts.0 + offset).to_string(),
            Some((text, _)) => (*text).to_owned(),
        },
        target: targets.0 + offset,
        protocol: protocol.clone(),
    };
    Ok((0..=count).map(long).collect())
}

/// `80` or `80-90`, both ends included.
fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let port = |text: &str| text.parse::<u16>().map_err(|_| "a port is a number from 0 to 65535");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last { Err("the range ends before it begins") } else { Ok((first, last)) }
}
