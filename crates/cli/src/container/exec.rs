//! `exec`: a further process in a running container.

use anyhow::{Context, Result, anyhow};
use bollard::models::ExecConfig;
use clap::Args;
use serde_json::json;

use super::run::check_tty;
use crate::client::{ClientError, Query, segment};
use crate::ctx::Ctx;
use crate::opts::env;
use crate::report::{self, Exit};
use crate::session::{self, End, Plan, Target};
use crate::terminal;

/// `sampan exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// Detached mode: run command in the background
    #[arg(short = 'd', long)]
    detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "string")]
    detach_keys: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "list")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "list")]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long)]
    interactive: bool,
    /// Give extended privileges to the command
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    tty: bool,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short = 'u', long, value_name = "string")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "string")]
    workdir: Option<String>,
    /// Container, then the command and its arguments
    #[arg(value_name = "CONTAINER COMMAND", trailing_var_arg = true, required = true, num_args = 2..)]
    container_and_command: Vec<String>,
}

/// Runs the command and ends with its exit code.
pub(crate) async fn run(ctx: &Ctx, args: ExecArgs) -> Result<Exit> {
    let (container, command) = args.container_and_command.split_first().context("no container")?;
    let attached = !args.detach;
    if attached && args.tty && args.interactive {
        check_tty()?;
    }
    let (keys, keys_text) = ctx.detach_keys(args.detach_keys.as_deref())?;
    let size = terminal::size().filter(|_| args.tty);
    let console_size = size.map(|(rows, columns)| vec![usize::from(rows), usize::from(columns)]);
    let config = ExecConfig {
        attach_stdin: Some(attached && args.interactive),
        attach_stdout: Some(attached),
        attach_stderr: Some(attached),
        console_size: console_size.clone(),
        detach_keys: (!keys_text.is_empty()).then_some(keys_text),
        tty: Some(args.tty),
        env: Some(environment(&args)?),
        cmd: Some(command.to_vec()),
        privileged: Some(args.privileged),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
    };
    let client = ctx.client().await?;
    let created = client.docker.create_exec(container, config).await.map_err(ClientError::from)?;
    let path = format!("/exec/{}/start", segment(&created.id));
    let mut body = json!({"Detach": args.detach, "Tty": args.tty});
    if let Some(size) = console_size {
        body["ConsoleSize"] = json!(size);
    }
    if args.detach {
        client.json(http::Method::POST, &path, &Query::new(), Some(&body)).await?;
        return Ok(report::OK);
    }
    let stream = client.hijack(&path, &Query::new(), Some(&body)).await?;
    let plan = Plan {
        tty: args.tty,
        stdin: args.interactive,
        detach_keys: keys,
        target: Target::Exec(created.id.clone()),
    };
    match session::run(client, stream, plan).await? {
        End::Detached => Ok(report::OK),
        End::Closed => {
            let seen =
                client.get(&format!("/exec/{}/json", segment(&created.id)), &Query::new()).await?;
            Ok((seen["ExitCode"].as_i64().unwrap_or(0) & 0xff) as Exit)
        }
    }
}

fn environment(args: &ExecArgs) -> Result<Vec<String>> {
    let lookup = |name: &str| std::env::var(name).ok();
    let mut words = Vec::new();
    for path in &args.env_file {
        let text = std::fs::read_to_string(path).with_context(|| format!("open {path}"))?;
        words.extend(env::file(&text, path, lookup).map_err(|err| anyhow!(err))?);
    }
    for word in &args.env {
        words.extend(env::word(word, lookup).map_err(|err| anyhow!(err))?);
    }
    Ok(env::merge(words))
}
