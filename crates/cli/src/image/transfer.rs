//! Images on the move: pull, push, save, load, import, search.

use std::fs::File;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::auth_header;
use crate::client::{Query, image_segment, no_body};
use crate::ctx::Ctx;
use crate::format::{Listing, ellipsis};
use crate::opts::{self, reference::Reference};
use crate::progress::{self, Display};
use crate::report::{self, Exit};
use crate::{sink, tarball, terminal};

/// `sampan pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string", env = "DOCKER_DEFAULT_PLATFORM", hide_env = true)]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
}

/// `sampan push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Push all tags of an image to the repository
    #[arg(short = 'a', long)]
    all_tags: bool,
    /// Push a platform-specific manifest as a single-platform image to the registry
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Copy the image to other nodes of the cluster instead; no registry takes part
    #[arg(long, conflicts_with_all = ["all_tags", "platform"])]
    to_cluster: bool,
    /// Nodes that shall have it, this one included; 0 is all
    #[arg(long, value_name = "uint", requires = "to_cluster")]
    copies: Option<u32>,
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

/// `sampan save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to a file, instead of STDOUT
    #[arg(short = 'o', long, value_name = "string")]
    output: Option<String>,
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// `sampan load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from tar archive file, instead of STDIN
    #[arg(short = 'i', long, value_name = "string")]
    input: Option<String>,
    /// Suppress the load output
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// `sampan import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// Apply Dockerfile instruction to the created image
    #[arg(short = 'c', long, value_name = "list")]
    change: Vec<String>,
    /// Set commit message for imported image
    #[arg(short = 'm', long, value_name = "string")]
    message: Option<String>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    #[arg(value_name = "file|URL|-")]
    source: String,
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// `sampan search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Pretty-print search using a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Max number of search results
    #[arg(long, value_name = "int")]
    limit: Option<u32>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "TERM")]
    term: String,
}

/// Downloads an image and prints its full name.
pub(crate) async fn pull(ctx: &Ctx, args: PullArgs) -> Result<Exit> {
    let mut reference = Reference::parse(&args.name).map_err(|err| anyhow!(err))?;
    if args.all_tags && (reference.tag.is_some() || reference.digest.is_some()) {
        bail!("tag can't be used with --all-tags/-a");
    }
    if !args.all_tags && reference.tag.is_none() && reference.digest.is_none() {
        reference.tag = Some("latest".to_owned());
        if !args.quiet {
            report::say("Using default tag: latest")?;
        }
    }
    let query = Query::new()
        .with("fromImage", reference.repository.as_str())
        .opt("tag", reference.digest.as_deref().or(reference.tag.as_deref()))
        .opt("platform", args.platform.as_deref());
    let headers = auth_header(&ctx.config()?.for_image(&args.name))?;
    let client = ctx.client().await?;
    let stream = client.bytes(Method::POST, "/images/create", &query, headers, no_body()).await?;
    progress::show(stream, Display::stdout(args.quiet)).await?;
    report::say(&reference.canonical())?;
    Ok(report::OK)
}

/// Uploads an image.
pub(crate) async fn push(ctx: &Ctx, args: PushArgs) -> Result<Exit> {
    let mut reference = Reference::parse(&args.name).map_err(|err| anyhow!(err))?;
    if args.all_tags && reference.tag.is_some() {
        bail!("tag can't be used with --all-tags/-a");
    }
    if !args.all_tags && reference.tag.is_none() {
        reference.tag = Some("latest".to_owned());
        if !args.quiet {
            report::say("Using default tag: latest")?;
        }
    }
    if args.to_cluster {
        let copies = args.copies.map(|copies| copies.to_string());
        let query =
            Query::new().with("name", reference.canonical()).opt("copies", copies.as_deref());
        let client = ctx.client().await?;
        let headers = HeaderMap::new();
        let stream =
            client.bytes(Method::POST, "/sampan/spread", &query, headers, no_body()).await?;
        progress::show(stream, Display::stdout(args.quiet)).await?;
        return Ok(report::OK);
    }
    let query =
        Query::new().opt("tag", reference.tag.as_deref()).opt("platform", args.platform.as_deref());
    let headers = auth_header(&ctx.config()?.for_image(&args.name))?;
    let path = format!("/images/{}/push", image_segment(&reference.repository));
    let stream = ctx.client().await?.bytes(Method::POST, &path, &query, headers, no_body()).await?;
    progress::show(stream, Display::stdout(args.quiet)).await?;
    if args.quiet {
        report::say(&reference.canonical())?;
    }
    Ok(report::OK)
}

