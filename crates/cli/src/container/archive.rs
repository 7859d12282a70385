//! `export` and `commit`: a container's files as an archive or an image.

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::json;

use crate::client::{Query, no_body, segment};
use crate::ctx::Ctx;
use crate::opts::reference::Reference;
use crate::report::{self, Exit};
use crate::sink;

/// `sampan export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "string")]
    output: Option<String>,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `sampan commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short = 'a', long, value_name = "string")]
    author: Option<String>,
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "list")]
    change: Vec<String>,
    /// Commit message
    #[arg(short = 'm', long, value_name = "string")]
    message: Option<String>,
    /// Pause container during commit
    #[arg(short = 'p', long, value_name = "bool", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    pause: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Writes the container's root filesystem as a tar archive.
pub(crate) async fn export(ctx: &Ctx, args: ExportArgs) -> Result<Exit> {
    let sink = sink::Sink::open(args.output.as_deref())?;
    let path = format!("/containers/{}/export", segment(&args.container));
    let client = ctx.client().await?;
    let stream = client
        .bytes(http::Method::GET, &path, &Query::new(), Default::default(), no_body())
        .await?;
    sink.write(stream).await?;
    Ok(report::OK)
}

/// Makes an image of the container and prints its id.
pub(crate) async fn commit(ctx: &Ctx, args: CommitArgs) -> Result<Exit> {
    let mut query = Query::new().with("container", args.container.as_str());
    if let Some(name) = &args.reference {
        let reference = Reference::parse(name).map_err(|err| anyhow!(err))?;
        query = query.with("repo", reference.repository).opt("tag", reference.tag.as_deref());
    }
    query = query.opt("author", args.author.as_deref()).opt("comment", args.message.as_deref());
    for change in args.change {
        query = query.with("changes", change);
    }
    let query = query.with("pause", if args.pause { "1" } else { "0" });
    let client = ctx.client().await?;
    let reply = client.json(http::Method::POST, "/commit", &query, Some(&json!({}))).await?;
    report::say(reply["Id"].as_str().unwrap_or_default())?;
    Ok(report::OK)
}
