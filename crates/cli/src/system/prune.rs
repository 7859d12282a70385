//! `system prune` and `builder prune`.

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::Value;

use crate::client::Query;
use crate::container::PruneArgs;
use crate::container::prune_support as support;
use crate::ctx::Ctx;
use crate::format::units::{human_size, parse_ram};
use crate::image;
use crate::opts;
use crate::report::{self, Exit};
use crate::terminal;

/// `sampan system prune`.
#[derive(Debug, Args)]
pub(crate) struct SystemPruneArgs {
    /// Remove all unused images not just dangling ones
    #[arg(short = 'a', long)]
    all: bool,
    /// Prune anonymous volumes
    #[arg(long)]
    volumes: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// `sampan builder prune`.
#[derive(Debug, Args)]
pub(crate) struct BuilderPruneArgs {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short = 'a', long)]
    all: bool,
    /// Amount of disk space to keep for cache
    #[arg(long, value_name = "bytes", value_parser = parse_ram)]
    keep_storage: Option<i64>,
    #[command(flatten)]
    common: PruneArgs,
}

/// Removes everything unused after asking.
pub(crate) async fn system(ctx: &Ctx, args: SystemPruneArgs) -> Result<Exit> {
    if !args.common.force && !terminal::confirm(&question(&args))? {
        return Ok(report::OK);
    }
    let filter = &args.common.filter;
    let mut space = 0.0;
    let reclaimed = |reply: &Value| reply["SpaceReclaimed"].as_f64().unwrap_or(0.0);
    let reply = support::prune_call(ctx, "/containers/prune", filter).await?;
    support::report_pruned(&reply, "Deleted Containers", "ContainersDeleted")?;
    space += reclaimed(&reply);
    let reply = support::prune_call(ctx, "/networks/prune", filter).await?;
    support::report_pruned(&reply, "Deleted Networks", "NetworksDeleted")?;
    if args.volumes {
        let reply = support::prune_call(ctx, "/volumes/prune", &[]).await?;
        support::report_pruned(&reply, "Deleted Volumes", "VolumesDeleted")?;
        space += reclaimed(&reply);
    }
    let reply = image::prune_call(ctx, args.all, filter).await?;
    image::show_pruned(&reply)?;
    space += reclaimed(&reply);
    let reply = cache(ctx, args.all, None, &[]).await?;
    support::report_pruned(&reply, "Deleted build cache objects", "CachesDeleted")?;
    space += reclaimed(&reply);
    report::say(&format!("Total reclaimed space: {}", human_size(space)))?;
    Ok(report::OK)
}

fn question(args: &SystemPruneArgs) -> String {
    let mut out = String::from(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n",
    );
    if args.volumes {
        out.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    out.push_str(if args.all {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    out.push_str("\nAre you sure you want to continue?");
    out
}

/// Removes build cache after asking.
pub(crate) async fn builder(ctx: &Ctx, args: BuilderPruneArgs) -> Result<Exit> {
    let which = if args.all { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {which}. Are you sure you want to continue?");
    if !args.common.force && !terminal::confirm(&question)? {
        return Ok(report::OK);
    }
    let reply = cache(ctx, args.all, args.keep_storage, &args.common.filter).await?;
    support::report_pruned(&reply, "Deleted build cache objects", "CachesDeleted")?;
    report::say(&format!("Total reclaimed space: {}", support::reclaimed(&reply)))?;
    Ok(report::OK)
}

async fn cache(ctx: &Ctx, all: bool, keep: Option<i64>, filter: &[String]) -> Result<Value> {
    let filters = opts::filters(filter).map_err(|err| anyhow!(err))?;
    let query = Query::new()
        .flag("all", all)
        .opt("keep-storage", keep.map(|bytes| bytes.to_string()).as_deref())
        .with("filters", filters.to_string());
    Ok(ctx.client().await?.json(http::Method::POST, "/build/prune", &query, None).await?)
}
