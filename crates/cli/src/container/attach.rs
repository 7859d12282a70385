//! `attach` and `start` (which may attach).

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::config::Attached;
use super::run::{Waiting, check_tty, open};
use crate::client::{Client, ClientError, Query, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::session::{self, End, Plan, Target};

/// `sampan attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    sig_proxy: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// `sampan start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short = 'a', long)]
    attach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Attach container's STDIN
    #[arg(short = 'i', long)]
    interactive: bool,
    #[arg(value_name = "CONTAINER", required = true)]
    containers: Vec<String>,
}

/// Attaches to a running container until it ends or the user detaches.
pub(crate) async fn attach(ctx: &Ctx, args: AttachArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let seen = inspect(client, &args.container).await?;
    let state = |key: &str| seen["State"][key].as_bool() == Some(true);
    if !state("Running") {
        bail!("cannot attach to a stopped container, start it first");
    }
    if state("Paused") {
        bail!("cannot attach to a paused container, unpause it first");
    }
    if state("Restarting") {
        bail!("cannot attach to a restarting container, wait until it is running");
    }
    let tty = seen["Config"]["Tty"].as_bool() == Some(true);
    let stdin = !args.no_stdin && seen["Config"]["OpenStdin"].as_bool() == Some(true);
    if tty && stdin {
        check_tty()?;
    }
    let (keys, text) = ctx.detach_keys(args.detach_keys.as_deref())?;
    let id = seen["Id"].as_str().unwrap_or(&args.container).to_owned();
    let attached = Attached { stdin, stdout: true, stderr: true };
    let exit = Waiting::begin(client, &id, false).await?;
    let stream = open(client, &id, attached, &text).await?;
    let plan = Plan { tty, stdin, detach_keys: keys, target: Target::Container(id.clone()) };
    talk(client, &id, stream, plan, exit, args.sig_proxy).await
}

/// Starts containers; with `-a` or `-i` one of them, attached.
pub(crate) async fn start(ctx: &Ctx, args: StartArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    if !args.attach && !args.interactive {
        return start_all(client, &args.containers).await;
    }
    let [name] = args.containers.as_slice() else {
        bail!("you cannot start and attach multiple containers at once");
    };
    let seen = inspect(client, name).await?;
    let id = seen["Id"].as_str().unwrap_or(name).to_owned();
    let tty = seen["Config"]["Tty"].as_bool() == Some(true);
    let stdin = args.interactive && seen["Config"]["OpenStdin"].as_bool() == Some(true);
    if tty && stdin {
        check_tty()?;
    }
    let (keys, text) = ctx.detach_keys(args.detach_keys.as_deref())?;
    let attached = Attached { stdin, stdout: true, stderr: true };
    let stream = open(client, &id, attached, &text).await?;
    let removes_itself = seen["HostConfig"]["AutoRemove"].as_bool() == Some(true);
    let exit = Waiting::begin(client, &id, removes_itself).await?;
    client.docker.start_container(&id, None).await.map_err(ClientError::from)?;
    let plan = Plan { tty, stdin, detach_keys: keys, target: Target::Container(id.clone()) };
    talk(client, &id, stream, plan, exit, !tty).await
}

async fn start_all(client: &Client, names: &[String]) -> Result<Exit> {
    let mut failed = Vec::new();
    for name in names {
        match client.docker.start_container(name, None).await.map_err(ClientError::from) {
            Ok(()) => report::say(name)?,
            Err(err @ ClientError::Daemon { .. }) => {
                eprintln!("{err}");
                failed.push(name.as_str());
            }
            Err(err) => return Err(err.into()),
        }
    }
    if failed.is_empty() {
        return Ok(report::OK);
    }
    bail!("Error: failed to start containers: {}", failed.join(", "))
}

async fn talk(
    client: &Client,
    id: &str,
    stream: crate::client::Hijacked,
    plan: Plan,
    exit: Waiting,
    proxy: bool,
) -> Result<Exit> {
    let talk = async {
        match session::run(client, stream, plan).await? {
            End::Detached => Ok(report::OK),
            End::Closed => exit.code().await,
        }
    };
    if !proxy {
        return talk.await;
    }
    tokio::select! {
        end = talk => end,
        failed = session::proxy_signals(client, id) => failed.map(|()| report::FAILED),
    }
}

async fn inspect(client: &Client, name: &str) -> Result<Value> {
    Ok(client.get(&format!("/containers/{}/json", segment(name)), &Query::new()).await?)
}
