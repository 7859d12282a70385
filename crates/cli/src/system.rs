//! `sampan system …`, `info`, `version`, `events`, and the build cache.

mod df;
mod events;
mod info;
mod prune;
mod version;

use anyhow::Result;
use clap::Subcommand;

use crate::ctx::Ctx;
use crate::report::Exit;

pub(crate) use events::EventsArgs;
pub(crate) use info::InfoArgs;
pub(crate) use version::VersionArgs;

/// What `sampan system` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show disk usage
    Df(df::DfArgs),
    /// Get real time events from the server
    Events(EventsArgs),
    /// Display system-wide information
    Info(InfoArgs),
    /// Remove unused data
    Prune(prune::SystemPruneArgs),
}

/// What `sampan builder` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Box<crate::image::BuildArgs>),
    /// Remove build cache
    Prune(prune::BuilderPruneArgs),
}

/// Runs a word of the `system` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Df(args) => df::run(ctx, args).await,
        Command::Events(args) => events::run(ctx, args).await,
        Command::Info(args) => info::run(ctx, args).await,
        Command::Prune(args) => prune::system(ctx, args).await,
    }
}

/// Runs a word of the `builder` object.
pub(crate) async fn run_builder(ctx: &Ctx, command: BuilderCommand) -> Result<Exit> {
    match command {
        BuilderCommand::Build(args) => {
            crate::image::run_verb(ctx, crate::image::Verb::Build(args)).await
        }
        BuilderCommand::Prune(args) => prune::builder(ctx, args).await,
    }
}

/// `sampan info`.
pub(crate) async fn info(ctx: &Ctx, args: InfoArgs) -> Result<Exit> {
    info::run(ctx, args).await
}

/// `sampan version`.
pub(crate) async fn version(ctx: &Ctx, args: VersionArgs) -> Result<Exit> {
    version::run(ctx, args).await
}

/// `sampan events`.
pub(crate) async fn events(ctx: &Ctx, args: EventsArgs) -> Result<Exit> {
    events::run(ctx, args).await
}
