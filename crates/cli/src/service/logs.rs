//! `service logs` and `task logs`: each line with the task and node that it came from.

use std::io::Write;

use anyhow::{Result, anyhow};
use clap::Args;
use futures_util::StreamExt;

use crate::client::stream::{Demux, Output};
use crate::client::{Client, Query, no_body, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::format::short_id;
use crate::report::{self, Exit};
use crate::session::write_out;
use crate::task::Names;

const TASK: &str = "com.docker.swarm.task.id";
const NODE: &str = "com.docker.swarm.node.id";

/// `sampan service logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    look: Look,
    #[arg(value_name = "SERVICE|TASK")]
    name: String,
}

/// Which lines, and how they are shown.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short = 'f', long)]
    follow: bool,
    /// Do not map IDs to Names in output
    #[arg(long)]
    no_resolve: bool,
    /// Do not include task IDs in output
    #[arg(long)]
    no_task_ids: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Do not neatly format logs
    #[arg(long)]
    raw: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    since: String,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, value_name = "string", default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short = 't', long)]
    timestamps: bool,
}

/// Copies the lines; `objects` is `services` or `tasks`. A service's logs may be asked for by a task's id, too.
pub(crate) async fn run(ctx: &Ctx, args: LogsArgs, objects: &str) -> Result<Exit> {
    follow(ctx, &args.look, &args.name, objects).await?;
    Ok(report::OK)
}

/// Copies the lines of one service or task.
pub(crate) async fn follow(ctx: &Ctx, args: &Look, name: &str, objects: &str) -> Result<()> {
    let client = ctx.client().await?;
    let objects = match client.get(&path(objects, name), &Query::new()).await {
        Err(err) if err.status() == Some(404) && objects == "services" => "tasks",
        Err(err) => return Err(err.into()),
        Ok(_) => objects,
    };
    let since = clock::api_time(&args.since)
        .map_err(|err| anyhow!("invalid value for \"since\": {err}"))?;
    let query = Query::new()
        .with("stdout", "1")
        .with("stderr", "1")
        .flag("details", args.details || !args.raw)
        .flag("follow", args.follow)
        .flag("timestamps", args.timestamps)
        .with("tail", args.tail.as_str())
        .opt("since", Some(&since));
    let path = format!("{}/logs", path(objects, name));
    let mut stream =
        client.bytes(http::Method::GET, &path, &query, Default::default(), no_body()).await?;
    let mut writer = Writer { client, args, names: Names::default() };
    let mut demux = Demux::default();
    while let Some(chunk) = stream.next().await {
        for (output, line) in demux.push(&chunk?) {
            writer.write(output, &line).await?;
        }
    }
    Ok(())
}

fn path(objects: &str, name: &str) -> String {
    format!("/{objects}/{}", segment(name))
}

struct Writer<'a> {
    client: &'a Client,
    args: &'a Look,
    names: Names,
}

impl Writer<'_> {
    async fn write(&mut self, output: Output, line: &[u8]) -> Result<()> {
        if self.args.raw {
            return Ok(write_out(output, line)?);
        }
        let line = String::from_utf8_lossy(line);
        let (stamp, rest) = match self.args.timestamps {
            true => line.split_once(' ').unwrap_or(("", &line)),
            false => ("", &*line),
        };
        let (details, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = |key: &str| {
            let pair =
                details.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.unwrap_or_default()
        };
        let label = self.label(value(TASK), value(NODE)).await?;
        let more: Vec<&str> = details
            .split(',')
            .filter(|pair| self.args.details && !pair.starts_with("com.docker.swarm."))
            .collect();
        let mut shown = String::new();
        for part in [stamp, &label] {
            if !part.is_empty() {
                shown.push_str(part);
                shown.push_str("    ");
            }
        }
        if !more.is_empty() {
            shown.push_str(&format!("{} ", more.join(",")));
        }
        // One column for the names, so that the texts stand under each other.
        let out = format!("{shown}| {text}");
        match output {
            Output::Stderr => std::io::stderr().lock().write_all(out.as_bytes())?,
            _ => std::io::stdout().lock().write_all(out.as_bytes())?,
        }
        Ok(())
    }

    /// `web.1.abcdefghijkl@node1`.
    async fn label(&mut self, task: &str, node: &str) -> Result<String> {
        let short = short_id(task, !self.args.no_trunc);
        if self.args.no_resolve {
            return Ok(format!("{short}@{node}"));
        }
        let seen = self.client.get(&path("tasks", task), &Query::new()).await.ok();
        if self.names.node(node) == node {
            self.names = Names::read(self.client).await?;
        }
        let name = seen.map_or_else(|| short.clone(), |task| self.names.task(&task));
        let id = if self.args.no_task_ids || name == short {
            String::new()
        } else {
            format!(".{short}")
        };
        Ok(format!("{name}{id}@{}", self.names.node(node)))
    }
}
