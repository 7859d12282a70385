//! `sampan stack …`: Compose files deployed on the cluster, in docker's words and with its labels.
//!
//! ```text
//! files ─compose::load─▶ compose::stack ┐
//! cluster ─observe─▶ Observed           ┴▶ plan ─deploy─▶ API calls ─wait─▶ judge: converged, or why not
//! ```
//! What has to be decided is decided by the pure crate; this module asks, does and shows.

mod deploy;
mod deployments;
mod file;
mod observe;
mod remove;
mod wait;

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use compose::stack::{DEPLOYMENT, NAMESPACE};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::client::{Client, Query};
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::opts;
use crate::report::{self, Exit};
use crate::service::{self, logs};
use crate::task;

/// What `sampan stack` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Outputs the final config file, after doing merges and interpolations
    Config(file::ConfigArgs),
    /// Deploy a new stack or update an existing stack
    #[command(visible_alias = "up")]
    Deploy(deploy::DeployArgs),
    /// List what came of a stack's deployments
    Deployments(deployments::DeploymentsArgs),
    /// Show what a deployment would change
    Diff(deploy::DiffArgs),
    /// Fetch the logs of a stack's services
    Logs(LogsArgs),
    /// List stacks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// List the tasks in the stack
    Ps(PsArgs),
    /// Remove one or more stacks
    #[command(visible_aliases = ["remove", "down"])]
    Rm(remove::RmArgs),
    /// Take back the last deployment of a stack
    Rollback(deploy::RollbackArgs),
    /// List the services in the stack
    Services(ServicesArgs),
    /// Wait until the last deployment of a stack has ended
    Wait(wait::WaitArgs),
}

/// `stack ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// `stack ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    look: task::Look,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// `stack services`.
#[derive(Debug, Args)]
pub(crate) struct ServicesArgs {
    #[command(flatten)]
    list: service::list::LsArgs,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// `stack logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    look: logs::Look,
    #[arg(value_name = "STACK")]
    stack: String,
    /// All of them when none is named
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
}

/// Runs a word of the `stack` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Config(args) => file::config(&args),
        Command::Deploy(args) => deploy::deploy(ctx, &args).await,
        Command::Deployments(args) => deployments::run(ctx, &args).await,
        Command::Diff(args) => deploy::diff(ctx, &args).await,
        Command::Logs(args) => show_logs(ctx, args).await,
        Command::Ls(args) => list(ctx, &args).await,
        Command::Ps(args) => tasks(ctx, args).await,
        Command::Rm(args) => remove::run(ctx, &args).await,
        Command::Rollback(args) => deploy::rollback(ctx, &args).await,
        Command::Services(args) => services(ctx, args).await,
        Command::Wait(args) => wait::run(ctx, &args).await,
    }
}

/// `label=com.docker.stack.namespace=NAME`
fn labelled(stack: &str) -> Query {
    let filters = json!({"label": {format!("{NAMESPACE}={stack}"): true}});
    Query::new().with("filters", filters.to_string())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn list(ctx: &Ctx, args: &LsArgs) -> Result<Exit> {
    let filters = json!({"label": {NAMESPACE: true}}).to_string();
    let query = Query::new().with("filters", filters);
    let found = ctx.client().await?.get("/services", &query).await?;
    let mut stacks: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for service in found.as_array().into_iter().flatten() {
        let labels = &service["Spec"]["Labels"];
        let stack = stacks.entry(text(&labels[NAMESPACE])).or_default();
        stack.0 += 1;
        stack.1 = stack.1.max(text(&labels[DEPLOYMENT]).parse().unwrap_or(0));
    }
    let rows: Vec<Value> = stacks
        .into_iter()
        .map(|(name, (services, deployment))| {
            let services = services.to_string();
            json!({"Name": name, "Services": services, "Deployment": deployment.to_string()})
        })
        .collect();
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[("Name", "NAME"), ("Services", "SERVICES")],
        more: &[("Deployment", "DEPLOYMENT")],
        hidden: &["Deployment"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

async fn tasks(ctx: &Ctx, args: PsArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    if service_names(client, &args.stack).await?.is_empty() {
        bail!("nothing found in stack: {}", args.stack);
    }
    let mut filters = opts::filters(&args.look.filter).map_err(|err| anyhow!(err))?;
    filters["label"][format!("{NAMESPACE}={}", args.stack)] = true.into();
    task::show(client, &args.look, &filters).await
}

async fn services(ctx: &Ctx, mut args: ServicesArgs) -> Result<Exit> {
    if service_names(ctx.client().await?, &args.stack).await?.is_empty() {
        eprintln!("Nothing found in stack: {}", args.stack);
        return Ok(report::OK);
    }
    args.list.filter.push(format!("label={NAMESPACE}={}", args.stack));
    service::list::run(ctx, args.list).await
}

async fn service_names(client: &Client, stack: &str) -> Result<Vec<String>> {
    let found = client.get("/services", &labelled(stack)).await?;
    let found = found.as_array().into_iter().flatten();
    let mut names: Vec<String> =
        found.map(|service| text(&service["Spec"]["Name"]).to_owned()).collect();
    names.sort();
    Ok(names)
}

/// The services' logs side by side; each line says whose it is.
async fn show_logs(ctx: &Ctx, args: LogsArgs) -> Result<Exit> {
    let all = service_names(ctx.client().await?, &args.stack).await?;
    if all.is_empty() {
        bail!("nothing found in stack: {}", args.stack);
    }
    let mut chosen = Vec::new();
    for name in &args.services {
        let full = format!("{}_{name}", args.stack);
        let known = all.iter().find(|known| **known == full || *known == name);
        chosen.push(known.ok_or_else(|| anyhow!("no such service in the stack: {name}"))?.clone());
    }
    let names = if chosen.is_empty() { all } else { chosen };
    let each = names.iter().map(|name| logs::follow(ctx, &args.look, name, "services"));
    try_join_all(each).await?;
    Ok(report::OK)
}
