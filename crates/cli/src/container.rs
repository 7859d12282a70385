//! `sampan container …` and the container words of the top level.

mod archive;
mod attach;
mod config;
mod copy;
mod create;
mod exec;
mod flags;
mod logs;
mod manage;
mod ports;
mod ps;
mod run;
mod stats;
mod top;
mod update;

use anyhow::Result;
use clap::Subcommand;
pub(crate) use create::pull_query;

use crate::ctx::Ctx;
use crate::inspect;
use crate::report::Exit;

pub(crate) use manage::PruneArgs;
pub(crate) use manage::prune;
pub(crate) use ps::{PsArgs, row as row_of};

/// What pruning has in common, whatever is pruned.
pub(crate) mod prune_support {
    pub(crate) use super::manage::{prune_call, reclaimed, report_pruned};
}

/// Words that mean the same with and without `container`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create and run a new container from an image
    #[command(override_usage = "sampan run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
    Run(Box<run::RunArgs>),
    /// Create a new container
    #[command(override_usage = "sampan create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
    Create(Box<create::CreateArgs>),
    /// Start one or more stopped containers
    Start(attach::StartArgs),
    /// Stop one or more running containers
    Stop(manage::StopArgs),
    /// Restart one or more containers
    Restart(manage::StopArgs),
    /// Kill one or more running containers
    Kill(manage::KillArgs),
    /// Remove one or more containers
    #[command(visible_alias = "remove")]
    Rm(manage::RmArgs),
    /// Pause all processes within one or more containers
    Pause(manage::Names),
    /// Unpause all processes within one or more containers
    Unpause(manage::Names),
    /// Rename a container
    Rename(manage::RenameArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(manage::Names),
    /// Fetch the logs of a container
    Logs(logs::LogsArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(attach::AttachArgs),
    /// Execute a command in a running container
    #[command(override_usage = "sampan exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
    Exec(exec::ExecArgs),
    /// Display the running processes of a container
    #[command(override_usage = "sampan top CONTAINER [ps OPTIONS]")]
    Top(top::TopArgs),
    /// Display a live stream of container(s) resource usage statistics
    Stats(stats::StatsArgs),
    /// List port mappings or a specific mapping for the container
    Port(ports::PortArgs),
    /// Update configuration of one or more containers
    Update(update::UpdateArgs),
    /// Inspect changes to files or directories on a container's filesystem
    Diff(manage::OneName),
    /// Copy files/folders between a container and the local filesystem
    Cp(copy::CpArgs),
    /// Export a container's filesystem as a tar archive
    Export(archive::ExportArgs),
    /// Create a new image from a container's changes
    Commit(archive::CommitArgs),
}

/// What `sampan container` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// List containers
    #[command(visible_aliases = ["ps", "list"])]
    Ls(PsArgs),
    /// Display detailed information on one or more containers
    Inspect(inspect::InspectArgs),
    /// Remove all stopped containers
    Prune(PruneArgs),
}

/// Runs a word of the `container` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Verb(verb) => run_verb(ctx, verb).await,
        Command::Ls(args) => ps::run(ctx, args).await,
        Command::Inspect(args) => inspect::run(ctx, args, inspect::Kind::Container).await,
        Command::Prune(args) => prune(ctx, args).await,
    }
}

/// Runs a container word of the top level.
pub(crate) async fn run_verb(ctx: &Ctx, verb: Verb) -> Result<Exit> {
    match verb {
        Verb::Run(args) => run::run(ctx, &args).await,
        Verb::Create(args) => create::run(ctx, &args).await,
        Verb::Start(args) => attach::start(ctx, args).await,
        Verb::Stop(args) => manage::stop(ctx, args, manage::Halt::Stop).await,
        Verb::Restart(args) => manage::stop(ctx, args, manage::Halt::Restart).await,
        Verb::Kill(args) => manage::kill(ctx, args).await,
        Verb::Rm(args) => manage::remove(ctx, args).await,
        Verb::Pause(args) => manage::pause(ctx, args, manage::Freeze::Pause).await,
        Verb::Unpause(args) => manage::pause(ctx, args, manage::Freeze::Unpause).await,
        Verb::Rename(args) => manage::rename(ctx, args).await,
        Verb::Wait(args) => manage::wait(ctx, args).await,
        Verb::Logs(args) => logs::run(ctx, args).await,
        Verb::Attach(args) => attach::attach(ctx, args).await,
        Verb::Exec(args) => exec::run(ctx, args).await,
        Verb::Top(args) => top::run(ctx, args).await,
        Verb::Stats(args) => stats::run(ctx, args).await,
        Verb::Port(args) => ports::run(ctx, args).await,
        Verb::Update(args) => update::run(ctx, args).await,
        Verb::Diff(args) => manage::diff(ctx, args).await,
        Verb::Cp(args) => copy::run(ctx, args).await,
        Verb::Export(args) => archive::export(ctx, args).await,
        Verb::Commit(args) => archive::commit(ctx, args).await,
    }
}

/// `sampan ps`.
pub(crate) async fn list(ctx: &Ctx, args: PsArgs) -> Result<Exit> {
    ps::run(ctx, args).await
}
