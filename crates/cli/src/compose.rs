//! Compose: `sampan compose …`, and the short forms `sampan up` and `sampan down`.
//!
//! ```text
//! files ─project─▶ compose::load ─▶ compose::desired ┐
//! daemon ─observe─▶ compose::plan::Observed          ┴▶ plan ─execute─▶ API calls, reported on the board
//! ```
//! What has to be decided is decided by the pure crate; this module asks, does and shows.

mod args;
mod attached;
mod board;
mod build;
mod container;
mod execute;
mod init;
mod list;
mod logs;
mod observe;
mod oneoff;
pub(crate) mod project;
mod services;
mod show;
mod up;
mod watch;
mod words;

pub(crate) use args::{ComposeArgs, DownArgs, UpArgs};

use anyhow::{Result, bail};
use args::Verb;

use crate::ctx::Ctx;
use crate::report::Exit;

/// Runs `sampan compose`.
pub(crate) async fn run(ctx: &Ctx, args: ComposeArgs) -> Result<Exit> {
    let flags = &args.project;
    match args.verb {
        Verb::Attach(args) => words::attach(ctx, flags, args).await,
        Verb::Commit(args) => words::commit(ctx, flags, args).await,
        Verb::Export(args) => words::export(ctx, flags, args).await,
        Verb::Scale(args) => words::scale(ctx, flags, args).await,
        Verb::Volumes(args) => words::volumes(ctx, flags, args).await,
        Verb::Watch(args) => watch::watch(ctx, flags, args).await,
        Verb::Up(args) => up::up(ctx, flags, args).await,
        Verb::Down(args) => up::down(ctx, flags, args).await,
        Verb::Create(args) => up::create(ctx, flags, args).await,
        Verb::Build(args) => build::build(ctx, flags, args).await,
        Verb::Pull(args) => build::pull(ctx, flags, args).await,
        Verb::Push(args) => build::push(ctx, flags, args).await,
        Verb::Ps(args) => list::ps(ctx, flags, args).await,
        Verb::Ls(args) => list::ls(ctx, args).await,
        Verb::Images(args) => list::images(ctx, flags, args).await,
        Verb::Top(args) => list::top(ctx, flags, args).await,
        Verb::Port(args) => list::port(ctx, flags, args).await,
        Verb::Logs(args) => logs::run(ctx, flags, args).await,
        Verb::Start(args) => services::start(ctx, flags, args).await,
        Verb::Stop(args) => services::stop(ctx, flags, args).await,
        Verb::Restart(args) => services::restart(ctx, flags, args).await,
        Verb::Kill(args) => services::kill(ctx, flags, args).await,
        Verb::Pause(args) => services::pause(ctx, flags, args, true).await,
        Verb::Unpause(args) => services::pause(ctx, flags, args, false).await,
        Verb::Rm(args) => services::remove(ctx, flags, args).await,
        Verb::Wait(args) => services::wait(ctx, flags, args).await,
        Verb::Run(args) => oneoff::run(ctx, flags, *args).await,
        Verb::Exec(args) => oneoff::exec(ctx, flags, args).await,
        Verb::Cp(args) => oneoff::copy(ctx, flags, args).await,
        Verb::Stats(args) => oneoff::stats(ctx, flags, args).await,
        Verb::Events(args) => oneoff::events(ctx, flags, args).await,
        Verb::Config(args) => show::config(ctx, flags, &args).await,
        Verb::Version(args) => show::version(&args),
        Verb::Publish(_) => bail!(
            "compose publish is not supported: keep the files of a project in a repository, or pack them with its images by docker save"
        ),
        Verb::Bridge(_) => bail!("compose bridge is not supported: there is no Kubernetes here"),
        Verb::Alpha(_) => {
            bail!("compose alpha is not supported: these words are Docker's experiments")
        }
    }
}

/// Runs `sampan up`.
pub(crate) async fn up(ctx: &Ctx, args: UpArgs) -> Result<Exit> {
    up::up(ctx, &args.project, args.up).await
}

/// Runs `sampan down`.
pub(crate) async fn down(ctx: &Ctx, args: DownArgs) -> Result<Exit> {
    up::down(ctx, &args.project, args.down).await
}
