//! `sampan network policy …`: who may talk to whom on a network of the cluster.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use types::swarm::policy::PolicyRule;

use crate::client::{Client, Query, segment};
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::report::{self, Exit};

/// Between two looks of who follows the log.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What `sampan network policy` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Let a service be reached by these and, unless other policies let them in, by nobody else of the network
    Add(AddArgs),
    /// Show what the policies of a network refused on this node in the last ten minutes
    Log(LogArgs),
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

/// `network policy log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Go on showing what is refused
    #[arg(short = 'f', long)]
    follow: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
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
            rules.push(PolicyRule {
                to: args.to,
                from: args.from,
                ports: args.port,
                ..PolicyRule::default()
            });
            write(client, &args.network, &rules).await?;
        }
        Command::Log(args) => log(client, &args).await?,
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

pub(crate) async fn read(client: &Client, network: &str) -> Result<Vec<PolicyRule>> {
    let path = format!("/networks/{}", segment(network));
    let mut found = client.get(&path, &Query::new()).await?;
    match found["Policies"].take() {
        Value::Null => Ok(Vec::new()),
        rules => Ok(serde_json::from_value(rules)?),
    }
}

pub(crate) async fn write(client: &Client, network: &str, rules: &[PolicyRule]) -> Result<()> {
    let path = format!("/networks/{}/policies", segment(network));
    let body = json!({ "Policies": rules });
    client.json(Method::PUT, &path, &Query::new(), Some(&body)).await?;
    Ok(())
}

async fn log(client: &Client, args: &LogArgs) -> Result<()> {
    let path = format!("/networks/{}/policies/log", segment(&args.network));
    // By what tells them apart: how many packets were told already.
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    let mut format = args.format.as_str();
    loop {
        let found = client.get(&path, &Query::new()).await?;
        let mut rows = Vec::new();
        for drop in found.as_array().into_iter().flatten() {
            let text = |key: &str| drop[key].as_str().unwrap_or_default();
            let port = format!("{}/{}", drop["Port"], text("Protocol"));
            let key = format!("{} {} {port}", text("FromAddress"), text("ToAddress"));
            let packets = drop["Packets"].as_u64().unwrap_or_default();
            // What expired meanwhile began to count anew.
            let before = told.insert(key, packets).filter(|before| *before <= packets);
            if packets > before.unwrap_or(0) {
                rows.push(json!({
                    "Time": text("At"),
                    "From": text("From"),
                    "FromAddress": text("FromAddress"),
                    "To": text("To"),
                    "ToAddress": text("ToAddress"),
                    "Port": port,
                    "Packets": (packets - before.unwrap_or(0)).to_string(),
                }));
            }
        }
        if !args.follow || !rows.is_empty() {
            report::print(&refused(format).render(&rows)?)?;
            // The head of the table once.
            if args.follow && format.is_empty() {
                format = "{{.Time}}\t{{.From}}\t{{.To}}\t{{.Port}}\t{{.Packets}}";
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn refused(format: &str) -> Listing<'_> {
    Listing {
        format,
        quiet: None,
        table: &[
            ("Time", "TIME"),
            ("From", "FROM"),
            ("To", "TO"),
            ("Port", "PORT"),
            ("Packets", "PACKETS"),
        ],
        more: &[("FromAddress", "FROM ADDRESS"), ("ToAddress", "TO ADDRESS")],
        hidden: &[],
    }
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
            "Owner": rule.owner,
        })
    };
    let rows: Vec<Value> = rules.iter().enumerate().map(row).collect();
    let listing = Listing {
        format,
        quiet: None,
        table: &[("Number", "NUMBER"), ("To", "TO"), ("From", "FROM"), ("Ports", "PORTS")],
        more: &[("Owner", "OWNER")],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(())
}
