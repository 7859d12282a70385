//! `sampan network policy …`: who may talk to whom on a network of the cluster.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use types::swarm::policy::PolicyRule;

use crate::client::{Client, Query, segment};
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::report::{self, Exit};

/// What `sampan network policy` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let a service be reached by these and, unless other policies let them in, by nobody else of the network
    Add(AddArgs),
    /// List the policies of a network
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove policies by their numbers
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// `network policy add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Service that is reached: its name, or label=KEY[=VALUE]
    #[arg(long, value_name = "SERVICE")]
    to: String,
    /// Service that may reach it: its name, or label=KEY[=VALUE] (default: everybody on the network)
    #[arg(long, value_name = "SERVICE")]
    from: Vec<String>,
    /// Port by which: PORT[/tcp|/udp] (default: all)
    #[arg(long, value_name = "PORT")]
    port: Vec<String>,
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// `network policy ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    #[arg(value_name = "NETWORK")]
    network: String,
}

/// `network policy rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Remove all of them
    #[arg(long, conflicts_with = "numbers")]
    all: bool,
    #[arg(value_name = "NETWORK")]
    network: String,
    #[arg(value_name = "NUMBER", required_unless_present = "all")]
    numbers: Vec<usize>,
}

/// Runs a word of `network policy`.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    let client = ctx.client().await?;
    match command {
        Command::Add(args) => {
            let mut rules = read(client, &args.network).await?;
            rules.push(PolicyRule { to: args.to, from: args.from, ports: args.port });
            write(client, &args.network, &rules).await?;
        }
        Command::Ls(args) => list(&read(client, &args.network).await?, &args.format)?,
        Command::Rm(args) => {
            let mut rules = read(client, &args.network).await?;
            if let Some(number) =
                args.numbers.iter().find(|number| !(1..=rules.len()).contains(*number))
            {
                bail!("network {} has no policy {number}", args.network);
            }
            let mut number = 0;
            rules.retain(|_| {
                number += 1;
                !args.all && !args.numbers.contains(&number)
            });
            write(client, &args.network, &rules).await?;
        }
    }
    Ok(report::OK)
}

async fn read(client: &Client, network: &str) -> Result<Vec<PolicyRule>> {
    let path = format!("/networks/{}", segment(network));
    let mut found = client.get(&path, &Query::new()).await?;
    match found["Policies"].take() {
        Value::Null => Ok(Vec::new()),
        rules => Ok(serde_json::from_value(rules)?),
    }
}

async fn write(client: &Client, network: &str, rules: &[PolicyRule]) -> Result<()> {
    let path = format!("/networks/{}/policies", segment(network));
    let body = json!({ "Policies": rules });
    client.json(Method::PUT, &path, &Query::new(), Some(&body)).await?;
    Ok(())
}

fn list(rules: &[PolicyRule], format: &str) -> Result<()> {
    let all = |list: &[String], none: &str| match list.is_empty() {
        true => none.to_owned(),
        false => list.join(","),
    };
    let row = |(place, rule): (usize, &PolicyRule)| {
        json!({
            "Number": (place + 1).to_string(),
            "To": rule.to,
            "From": all(&rule.from, "*"),
            "Ports": all(&rule.ports, "*"),
        })
    };
    let rows: Vec<Value> = rules.iter().enumerate().map(row).collect();
    let listing = Listing {
        format,
        quiet: None,
        table: &[("Number", "NUMBER"), ("To", "TO"), ("From", "FROM"), ("Ports", "PORTS")],
        more: &[],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(())
}
