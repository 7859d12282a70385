//! `sampan image …` and the image words of the top level.

mod build;
mod context;
mod list;
mod manage;
mod transfer;

use anyhow::Result;
use clap::Subcommand;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::config::Credentials;
use crate::ctx::Ctx;
use crate::inspect;
use crate::report::Exit;

pub(crate) use build::BuildArgs;
pub(crate) use list::{ImagesArgs, row_of};
pub(crate) use manage::{ImagePruneArgs, RmiArgs, call as prune_call, show as show_pruned};
pub(crate) use transfer::SearchArgs;

/// Words that mean the same with and without `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Build an image from a Dockerfile
    Build(Box<BuildArgs>),
    /// Download an image from a registry
    Pull(transfer::PullArgs),
    /// Upload an image to a registry
    Push(transfer::PushArgs),
    /// Save one or more images to a tar archive (streamed to STDOUT by default)
    Save(transfer::SaveArgs),
    /// Load an image from a tar archive or STDIN
    Load(transfer::LoadArgs),
    /// Import the contents from a tarball to create a filesystem image
    Import(transfer::ImportArgs),
    /// Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE
    Tag(manage::TagArgs),
    /// Show the history of an image
    History(list::HistoryArgs),
}

/// What `sampan image` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArgs),
    /// Remove one or more images
    #[command(visible_alias = "remove")]
    Rm(RmiArgs),
    /// Display detailed information on one or more images
    Inspect(inspect::InspectArgs),
    /// Remove unused images
    Prune(ImagePruneArgs),
}

/// Runs a word of the `image` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Verb(verb) => run_verb(ctx, verb).await,
        Command::Ls(args) => list::run(ctx, args).await,
        Command::Rm(args) => manage::remove(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args, inspect::Kind::Image).await,
        Command::Prune(args) => manage::prune(ctx, args).await,
    }
}

/// Runs an image word of the top level.
pub(crate) async fn run_verb(ctx: &Ctx, verb: Verb) -> Result<Exit> {
    match verb {
        Verb::Build(args) => build::run(ctx, &args).await,
        Verb::Pull(args) => transfer::pull(ctx, args).await,
        Verb::Push(args) => transfer::push(ctx, args).await,
        Verb::Save(args) => transfer::save(ctx, args).await,
        Verb::Load(args) => transfer::load(ctx, args).await,
        Verb::Import(args) => transfer::import(ctx, args).await,
        Verb::Tag(args) => manage::tag(ctx, args).await,
        Verb::History(args) => list::history(ctx, args).await,
    }
}

/// `sampan images`.
pub(crate) async fn list(ctx: &Ctx, args: ImagesArgs) -> Result<Exit> {
    list::run(ctx, args).await
}

/// `sampan rmi`.
pub(crate) async fn remove(ctx: &Ctx, args: RmiArgs) -> Result<Exit> {
    manage::remove(ctx, args).await
}

/// `sampan search`.
pub(crate) async fn search(ctx: &Ctx, args: SearchArgs) -> Result<Exit> {
    transfer::search(ctx, args).await
}

/// `X-Registry-Auth` for a login.
pub(crate) fn auth_header(login: &Credentials) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers
        .insert(HeaderName::from_static("x-registry-auth"), HeaderValue::try_from(login.header())?);
    Ok(headers)
}
