//! The short words: stop, restart, kill, rm, pause, rename, wait, diff, prune.

use anyhow::Result;
use bollard::query_parameters as query;
use clap::Args;
use serde_json::Value;

use crate::client::{ClientError, Query, segment};
use crate::ctx::Ctx;
use crate::format::units::human_size;
use crate::opts;
use crate::report::{self, Exit};
use crate::terminal;

/// One or more containers.
#[derive(Debug, Args)]
pub(crate) struct Names {
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Exactly one container.
#[derive(Debug, Args)]
pub(crate) struct OneName {
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `stop` and `restart`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Signal to send to the container
    #[arg(short = 's', long, value_name = "string")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(
        short = 't',
        long,
        visible_alias = "time",
        value_name = "int",
        allow_negative_numbers = true
    )]
    timeout: Option<i32>,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// `kill`.
#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short = 's', long, value_name = "string")]
    signal: Option<String>,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short = 'f', long)]
    force: bool,
    /// Remove the specified link
    #[arg(short = 'l', long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short = 'v', long)]
    volumes: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// `rename`.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    #[arg(value_name = "CONTAINER")]
    container: String,
    #[arg(value_name = "NEW_NAME")]
    new_name: String,
}

/// `prune`, of containers and other objects alike.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Provide filter values (e.g. "until=<timestamp>")
    #[arg(long, value_name = "filter")]
    pub(crate) filter: Vec<String>,
    /// Do not prompt for confirmation
    #[arg(short = 'f', long)]
    pub(crate) force: bool,
}

/// What `stop_args` ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    Stop,
    Restart,
}

/// Freeze or thaw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freeze {
    Pause,
    Unpause,
}

/// Stops or restarts each container.
pub(crate) async fn stop(ctx: &Ctx, args: StopArgs, halt: Halt) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.containers, async |name| {
        let (signal, t) = (args.signal.clone(), args.timeout);
        match halt {
            Halt::Stop => {
                let options = query::StopContainerOptions { signal, t };
                client.docker.stop_container(&name, Some(options)).await
            }
            Halt::Restart => {
                let options = query::RestartContainerOptions { signal, t };
                client.docker.restart_container(&name, Some(options)).await
            }
        }
        .map_err(ClientError::from)?;
        Ok(Some(name))
    })
    .await
}

/// Sends a signal to each container.
pub(crate) async fn kill(ctx: &Ctx, args: KillArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.containers, async |name| {
        let signal = args.signal.clone().unwrap_or_else(|| "KILL".to_owned());
        let options = query::KillContainerOptions { signal };
        client.docker.kill_container(&name, Some(options)).await.map_err(ClientError::from)?;
        Ok(Some(name))
    })
    .await
}

/// Removes each container.
pub(crate) async fn remove(ctx: &Ctx, args: RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.containers, async |name| {
        let options =
            query::RemoveContainerOptions { v: args.volumes, force: args.force, link: args.link };
        let removed = client.docker.remove_container(name.trim_matches('/'), Some(options)).await;
        match removed.map_err(ClientError::from) {
            // docker: forced removal of what is not there succeeds, with a word about it
            Err(err @ ClientError::Daemon { status: 404, .. }) if args.force => {
                eprintln!("{err}");
                Ok(None)
            }
            other => other.map(|()| Some(name)).map_err(Into::into),
        }
    })
    .await
}

/// Pauses or unpauses each container.
pub(crate) async fn pause(ctx: &Ctx, args: Names, freeze: Freeze) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.containers, async |name| {
        match freeze {
            Freeze::Pause => client.docker.pause_container(&name).await,
            Freeze::Unpause => client.docker.unpause_container(&name).await,
        }
        .map_err(ClientError::from)?;
        Ok(Some(name))
    })
    .await
}

/// Gives a container another name.
pub(crate) async fn rename(ctx: &Ctx, args: RenameArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let options = query::RenameContainerOptions { name: args.new_name };
    let renamed = client.docker.rename_container(&args.container, options).await;
    renamed.map_err(ClientError::from)?;
    Ok(report::OK)
}

/// Prints each container's exit code when it has one.
pub(crate) async fn wait(ctx: &Ctx, args: Names) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.containers, async |name| {
        let path = format!("/containers/{}/wait", segment(&name));
        let reply = client.json(http::Method::POST, &path, &Query::new(), None).await?;
        Ok(Some(reply["StatusCode"].to_string()))
    })
    .await
}

/// Lists changed files: `A` added, `C` changed, `D` deleted.
pub(crate) async fn diff(ctx: &Ctx, args: OneName) -> Result<Exit> {
    let client = ctx.client().await?;
    let path = format!("/containers/{}/changes", segment(&args.container));
    let changes = client.get(&path, &Query::new()).await?;
    for change in changes.as_array().into_iter().flatten() {
        let kind = match change["Kind"].as_i64() {
            Some(0) => "C",
            Some(1) => "A",
            _ => "D",
        };
        report::say(&format!("{kind} {}", change["Path"].as_str().unwrap_or_default()))?;
    }
    Ok(report::OK)
}

/// Removes stopped containers after asking.
pub(crate) async fn prune(ctx: &Ctx, args: PruneArgs) -> Result<Exit> {
    let question =
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !args.force && !terminal::confirm(question)? {
        return Ok(report::OK);
    }
    let reply = prune_call(ctx, "/containers/prune", &args.filter).await?;
    report_pruned(&reply, "Deleted Containers", "ContainersDeleted")?;
    report::say(&format!("Total reclaimed space: {}", reclaimed(&reply)))?;
    Ok(report::OK)
}

/// Asks the daemon to prune one kind of object.
pub(crate) async fn prune_call(ctx: &Ctx, path: &str, filter: &[String]) -> Result<Value> {
    let filters = opts::filters(filter).map_err(|err| anyhow::anyhow!(err))?;
    let query = Query::new().with("filters", filters.to_string());
    Ok(ctx.client().await?.json(http::Method::POST, path, &query, None).await?)
}

/// Prints the list of what went, if anything did.
pub(crate) fn report_pruned(reply: &Value, title: &str, key: &str) -> Result<()> {
    let deleted = reply[key].as_array().map(Vec::as_slice).unwrap_or_default();
    if deleted.is_empty() {
        return Ok(());
    }
    report::say(&format!("{title}:"))?;
    for name in deleted {
        report::say(name.as_str().unwrap_or_default())?;
    }
    report::say("")?;
    Ok(())
}

/// The space a prune gave back, as docker prints it.
pub(crate) fn reclaimed(reply: &Value) -> String {
    human_size(reply["SpaceReclaimed"].as_f64().unwrap_or(0.0))
}
