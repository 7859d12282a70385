//! `logs`: the lines of several containers, each with its prefix.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::pin::Pin;

use anyhow::{Result, anyhow};
use compose::labels;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use owo_colors::{AnsiColors, OwoColorize};
use serde_json::{Value, json};

use super::args::{Logs, ProjectFlags};
use super::{container, observe, project};
use crate::client::stream::{Demux, JsonStream, Output};
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
    let project = &loaded.desired.project;
    // before the list is read, so that none is missed
    let mut starts = match args.follow {
        true => Some(Starts::of(client, project).await?),
        false => None,
    };
    let rows = observe::rows(client, project, false).await?;
    let wanted = |row: &&Value| {
        let service = observe::service(row);
        let named = args.services.is_empty() || args.services.iter().any(|name| name == service);
        named && args.index.is_none_or(|index| index == observe::number(row))
    };
    let rows: Vec<&Value> = rows.iter().filter(wanted).collect();
    let mut prefixes =
        Prefixes::of(&rows, args.no_color || flags.ansi == "never", args.no_log_prefix);
    let tails: Vec<Tail> = rows.iter().map(|row| prefixes.tail(row)).collect();
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
    let Some(starts) = &mut starts else {
        for tail in &tails {
            tail.copy(client, &query).await?;
        }
        return Ok(report::OK);
    };
    let follow = |tail: Tail, query: Query| async move {
        let done = tail.copy(client, &query).await;
        (tail.id, done)
    };
    // when each was started again while it was still followed
    let mut live: BTreeMap<String, Option<String>> =
        tails.iter().map(|tail| (tail.id.clone(), None)).collect();
    let mut running: FuturesUnordered<_> =
        tails.into_iter().map(|tail| follow(tail, query.clone())).collect();
    while !running.is_empty() {
        let (id, time) = tokio::select! {
            Some((id, done)) = running.next() => {
                done?;
                let again = live.remove(&id).flatten();
                let state = container::state(client, &id).await.unwrap_or_default();
                match again.filter(|_| state["Running"] == json!(true)) {
                    Some(time) => (id, time),
                    None => continue,
                }
            }
            (id, time) = starts.next() => match live.get_mut(&id) {
                Some(again) => {
                    *again = Some(time);
                    continue;
                }
                None => (id, time),
            },
        };
        let rows = observe::rows(client, project, false).await?;
        let row = rows.iter().filter(wanted).find(|row| observe::id(row) == id);
        let Some(row) = row else { continue };
        let again = Query::new()
            .with("stdout", "1")
            .with("stderr", "1")
            .with("follow", "1")
            .flag("timestamps", args.timestamps)
            .with("since", time);
        live.insert(id, None);
        running.push(follow(prefixes.tail(row), again));
    }
    Ok(report::OK)
}

/// The containers of a project that start from now on.
pub(super) struct Starts {
    stream: Pin<Box<dyn Stream<Item = std::io::Result<bytes::Bytes>> + Send>>,
    decoder: JsonStream,
    /// When it began to listen.
    began: String,
    /// When containers ended last since then. Times are in seconds.
    ended: BTreeMap<String, String>,
    seen: VecDeque<(String, String)>,
}

impl Starts {
    /// Listens for them.
    pub(super) async fn of(client: &Client, project: &str) -> Result<Self> {
        let filters = json!({
            "label": [format!("{}={project}", labels::PROJECT)], "type": ["container"],
            "event": ["start", "die"],
        });
        let query = Query::new().with("filters", filters.to_string());
        let began = clock::now_seconds().to_string();
        let stream = client
            .bytes(http::Method::GET, "/events", &query, Default::default(), no_body())
            .await?;
        Ok(Starts {
            stream: Box::pin(stream),
            decoder: JsonStream::default(),
            began,
            ended: BTreeMap::new(),
            seen: VecDeque::new(),
        })
    }

    /// The next one's id, and since when its lines are those of this run: a container may write before its start is
    /// told, but not before its last end. Never anything more once the daemon has gone.
    pub(super) async fn next(&mut self) -> (String, String) {
        loop {
            if let Some(next) = self.seen.pop_front() {
                return next;
            }
            let Some(Ok(chunk)) = self.stream.next().await else { std::future::pending().await };
            for event in self.decoder.push(&chunk).unwrap_or_default() {
                let id = event["Actor"]["ID"].as_str().unwrap_or_default().to_owned();
                if event["Action"] == json!("start") {
                    let since = self.ended.get(&id).unwrap_or(&self.began).clone();
                    self.seen.push_back((id, since));
                } else {
                    let nanos = event["timeNano"].as_i64().unwrap_or(0);
                    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
                    self.ended.insert(id, format!("{seconds}.{rest:09}"));
                }
            }
        }
    }
}

/// A container whose lines are shown.
pub(super) struct Tail {
    pub(super) id: String,
    /// `redis-1`.
    pub(super) label: String,
    prefix: String,
}

/// What stands before the lines of containers: of equal width, in colours by turns.
pub(super) struct Prefixes {
    width: usize,
    colour: bool,
    bare: bool,
    given: usize,
}

impl Prefixes {
    /// As wide as these rows need.
    pub(super) fn of(rows: &[&Value], monochrome: bool, bare: bool) -> Self {
        let width = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0);
        Prefixes { width, colour: terminal::colour() && !monochrome, bare, given: 0 }
    }

    /// The tail of a row, in the next colour.
    pub(super) fn tail(&mut self, row: &Value) -> Tail {
        let (label, width) = (label(row), self.width);
        let text = format!("{label:width$}  | ");
        let prefix = match (self.bare, self.colour) {
            (true, _) => String::new(),
            (false, true) => text.color(COLOURS[self.given % COLOURS.len()]).to_string(),
            (false, false) => text,
        };
        self.given += 1;
        Tail { id: observe::id(row).to_owned(), label, prefix }
    }
}

fn label(row: &Value) -> String {
    format!("{}-{}", observe::service(row), observe::number(row))
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
                self.lines(&mut pending[0], &chunk, Output::Stdout)?;
                continue;
            }
            for (output, bytes) in demux.push(&chunk) {
                let which = usize::from(output == Output::Stderr);
                self.lines(&mut pending[which], &bytes, output)?;
            }
        }
        for (rest, output) in pending.iter_mut().zip([Output::Stdout, Output::Stderr]) {
            if !rest.is_empty() {
                self.lines(rest, b"\n", output)?;
            }
        }
        Ok(())
    }

    /// Prints every whole line where the container wrote it, and keeps the rest.
    fn lines(&self, pending: &mut Vec<u8>, bytes: &[u8], output: Output) -> Result<()> {
        pending.extend_from_slice(bytes);
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
        let rest = pending.split_off(end + 1);
        let mut out: Box<dyn Write> = match output {
            Output::Stderr => Box::new(std::io::stderr().lock()),
            _ => Box::new(std::io::stdout().lock()),
        };
        for line in pending.split_inclusive(|byte| *byte == b'\n') {
            out.write_all(self.prefix.as_bytes())?;
            out.write_all(line)?;
        }
        out.flush()?;
        *pending = rest;
        Ok(())
    }
}