/// Writes images as one archive.
pub(crate) async fn save(ctx: &Ctx, args: SaveArgs) -> Result<Exit> {
    let sink = sink::Sink::open(args.output.as_deref())?;
    let query =
        args.images.iter().fold(Query::new(), |query, name| query.with("names", name.as_str()));
    let client = ctx.client().await?;
    let stream =
        client.bytes(Method::GET, "/images/get", &query, HeaderMap::new(), no_body()).await?;
    sink.write(stream).await?;
    Ok(report::OK)
}

/// Reads images from an archive.
pub(crate) async fn load(ctx: &Ctx, args: LoadArgs) -> Result<Exit> {
    let body = match args.input.as_deref() {
        Some(path) => {
            tarball::reader_body(File::open(path).with_context(|| format!("open {path}"))?)
        }
        None if terminal::stdin_is_terminal() => {
            bail!("requested load from stdin, but stdin is empty");
        }
        None => tarball::reader_body(std::io::stdin()),
    };
    // the daemon's own bars are for a terminal only
    let quiet = args.quiet || !terminal::stdout_is_terminal();
    let query = Query::new().with("quiet", if quiet { "1" } else { "0" });
    let client = ctx.client().await?;
    let stream = client.bytes(Method::POST, "/images/load", &query, tar_headers(), body).await?;
    progress::show(stream, Display::stdout(false)).await?;
    Ok(report::OK)
}

/// Makes an image of a root filesystem archive and prints its id.
pub(crate) async fn import(ctx: &Ctx, args: ImportArgs) -> Result<Exit> {
    let remote = args.source.contains("://");
    let (source, body) = match args.source.as_str() {
        "-" => ("-", tarball::reader_body(std::io::stdin())),
        url if remote => (url, bollard::body_full(Bytes::new())),
        path => {
            ("-", tarball::reader_body(File::open(path).with_context(|| format!("open {path}"))?))
        }
    };
    let mut query = Query::new().with("fromSrc", source).opt("message", args.message.as_deref());
    if let Some(name) = &args.reference {
        let reference = Reference::parse(name).map_err(|err| anyhow!(err))?;
        query = query.with("repo", reference.repository).opt("tag", reference.tag.as_deref());
    }
    for change in args.change {
        query = query.with("changes", change);
    }
    let query = query.opt("platform", args.platform.as_deref());
    let client = ctx.client().await?;
    let stream = client.bytes(Method::POST, "/images/create", &query, tar_headers(), body).await?;
    progress::show(stream, Display::stdout(false)).await?;
    Ok(report::OK)
}

fn tar_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
    headers
}

/// Searches the default registry.
pub(crate) async fn search(ctx: &Ctx, args: SearchArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let query = Query::new()
        .with("term", args.term.as_str())
        .opt("limit", args.limit.map(|n| n.to_string()).as_deref())
        .with("filters", filters.to_string());
    let found = ctx.client().await?.get("/images/search", &query).await?;
    let rows: Vec<Value> = found
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let text = item["description"].as_str().unwrap_or_default().replace(['\n', '\r'], " ");
            json!({
                "Name": item["name"],
                "Description": if args.no_trunc { text } else { ellipsis(&text, 45) },
                "StarCount": item["star_count"].to_string(),
                "IsOfficial": if item["is_official"] == true { "[OK]" } else { "" },
            })
        })
        .collect();
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[
            ("Name", "NAME"),
            ("Description", "DESCRIPTION"),
            ("StarCount", "STARS"),
            ("IsOfficial", "OFFICIAL"),
        ],
        more: &[],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}
