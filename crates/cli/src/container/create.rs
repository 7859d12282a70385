//! `create`, and the first half of `run`: the image is there, the container exists.

use anyhow::{Context, Result, anyhow};
use bollard::query_parameters::CreateContainerOptions;
use clap::Args;

use super::config;
use super::flags::CreateFlags;
use crate::client::{Client, ClientError, Query, no_body};
use crate::ctx::Ctx;
use crate::opts::reference::Reference;
use crate::progress::{self, Display};
use crate::report::{self, Exit, NOT_STARTED, RunFailure};

/// `sampan create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) flags: CreateFlags,
    /// Image, then the command and its arguments
    #[arg(value_name = "IMAGE", trailing_var_arg = true, required = true)]
    pub(crate) image_and_args: Vec<String>,
}

/// When `run` and `create` pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PullPolicy {
    Always,
    Missing,
    Never,
}

impl PullPolicy {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "always" => Ok(PullPolicy::Always),
            "missing" | "" => Ok(PullPolicy::Missing),
            "never" => Ok(PullPolicy::Never),
            other => Err(anyhow!(
                "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
            )),
        }
    }
}

/// Prints the new container's id.
pub(crate) async fn run(ctx: &Ctx, args: &CreateArgs) -> Result<Exit> {
    let fail = |err| as_run_failure("create", NOT_STARTED, &err);
    let (image, rest) = args.image_and_args.split_first().context("no image")?;
    let body = config::build(&args.flags, image, rest, false).map_err(fail)?;
    let id = create(ctx, &args.flags, body).await.map_err(fail)?;
    report::say(&id)?;
    Ok(report::OK)
}

/// Creates the container, pulling as the policy says, and returns its id.
pub(crate) async fn create(
    ctx: &Ctx,
    flags: &CreateFlags,
    body: bollard::models::ContainerCreateBody,
) -> Result<String> {
    let policy = PullPolicy::parse(&flags.pull)?;
    let image = body.image.clone().unwrap_or_default();
    let cid = CidFile::reserve(flags.cidfile.as_deref())?;
    let client = ctx.client().await?;
    if policy == PullPolicy::Always {
        pull(ctx, client, &image, flags).await?;
    }
    let options = || CreateContainerOptions {
        name: flags.name.clone(),
        platform: flags.platform.clone().unwrap_or_default(),
    };
    let first = client.docker.create_container(Some(options()), body.clone()).await;
    let created = match first.map_err(ClientError::from) {
        Err(ClientError::Daemon { status: 404, message })
            if policy == PullPolicy::Missing && is_missing_image(&message) =>
        {
            if !flags.quiet {
                let shown = Reference::parse(&image).map(|r| familiar(&r)).unwrap_or(image.clone());
                eprintln!("Unable to find image '{shown}' locally");
            }
            pull(ctx, client, &image, flags).await?;
            client
                .docker
                .create_container(Some(options()), body)
                .await
                .map_err(ClientError::from)?
        }
        other => other?,
    };
    for warning in &created.warnings {
        eprintln!("WARNING: {warning}");
    }
    cid.write(&created.id)?;
    Ok(created.id)
}

fn is_missing_image(message: &str) -> bool {
    message.to_ascii_lowercase().contains("no such image")
}

/// The name with its tag, as docker repeats it.
fn familiar(reference: &Reference) -> String {
    match (&reference.tag, &reference.digest) {
        (_, Some(digest)) => format!("{}@{digest}", reference.repository),
        (tag, None) => format!("{}:{}", reference.repository, tag.as_deref().unwrap_or("latest")),
    }
}

async fn pull(ctx: &Ctx, client: &Client, image: &str, flags: &CreateFlags) -> Result<()> {
    let display = Display::stderr(flags.quiet);
    pull_image(ctx, client, image, flags.platform.as_deref(), display).await
}

/// Pulls one image with the stored login.
pub(crate) async fn pull_image(
    ctx: &Ctx,
    client: &Client,
    image: &str,
    platform: Option<&str>,
    display: Display,
) -> Result<()> {
    let query = pull_query(image, platform)?;
    let headers = crate::image::auth_header(&ctx.config()?.for_image(image))?;
    let stream =
        client.bytes(http::Method::POST, "/images/create", &query, headers, no_body()).await?;
    progress::show(stream, display).await.map(drop)
}

/// Prefix, hint and exit code of run-like commands.
pub(crate) fn as_run_failure(
    command: &'static str,
    code: Exit,
    err: &anyhow::Error,
) -> anyhow::Error {
    RunFailure { command, message: report::text(err), code }.into()
}

/// `--cidfile`: claimed before the container exists, removed again if it never does.
struct CidFile(Option<(std::fs::File, std::path::PathBuf)>);

impl CidFile {
    fn reserve(path: Option<&str>) -> Result<Self> {
        let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(CidFile(None)) };
        match std::fs::File::create_new(path) {
            Ok(file) => Ok(CidFile(Some((file, path.into())))),
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => Err(anyhow!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )),
            Err(err) => {
                Err(err).with_context(|| format!("failed to create the container ID file {path}"))
            }
        }
    }

    fn write(mut self, id: &str) -> Result<()> {
        use std::io::Write;
        if let Some((mut file, path)) = self.0.take() {
            let written = file.write_all(id.as_bytes());
            written.with_context(|| {
                format!("failed to write the container ID to {}", path.display())
            })?;
        }
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((_, path)) = self.0.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// `POST /images/create` of one image: the digest, else the tag, else `latest`.
pub(crate) fn pull_query(image: &str, platform: Option<&str>) -> Result<Query> {
    let reference = Reference::parse(image).map_err(|err| anyhow!(err))?;
    let tag = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => digest.clone(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => "latest".to_owned(),
    };
    Ok(Query::new()
        .with("fromImage", reference.repository.as_str())
        .with("tag", tag)
        .opt("platform", platform))
}
