//! `sampan service …`.

pub(crate) mod flags;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod pin;
mod pretty;
pub(crate) mod progress;
mod spec;

use anyhow::{Result, anyhow, bail};
use clap::{Args, Subcommand};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use crate::client::{Client, Query, segment};
use crate::ctx::Ctx;
use crate::inspect;
use crate::report::{self, Exit};
use crate::task;
use flags::{CreateArgs, UpdateArgs};
use progress::Asked;

/// What `sampan service` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a new service
    Create(Box<CreateArgs>),
    /// Display detailed information on one or more services
    Inspect(inspect::PrettyArgs),
    /// Fetch the logs of a service
    Logs(logs::LogsArgs),
    /// List services
    #[command(visible_alias = "list")]
    Ls(list::LsArgs),
    /// List the tasks of one or more services
    Ps(task::PsArgs),
    /// Remove one or more services
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Revert changes to a service's configuration
    Rollback(RollbackArgs),
    /// Scale one or multiple replicated services
    Scale(ScaleArgs),
    /// Update a service
    Update(Box<UpdateArgs>),
}

/// `service rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    #[arg(value_name = "SERVICE", required = true)]
    services: Vec<String>,
}

/// Whether to wait until the tasks are as they should be.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Waiting {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Suppress progress output
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
}

/// `service rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    waiting: Waiting,
    #[arg(value_name = "SERVICE")]
    service: String,
}

/// `service scale`.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Exit immediately instead of waiting for the service to converge
    #[arg(short = 'd', long)]
    detach: bool,
    #[arg(value_name = "SERVICE=REPLICAS", required = true)]
    services: Vec<String>,
}

/// Runs a word of the `service` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Create(args) => create(ctx, &args).await,
        Command::Inspect(args) => {
            inspect::run_pretty(ctx, args, inspect::Kind::Service, pretty::render).await
        }
        Command::Logs(args) => logs::run(ctx, args, "services").await,
        Command::Ls(args) => list::run(ctx, args).await,
        Command::Ps(args) => {
            if args.names.is_empty() {
                bail!("\"service ps\" requires at least 1 argument");
            }
            task::of_services(ctx, args).await
        }
        Command::Rm(args) => remove(ctx, &args).await,
        Command::Rollback(args) => rollback(ctx, &args).await,
        Command::Scale(args) => scale(ctx, &args).await,
        Command::Update(args) => update(ctx, &args).await,
    }
}

async fn get(client: &Client, service: &str) -> Result<Value> {
    Ok(client.get(&format!("/services/{}", segment(service)), &Query::new()).await?)
}

/// Writes the service's spec back; the version read must still be there.
pub(crate) async fn put(
    client: &Client,
    service: &Value,
    query: Query,
    auth: HeaderMap,
) -> Result<()> {
    let path = format!("/services/{}/update", text(&service["ID"]));
    let query = query.with("version", service["Version"]["Index"].to_string());
    let answer = client.json_with(Method::POST, &path, &query, auth, &service["Spec"]).await?;
    warn(&answer);
    Ok(())
}

fn warn(answer: &Value) {
    for warning in answer["Warnings"].as_array().into_iter().flatten() {
        eprintln!("{}", text(warning));
    }
}

/// `X-Registry-Auth` for an image, when it was asked for and there are credentials.
pub(crate) fn registry_auth(ctx: &Ctx, wanted: bool, spec: &Value) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    if wanted {
        let image = text(&spec["TaskTemplate"]["ContainerSpec"]["Image"]);
        let auth = ctx.config()?.for_image(image).header();
        headers.insert("X-Registry-Auth", HeaderValue::from_str(&auth)?);
    }
    Ok(headers)
}

async fn create(ctx: &Ctx, args: &CreateArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut spec = spec::create(client, args).await?;
    if !args.common.no_resolve_image {
        pin::pin(ctx, client, &mut spec).await;
    }
    let auth = registry_auth(ctx, args.common.with_registry_auth, &spec)?;
    let path = "/services/create";
    let created = client.json_with(Method::POST, path, &Query::new(), auth, &spec).await?;
    warn(&created);
    let id = text(&created["ID"]);
    report::say(id)?;
    wait(client, id, Asked::Change, args.common.waiting).await
}

