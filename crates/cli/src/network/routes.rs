//! `sampan network routes`: what a router or a machine outside has to know to reach the containers of a network without
//! encapsulation (`--opt mode=direct`), in the words of what it runs.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use types::network::{Network, NetworkRoute};

use crate::client::{Query, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit};

/// `network routes`.
#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// Words of: a Linux machine, a BIRD 2 or an FRR daemon that announces them by BGP
    #[arg(long, value_name = "string", default_value = "ip")]
    format: Format,
    #[arg(value_name = "NETWORK")]
    network: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Ip,
    Bird,
    Frr,
}

pub(crate) async fn run(ctx: &Ctx, args: RoutesArgs) -> Result<Exit> {
    let path = format!("/networks/{}", segment(&args.network));
    let found = ctx.client().await?.get(&path, &Query::new()).await?;
    let network: Network = serde_json::from_value(found)?;
    let is_direct = network.options.get("mode").is_some_and(|mode| mode == "direct");
    if !is_direct || network.internal {
        bail!(
            "network {} is not reached from outside: it was not made with --opt mode=direct",
            network.name
        );
    }
    report::print(&text(args.format, &network.name, &network.routes))?;
    Ok(report::OK)
}

fn text(format: Format, name: &str, routes: &[NetworkRoute]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        let _ = writeln!(text, "{line}");
    };
    match format {
        Format::Ip => {
            for NetworkRoute { block, via, .. } in routes {
                line(format!("ip route replace {block} via {via}"));
            }
        }
        Format::Bird => {
            let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let name = name.replace(|letter| !is_word(letter), "_");
            line(format!("protocol static sampan_{name} {{"));
            line("\tipv4;".to_owned());
            for NetworkRoute { block, via, node } in routes {
                line(format!("\troute {block} via {via}; # {node}"));
            }
            line("}".to_owned());
        }
        Format::Frr => {
            for NetworkRoute { block, via, node } in routes {
                line(format!("! {node}"));
                line(format!("ip route {block} {via}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_daemon_is_told_in_its_own_words() {
        let route = |block: &str, via: &str, node: &str| NetworkRoute {
            block: block.to_owned(),
            via: via.to_owned(),
            node: node.to_owned(),
        };
        let routes =
            [route("10.0.7.64/26", "192.0.2.1", "one"), route("10.0.7.128/26", "192.0.2.2", "two")];
        assert_eq!(
            text(Format::Ip, "net", &routes),
            "ip route replace 10.0.7.64/26 via 192.0.2.1\nip route replace 10.0.7.128/26 via 192.0.2.2\n"
        );
        assert_eq!(
            text(Format::Bird, "my-net", &routes[..1]),
            "protocol static sampan_my_net {\n\tipv4;\n\troute 10.0.7.64/26 via 192.0.2.1; # one\n}\n"
        );
        assert_eq!(
            text(Format::Frr, "net", &routes[..1]),
            "! one\nip route 10.0.7.64/26 192.0.2.1\n"
        );
    }
}
