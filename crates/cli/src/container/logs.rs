//! `logs`.

use anyhow::{Result, anyhow};
use clap::Args;
use futures_util::StreamExt;

use crate::client::stream::{Demux, Output};
use crate::client::{Query, no_body, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::session::write_out;

/// `sampan logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short = 'f', long)]
    follow: bool,
    /// Show logs since timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    since: String,
    /// Number of lines to show from the end of the logs
    #[arg(
        short = 'n',
        long,
        value_name = "string",
        default_value = "all",
        allow_hyphen_values = true
    )]
    tail: String,
    /// Show timestamps
    #[arg(short = 't', long)]
    timestamps: bool,
    /// Show logs before a timestamp (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m" for 42 minutes)
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    until: String,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

/// Copies the log to our own streams.
pub(crate) async fn run(ctx: &Ctx, args: LogsArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let path = format!("/containers/{}", segment(&args.container));
    let seen = client.get(&format!("{path}/json"), &Query::new()).await?;
    let tty = seen["Config"]["Tty"].as_bool() == Some(true);
    let time = |flag: &str, text: &str| {
        clock::api_time(text).map_err(|err| anyhow!("invalid value for {flag:?}: {err}"))
    };
    let query = Query::new()
        .with("stdout", "1")
        .with("stderr", "1")
        .flag("details", args.details)
        .flag("follow", args.follow)
        .flag("timestamps", args.timestamps)
        .with("tail", args.tail.as_str())
        .opt("since", Some(&time("since", &args.since)?))
        .opt("until", Some(&time("until", &args.until)?));
    let logs = format!("{path}/logs");
    let mut stream =
        client.bytes(http::Method::GET, &logs, &query, Default::default(), no_body()).await?;
    let mut demux = Demux::default();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        if tty {
            write_out(Output::Stdout, &chunk)?;
            continue;
        }
        for (output, bytes) in demux.push(&chunk) {
            write_out(output, &bytes)?;
        }
    }
    Ok(report::OK)
}
