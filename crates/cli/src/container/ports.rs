//! `port`, and how listings show published ports.

use std::collections::HashMap;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::client::{Query, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit};

/// `sampan port`.
#[derive(Debug, Args)]
pub(crate) struct PortArgs {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    private_port: Option<String>,
}

/// Prints `80/tcp -> 0.0.0.0:8080` lines, or the addresses of one port.
pub(crate) async fn run(ctx: &Ctx, args: PortArgs) -> Result<Exit> {
    let path = format!("/containers/{}/json", segment(&args.container));
    let seen = ctx.client().await?.get(&path, &Query::new()).await?;
    let ports = seen["NetworkSettings"]["Ports"].as_object().cloned().unwrap_or_default();
    let address = |binding: &Value| {
        join_host_port(
            binding["HostIp"].as_str().unwrap_or_default(),
            binding["HostPort"].as_str().unwrap_or_default(),
        )
    };
    if let Some(wanted) = args.private_port {
        let key = if wanted.contains('/') { wanted.clone() } else { format!("{wanted}/tcp") };
        let Some(bindings) = ports.get(&key).and_then(Value::as_array) else {
            bail!("Error: No public port '{wanted}' published for {}", args.container);
        };
        for binding in bindings {
            report::say(&address(binding))?;
        }
        return Ok(report::OK);
    }
    let mut sorted: Vec<_> = ports.iter().collect();
    sorted.sort_by_key(|(key, _)| {
        let (port, protocol) = key.split_once('/').unwrap_or((key, ""));
        (port.parse::<u32>().unwrap_or(0), protocol.to_owned())
    });
    for (key, bindings) in sorted {
        for binding in bindings.as_array().into_iter().flatten() {
            report::say(&format!("{key} -> {}", address(binding)))?;
        }
    }
    Ok(report::OK)
}

/// The PORTS column: neighbouring ports are grouped, as docker groups them.
pub(crate) fn displayable(ports: &Value) -> String {
    let mut ports: Vec<Port<'_>> = ports.as_array().into_iter().flatten().map(Port::read).collect();
    ports.sort();
    let mut groups: HashMap<(String, &str), (u64, u64)> = HashMap::new();
    let mut order = Vec::new();
    let (mut out, mut mappings) = (Vec::new(), Vec::new());
    for port in ports {
        let mut key = (String::new(), port.protocol);
        if !port.ip.is_empty() {
            if port.public != port.private {
                let host = join_host_port(port.ip, &port.public.to_string());
                mappings.push(format!("{host}->{}/{}", port.private, port.protocol));
                continue;
            }
            key.0 = port.ip.to_owned();
        }
        match groups.get_mut(&key) {
            None => {
                groups.insert(key.clone(), (port.private, port.private));
                order.push(key);
            }
            Some(group) if port.private == group.1 + 1 => group.1 = port.private,
            Some(group) => {
                out.push(shown(&key, *group));
                *group = (port.private, port.private);
            }
        }
    }
    out.extend(order.iter().filter_map(|key| groups.get(key).map(|group| shown(key, *group))));
    out.extend(mappings);
    out.join(", ")
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Port<'a> {
    private: u64,
    ip: &'a str,
    public: u64,
    protocol: &'a str,
}

impl<'a> Port<'a> {
    fn read(port: &'a Value) -> Self {
        Port {
            private: port["PrivatePort"].as_u64().unwrap_or(0),
            ip: port["IP"].as_str().unwrap_or_default(),
            public: port["PublicPort"].as_u64().unwrap_or(0),
            protocol: port["Type"].as_str().unwrap_or("tcp"),
        }
    }
}

fn shown((ip, protocol): &(String, &str), (first, last): (u64, u64)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let target =
        if ip.is_empty() { range } else { format!("{}->{range}", join_host_port(ip, &range)) };
    format!("{target}/{protocol}")
}

fn join_host_port(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let ports = json!([
            {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
            {"PrivatePort": 91, "Type": "tcp"},
            {"PrivatePort": 90, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 5000, "PublicPort": 5000, "Type": "tcp"},
            {"IP": "0.0.0.0", "PrivatePort": 5001, "PublicPort": 5001, "Type": "tcp"},
        ]);
        assert_eq!(
            displayable(&ports),
            "90-91/tcp, 0.0.0.0:5000-5001->5000-5001/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        assert_eq!(displayable(&Value::Null), "");
    }
}