async fn update(ctx: &Ctx, args: &UpdateArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut service = get(client, &args.service).await?;
    let mut query = Query::new();
    if args.rollback {
        query = query.with("rollback", "previous");
    } else {
        spec::update(client, &mut service["Spec"], args).await?;
        if args.image.is_some() && !args.common.no_resolve_image {
            pin::pin(ctx, client, &mut service["Spec"]).await;
        }
    }
    let auth = registry_auth(ctx, args.common.with_registry_auth, &service["Spec"])?;
    put(client, &service, query.with("registryAuthFrom", "spec"), auth).await?;
    report::say(&args.service)?;
    let asked = if args.rollback { Asked::Rollback } else { Asked::Change };
    wait(client, &args.service, asked, args.common.waiting).await
}

/// What `update` with these words would do, as the daemon says it.
pub(crate) async fn plan(ctx: &Ctx, args: &UpdateArgs) -> Result<Value> {
    let client = ctx.client().await?;
    let mut service = get(client, &args.service).await?;
    let mut query = Query::new().with("version", service["Version"]["Index"].to_string());
    if args.rollback {
        query = query.with("rollback", "previous");
    } else {
        spec::update(client, &mut service["Spec"], args).await?;
    }
    let path = format!("/sampan/services/{}/plan", text(&service["ID"]));
    Ok(client.json(Method::POST, &path, &query, Some(&service["Spec"])).await?)
}

async fn rollback(ctx: &Ctx, args: &RollbackArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let service = get(client, &args.service).await?;
    let query = Query::new().with("rollback", "previous");
    put(client, &service, query, HeaderMap::new()).await?;
    report::say(&args.service)?;
    wait(client, &args.service, Asked::Rollback, args.waiting).await
}

async fn wait(client: &Client, service: &str, asked: Asked, waiting: Waiting) -> Result<Exit> {
    if waiting.detach {
        return Ok(report::OK);
    }
    progress::run(client, service, asked, waiting.quiet).await?;
    Ok(report::OK)
}

async fn scale(ctx: &Ctx, args: &ScaleArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut wanted = Vec::new();
    for word in &args.services {
        let (name, number) = word.split_once('=').ok_or_else(|| {
            anyhow!("invalid scale specifier '{word}': use the form '<service>=<replicas>'")
        })?;
        let number: u64 = number.parse().map_err(|_| {
            anyhow!("{name}: invalid replicas value {number}: strconv.ParseUint: parsing {number:?}: invalid syntax")
        })?;
        wanted.push((name, number));
    }
    let (mut scaled, mut errors) = (Vec::new(), Vec::new());
    for (name, number) in wanted {
        match scale_one(client, name, number).await {
            Ok(()) => {
                report::say(&format!("{name} scaled to {number}"))?;
                scaled.push(name);
            }
            Err(err) => errors.push(format!("{name}: {}", report::text(&err))),
        }
    }
    for name in scaled.iter().filter(|_| !args.detach) {
        progress::run(client, name, Asked::Change, false).await?;
    }
    for error in &errors {
        eprintln!("{error}");
    }
    Ok(if errors.is_empty() { report::OK } else { report::FAILED })
}

async fn scale_one(client: &Client, name: &str, replicas: u64) -> Result<()> {
    let mut service = get(client, name).await?;
    let mode = &mut service["Spec"]["Mode"];
    if mode["Replicated"].is_object() {
        mode["Replicated"]["Replicas"] = replicas.into();
    } else if mode["ReplicatedJob"].is_object() {
        mode["ReplicatedJob"]["TotalCompletions"] = replicas.into();
    } else {
        bail!("scale can only be used with replicated or replicated-job mode");
    }
    put(client, &service, Query::new(), HeaderMap::new()).await
}

async fn remove(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.services, async |name| {
        let path = format!("/services/{}", segment(&name));
        client.json(Method::DELETE, &path, &Query::new(), None).await?;
        Ok(Some(name))
    })
    .await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
