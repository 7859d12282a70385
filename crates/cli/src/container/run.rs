//! `run`: create, attach, wait, start, talk, and end with the container's exit code.
//!
//! Attach and wait are asked for before start, so that no output and no exit can be missed.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;

use super::config::{self, Attached};
use super::create::{self, as_run_failure};
use super::flags::CreateFlags;
use crate::client::{Client, ClientError, Hijacked, Query, no_body, segment};
use crate::ctx::Ctx;
use crate::report::{self, Exit, NOT_STARTED};
use crate::session::{self, End, Plan, Target};
use crate::terminal;

/// `sampan run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) flags: CreateFlags,
    /// Run container in background and print container ID
    #[arg(short = 'd', long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    pub(crate) detach_keys: Option<String>,
    /// Proxy received signals to the process
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    pub(crate) sig_proxy: bool,
    /// Image, then the command and its arguments
    #[arg(value_name = "IMAGE", trailing_var_arg = true, required = true)]
    pub(crate) image_and_args: Vec<String>,
}

/// Runs a container and ends as it ended.
pub(crate) async fn run(ctx: &Ctx, args: &RunArgs) -> Result<Exit> {
    let fail = |err| as_run_failure("run", NOT_STARTED, &err);
    let (image, rest) = args.image_and_args.split_first().context("no image")?;
    if args.detach && !args.flags.attach.is_empty() {
        return Err(fail(anyhow::anyhow!(
            "conflicting options: cannot specify both --attach and --detach"
        )));
    }
    let body = config::build(&args.flags, image, rest, args.detach).map_err(fail)?;
    let attached = Attached {
        stdin: body.attach_stdin == Some(true),
        stdout: body.attach_stdout == Some(true),
        stderr: body.attach_stderr == Some(true),
    };
    if attached.stdin && args.flags.tty {
        check_tty()?;
    }
    let keys = ctx.detach_keys(args.detach_keys.as_deref()).map_err(fail)?;
    let id = create::create(ctx, &args.flags, body).await.map_err(fail)?;
    let client = ctx.client().await?;
    if attached.none() {
        start(client, &id).await?;
        report::say(&id)?;
        return Ok(report::OK);
    }
    let stream = open(client, &id, attached, &keys.1).await.map_err(fail)?;
    let exit = Waiting::begin(client, &id, args.flags.rm).await.map_err(fail)?;
    start(client, &id).await?;
    let plan = Plan {
        tty: args.flags.tty,
        stdin: attached.stdin,
        detach_keys: keys.0,
        target: Target::Container(id.clone()),
    };
    let talk = talk(client, stream, plan, exit);
    if !args.sig_proxy {
        return talk.await;
    }
    tokio::select! {
        end = talk => end,
        failed = session::proxy_signals(client, &id) => failed.map(|()| report::FAILED),
    }
}

async fn talk(client: &Client, stream: Hijacked, plan: Plan, exit: Waiting) -> Result<Exit> {
    match session::run(client, stream, plan).await? {
        End::Detached => Ok(report::OK),
        End::Closed => exit.code().await,
    }
}

/// A tty needs a terminal on our side when input is attached.
pub(crate) fn check_tty() -> Result<()> {
    if !terminal::stdin_is_terminal() {
        bail!("the input device is not a TTY");
    }
    Ok(())
}

/// Attaches to the streams of a container.
pub(crate) async fn open(
    client: &Client,
    id: &str,
    attached: Attached,
    detach_keys: &str,
) -> Result<Hijacked> {
    let query = Query::new()
        .with("stream", "1")
        .flag("stdin", attached.stdin)
        .flag("stdout", attached.stdout)
        .flag("stderr", attached.stderr)
        .opt("detachKeys", Some(detach_keys));
    let path = format!("/containers/{}/attach", segment(id));
    Ok(client.hijack(&path, &query, None).await?)
}

async fn start(client: &Client, id: &str) -> Result<()> {
    let started = client.docker.start_container(id, None).await.map_err(ClientError::from);
    started.map_err(|err| {
        let code = start_failure_code(&err.to_string());
        as_run_failure("run", code, &err.into())
    })
}

/// The shell's convention: 127 command not found, 126 not executable, else 125.
fn start_failure_code(message: &str) -> Exit {
    let has = |text| message.contains(text);
    if has("executable file not found")
        || has("no such file or directory")
        || has("system cannot find the file specified")
    {
        127
    } else if has("permission denied") || has("not a directory") || has("is a directory") {
        126
    } else {
        NOT_STARTED
    }
}

/// A wait that the daemon has acknowledged.
pub(crate) struct Waiting(http::Response<hyper::body::Incoming>);

impl Waiting {
    /// Asks for the next exit, or for the removal when the container removes itself.
    pub(crate) async fn begin(client: &Client, id: &str, removed: bool) -> Result<Self> {
        let condition = if removed { "removed" } else { "next-exit" };
        let path = format!("/containers/{}/wait", segment(id));
        let query = Query::new().with("condition", condition);
        let sent =
            client.send(http::Method::POST, &path, &query, Default::default(), no_body()).await;
        Ok(Waiting(sent?))
    }

    /// The container's exit code.
    pub(crate) async fn code(self) -> Result<Exit> {
        use http_body_util::BodyExt;
        let bytes =
            self.0.into_body().collect().await.context("the wait for the exit code broke")?;
        let reply: Value =
            serde_json::from_slice(&bytes.to_bytes()).context("no exit code from the daemon")?;
        let error = reply.get("Error").and_then(|err| err.get("Message")).and_then(Value::as_str);
        if let Some(message) = error.filter(|message| !message.is_empty()) {
            eprintln!("Error waiting for container: {message}");
            return Ok(NOT_STARTED);
        }
        let code =
            reply.get("StatusCode").and_then(Value::as_i64).unwrap_or(i64::from(NOT_STARTED));
        Ok((code & 0xff) as Exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_failures_map_to_the_shells_codes() {
        assert_eq!(start_failure_code("exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(start_failure_code("exec /x: no such file or directory"), 127);
        assert_eq!(start_failure_code("exec: \"/etc\": permission denied"), 126);
        assert_eq!(start_failure_code("port is already allocated"), 125);
    }
}
