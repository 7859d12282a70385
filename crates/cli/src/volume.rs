//! `sampan volume …`.

use anyhow::{Result, anyhow, bail};
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::RemoveVolumeOptions;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{ClientError, Query};
use crate::container::PruneArgs;
use crate::container::prune_support as support;
use crate::ctx::Ctx;
use crate::format::{Listing, labels};
use crate::inspect;
use crate::opts;
use crate::report::{self, Exit};
use crate::terminal;

/// What `sampan volume` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a volume
    Create(CreateArgs),
    /// Display detailed information on one or more volumes
    Inspect(inspect::InspectArgs),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Remove unused local volumes
    Prune(VolumePruneArgs),
    /// Remove one or more volumes
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
}

/// `volume create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Specify volume driver name
    #[arg(short = 'd', long, value_name = "string", default_value = "local")]
    driver: String,
    /// Set metadata for a volume
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Specify volume name
    #[arg(long = "name", value_name = "string", hide = true)]
    name_flag: Option<String>,
    /// Set driver specific options
    #[arg(short = 'o', long, value_name = "map")]
    opt: Vec<String>,
    #[arg(value_name = "VOLUME")]
    name: Option<String>,
}

/// `volume ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Provide filter values (e.g. "dangling=true")
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Only display volume names
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// `volume prune`.
#[derive(Debug, Args)]
pub(crate) struct VolumePruneArgs {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short = 'a', long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// `volume rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force the removal of one or more volumes
    #[arg(short = 'f', long)]
    force: bool,
    #[arg(value_name = "VOLUME", required = true)]
    volumes: Vec<String>,
}

/// Runs a word of the `volume` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Create(args) => create(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args, inspect::Kind::Volume).await,
        Command::Ls(args) => list(ctx, args).await,
        Command::Prune(args) => prune(ctx, args).await,
        Command::Rm(args) => remove(ctx, args).await,
    }
}

async fn create(ctx: &Ctx, args: CreateArgs) -> Result<Exit> {
    if args.name.is_some() && args.name_flag.is_some() {
        bail!(
            "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
        );
    }
    let request = VolumeCreateRequest {
        name: Some(args.name.or(args.name_flag).unwrap_or_default()),
        driver: Some(args.driver),
        driver_opts: Some(opts::pairs(&args.opt)),
        labels: Some(opts::pairs(&args.label)),
        cluster_volume_spec: None,
    };
    let client = ctx.client().await?;
    let created = client.docker.create_volume(request).await.map_err(ClientError::from)?;
    report::say(&created.name)?;
    Ok(report::OK)
}

async fn list(ctx: &Ctx, args: LsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let query = Query::new().with("filters", filters.to_string());
    let found = ctx.client().await?.get("/volumes", &query).await?;
    let mut volumes: Vec<&Value> = found["Volumes"].as_array().into_iter().flatten().collect();
    volumes.sort_by_key(|volume| volume["Name"].as_str().unwrap_or_default());
    let rows: Vec<Value> = volumes.into_iter().map(row_of).collect();
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("Name"),
        table: &[("Driver", "DRIVER"), ("Name", "VOLUME NAME")],
        more: &[
            ("Scope", "SCOPE"),
            ("Mountpoint", "MOUNTPOINT"),
            ("Labels", "LABELS"),
            ("Label", "LABEL"),
            ("Links", "LINKS"),
            ("Size", "SIZE"),
        ],
        hidden: &["Label"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

/// One volume as docker's formatter shows it.
pub(crate) fn row_of(volume: &Value) -> Value {
    let usage = &volume["UsageData"];
    let size = usage["Size"].as_f64().filter(|size| *size >= 0.0);
    json!({
        "Availability": "N/A",
        "Driver": volume["Driver"],
        "Group": "N/A",
        "Label": volume["Labels"],
        "Labels": labels(&volume["Labels"]),
        "Links": usage["RefCount"].as_i64().map_or_else(|| "N/A".to_owned(), |n| n.to_string()),
        "Mountpoint": volume["Mountpoint"],
        "Name": volume["Name"],
        "Scope": volume["Scope"],
        "Size": size.map_or_else(|| "N/A".to_owned(), crate::format::units::human_size),
        "Status": "N/A",
    })
}

async fn remove(ctx: &Ctx, args: RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.volumes, async |name| {
        let options = RemoveVolumeOptions { force: args.force };
        let removed = client.docker.remove_volume(&name, Some(options)).await;
        removed.map_err(ClientError::from)?;
        Ok(Some(name))
    })
    .await
}

async fn prune(ctx: &Ctx, args: VolumePruneArgs) -> Result<Exit> {
    let which = if args.all { "all" } else { "anonymous" };
    let question = format!(
        "WARNING! This will remove {which} local volumes not used by at least one container.\nAre you sure you want to continue?"
    );
    if !args.common.force && !terminal::confirm(&question)? {
        return Ok(report::OK);
    }
    let mut filter = args.common.filter.clone();
    // before 1.42 a prune always took named volumes too and refuses the word
    if args.all && ctx.client().await?.speaks(42) {
        filter.push("all=true".to_owned());
    }
    let reply = support::prune_call(ctx, "/volumes/prune", &filter).await?;
    support::report_pruned(&reply, "Deleted Volumes", "VolumesDeleted")?;
    report::say(&format!("Total reclaimed space: {}", support::reclaimed(&reply)))?;
    Ok(report::OK)
}
