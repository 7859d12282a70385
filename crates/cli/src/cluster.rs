//! `sampan cluster …`: the cluster as a whole, in a file; and what its registry's clients are to be told.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::{Args, Subcommand};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::Value;

use crate::client::{Query, no_body};
use crate::ctx::Ctx;
use crate::format;
use crate::report::{self, Exit};
use crate::whole_file::WholeFile;

/// What `sampan cluster` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Save the cluster to a file, and make a cluster of one from it
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Show the token that opens the managers' registry (`docker login`, any user name)
    Registry(RegistryArgs),
}

/// `cluster registry`.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Show instead the certificate that its clients must trust (/etc/docker/certs.d/HOST:PORT/ca.crt)
    #[arg(long)]
    ca: bool,
}

/// What `sampan cluster snapshot` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save the whole cluster to a file. It holds every secret and the CA's key, unencrypted
    Save(SaveArgs),
    /// Make a cluster of this node alone from a saved one
    Restore(RestoreArgs),
    /// Show what a saved cluster holds
    Inspect(InspectArgs),
}

/// `cluster snapshot save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `cluster snapshot restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Advertised address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    advertise_addr: String,
    /// Address or interface to use for data path traffic (format: "<ip|interface>")
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    data_path_addr: String,
    /// Listen address (format: "<ip|interface>[:port]")
    #[arg(long, value_name = "node-addr", default_value = "0.0.0.0:2377")]
    listen_addr: String,
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// `cluster snapshot inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs a word of the `cluster` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Registry(args) => registry(ctx, &args).await,
        Command::Snapshot(SnapshotCommand::Save(args)) => save(ctx, &args).await,
        Command::Snapshot(SnapshotCommand::Restore(args)) => restore(ctx, &args).await,
        Command::Snapshot(SnapshotCommand::Inspect(args)) => inspect(ctx, &args).await,
    }
}

async fn registry(ctx: &Ctx, args: &RegistryArgs) -> Result<Exit> {
    let access = ctx.client().await?.get("/sampan/registry", &Query::new()).await?;
    let shown = access[if args.ca { "Certificate" } else { "Token" }].as_str().unwrap_or_default();
    report::say(shown.trim_end())?;
    Ok(report::OK)
}

async fn save(ctx: &Ctx, args: &SaveArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let path = "/sampan/cluster/snapshot";
    let (query, headers) = (Query::new(), HeaderMap::new());
    let mut stream = client.bytes(Method::GET, path, &query, headers, no_body()).await?;
    let named = || args.file.display().to_string();
    let written = async {
        let mut file = WholeFile::create(&args.file)?;
        while let Some(chunk) = stream.next().await {
            file.write_all(&chunk?)?;
        }
        file.finish()
    };
    written.await.with_context(|| format!("failed to write {}", named()))?;
    report::say(&format!("Cluster saved to {}.", named()))?;
    eprintln!(
        "The file is not encrypted: it holds every secret and the key of the cluster's CA. Keep it as you keep those."
    );
    Ok(report::OK)
}

async fn restore(ctx: &Ctx, args: &RestoreArgs) -> Result<Exit> {
    let query = Query::new()
        .with("listenAddr", &args.listen_addr)
        .opt("advertiseAddr", Some(&args.advertise_addr))
        .opt("dataPathAddr", Some(&args.data_path_addr));
    let node = send(ctx, "/sampan/cluster/restore", &query, &args.file).await?;
    let node = node.as_str().unwrap_or_default();
    report::print(&format!(
        "Cluster restored: current node ({node}) is now its only manager.\n\nThe nodes of before are down until they \
         leave and join it again: 'sampan swarm join-token worker' prints how.\n"
    ))?;
    Ok(report::OK)
}

async fn inspect(ctx: &Ctx, args: &InspectArgs) -> Result<Exit> {
    let about = send(ctx, "/sampan/cluster/snapshot/inspect", &Query::new(), &args.file).await?;
    if !args.format.is_empty() {
        report::say(&format::render_one(&args.format, &about)?)?;
        return Ok(report::OK);
    }
    let mut lines = Vec::new();
    for (title, key) in [("VERSION", "version"), ("LOG INDEX", "index"), ("TERM", "term")] {
        lines.push(format!("{title}\t{}", about[key]));
    }
    for member in about["members"].as_array().into_iter().flatten() {
        let word = |key: &str| member[key].as_str().unwrap_or_default().to_owned();
        lines.push(format!("MANAGER\t{} {}", word("node"), word("addr")));
    }
    for object in about["objects"].as_array().into_iter().flatten() {
        let kind = object[0].as_str().unwrap_or_default().to_uppercase();
        lines.push(format!("{kind}\t{}", object[1]));
    }
    report::print(&format::table::align(&lines))?;
    Ok(report::OK)
}

async fn send(ctx: &Ctx, path: &str, query: &Query, file: &Path) -> Result<Value> {
    let bytes =
        std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?;
    let mut headers = HeaderMap::new();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(http::header::CONTENT_TYPE, kind);
    let body = bollard::body_full(Bytes::from(bytes));
    let client = ctx.client().await?;
    let response = client.send(Method::POST, path, query, headers, body).await?;
    let bytes = http_body_util::BodyExt::collect(response.into_body()).await?.to_bytes();
    Ok(serde_json::from_slice(&bytes)?)
}
