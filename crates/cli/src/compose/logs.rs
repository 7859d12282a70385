//! `logs`: the lines of several containers, each with its prefix.

use std::io::Write;

use anyhow::{Result, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use owo_colors::{AnsiColors, OwoColorize};
use serde_json::Value;

use super::args::{Logs, ProjectFlags};
use super::{observe, project};
use crate::client::stream::Demux;
use crate::client::{Client, Query, no_body, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::report::{self, Exit};
use crate::terminal;

/// Colours of prefixes, by turns.
const COLOURS: [AnsiColors; 12] = [
    AnsiColors::Cyan,
    AnsiColors::Yellow,
    AnsiColors::Green,
    AnsiColors::Magenta,
    AnsiColors::Blue,
    AnsiColors::BrightCyan,
    AnsiColors::BrightYellow,
    AnsiColors::BrightGreen,
    AnsiColors::BrightMagenta,
    AnsiColors::BrightBlue,
    AnsiColors::Red,
    AnsiColors::BrightRed,
];

/// `compose logs`.
pub(super) async fn run(ctx: &Ctx, flags: &ProjectFlags, args: Logs) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let rows = observe::rows(client, &loaded.desired.project, false).await?;
    let wanted = |row: &&Value| {
        let service = observe::service(row);
        let named = args.services.is_empty() || args.services.iter().any(|name| name == service);
        named && args.index.is_none_or(|index| index == observe::number(row))
    };
    let rows: Vec<&Value> = rows.iter().filter(wanted).collect();
    let tails = tails(&rows, args.no_color || flags.ansi == "never", args.no_log_prefix);
    let time = |flag: &str, text: &str| {
        clock::api_time(text).map_err(|err| anyhow!("invalid value for {flag:?}: {err}"))
    };
    let query = Query::new()
        .with("stdout", "1")
        .with("stderr", "1")
        .flag("follow", args.follow)
        .flag("timestamps", args.timestamps)
        .with("tail", args.tail.as_str())
        .opt("since", Some(&time("since", &args.since)?))
        .opt("until", Some(&time("until", &args.until)?));
    if !args.follow {
        for tail in &tails {
            tail.copy(client, &query).await?;
        }
        return Ok(report::OK);
    }
    let mut running: FuturesUnordered<_> =
        tails.iter().map(|tail| tail.copy(client, &query)).collect();
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(report::OK)
}

/// A container whose lines are shown.
pub(super) struct Tail {
    pub(super) id: String,
    /// `redis-1`.
    pub(super) label: String,
    prefix: String,
}

/// Tails of rows, with prefixes of equal width.
pub(super) fn tails(rows: &[&Value], monochrome: bool, bare: bool) -> Vec<Tail> {
    let label = |row: &Value| format!("{}-{}", observe::service(row), observe::number(row));
    let width = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0);
    let colour = terminal::colour() && !monochrome;
    rows.iter()
        .enumerate()
        .map(|(index, row)| {
            let label = label(row);
            let text = format!("{label:width$}  | ");
            let prefix = match (bare, colour) {
                (true, _) => String::new(),
                (false, true) => text.color(COLOURS[index % COLOURS.len()]).to_string(),
                (false, false) => text,
            };
            Tail { id: observe::id(row).to_owned(), label, prefix }
        })
        .collect()
}

impl Tail {
    /// Copies the container's log until it ends, line by line.
    pub(super) async fn copy(&self, client: &Client, query: &Query) -> Result<()> {
        let path = format!("/containers/{}", segment(&self.id));
        let seen = client.get(&format!("{path}/json"), &Query::new()).await?;
        let tty = seen["Config"]["Tty"].as_bool() == Some(true);
        let logs = format!("{path}/logs");
        let mut stream =
            client.bytes(http::Method::GET, &logs, query, Default::default(), no_body()).await?;
        let mut demux = Demux::default();
        let mut pending = [Vec::new(), Vec::new()];
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            if tty {
                self.lines(&mut pending[0], &chunk)?;
                continue;
            }
            for (output, bytes) in demux.push(&chunk) {
                let which = usize::from(output == crate::client::stream::Output::Stderr);
                self.lines(&mut pending[which], &bytes)?;
            }
        }
        for rest in pending.iter_mut().filter(|rest| !rest.is_empty()) {
            self.lines(rest, b"\n")?;
        }
        Ok(())
    }

    /// Prints every whole line and keeps the rest.
    fn lines(&self, pending: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
        pending.extend_from_slice(bytes);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = pending.split_off(end + 1);
        let mut out = std::io::stdout().lock();
        for line in pending.split_inclusive(|byte| *byte == b'\n') {
            out.write_all(self.prefix.as_bytes())?;
            out.write_all(line)?;
        }
        out.flush()?;
        *pending = rest;
        Ok(())
    }
}
