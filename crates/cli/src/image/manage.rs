//! `tag`, `rmi` and `image prune`.

use anyhow::Result;
use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use clap::Args;
use serde_json::Value;

use crate::client::ClientError;
use crate::container::PruneArgs;
use crate::container::prune_support as support;
use crate::ctx::Ctx;
use crate::opts::reference::Reference;
use crate::report::{self, Exit};
use crate::terminal;

/// `sampan tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    #[arg(value_name = "SOURCE_IMAGE[:TAG]")]
    source: String,
    #[arg(value_name = "TARGET_IMAGE[:TAG]")]
    target: String,
}

/// `sampan rmi`.
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short = 'f', long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// `sampan image prune`.
#[derive(Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove all unused images, not just dangling ones
    #[arg(short = 'a', long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// Gives an image another name.
pub(crate) async fn tag(ctx: &Ctx, args: TagArgs) -> Result<Exit> {
    let invalid = |name: &str, reason| {
        anyhow::anyhow!("Error parsing reference: {name:?} is not a valid repository/tag: {reason}")
    };
    let target = Reference::parse(&args.target).map_err(|err| invalid(&args.target, err))?;
    let options = TagImageOptions { repo: Some(target.repository), tag: target.tag };
    let client = ctx.client().await?;
    client.docker.tag_image(&args.source, Some(options)).await.map_err(ClientError::from)?;
    Ok(report::OK)
}

/// Removes names and the images that lose their last one.
pub(crate) async fn remove(ctx: &Ctx, args: RmiArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.images, async |name| {
        let options =
            RemoveImageOptions { force: args.force, noprune: args.no_prune, platforms: None };
        let removed = client.docker.remove_image(&name, Some(options), None).await;
        let items = match removed.map_err(ClientError::from) {
            Err(err @ ClientError::Daemon { status: 404, .. }) if args.force => {
                eprintln!("{err}");
                return Ok(None);
            }
            other => other?,
        };
        for item in items {
            if let Some(name) = item.untagged {
                report::say(&format!("Untagged: {name}"))?;
            }
            if let Some(id) = item.deleted {
                report::say(&format!("Deleted: {id}"))?;
            }
        }
        Ok(None)
    })
    .await
}

/// Removes unused images after asking.
pub(crate) async fn prune(ctx: &Ctx, args: ImagePruneArgs) -> Result<Exit> {
    let what = if args.all {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    let question = format!("{what}\nAre you sure you want to continue?");
    if !args.common.force && !terminal::confirm(&question)? {
        return Ok(report::OK);
    }
    let reply = call(ctx, args.all, &args.common.filter).await?;
    show(&reply)?;
    report::say(&format!("Total reclaimed space: {}", support::reclaimed(&reply)))?;
    Ok(report::OK)
}

/// The request alone, for `system prune`.
pub(crate) async fn call(ctx: &Ctx, all: bool, filter: &[String]) -> Result<Value> {
    let mut words = filter.to_vec();
    words.push(format!("dangling={}", !all));
    support::prune_call(ctx, "/images/prune", &words).await
}

/// What went, in docker's words.
pub(crate) fn show(reply: &Value) -> Result<()> {
    let items = reply["ImagesDeleted"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return Ok(());
    }
    report::say("Deleted Images:")?;
    for item in items {
        match (item["Untagged"].as_str(), item["Deleted"].as_str()) {
            (Some(name), _) if !name.is_empty() => report::say(&format!("untagged: {name}"))?,
            (_, Some(id)) => report::say(&format!("deleted: {id}"))?,
            _ => {}
        }
    }
    report::say("")?;
    Ok(())
}
