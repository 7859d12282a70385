//! `up` without `-d`: logs until all containers end; Ctrl-C stops them, a second one kills them.

use std::collections::BTreeSet;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::{ProjectFlags, Up};
use super::board::Board;
use super::execute::Executor;
use super::logs::{Prefixes, Starts, Tail};
use super::project::Loaded;
use super::{container, observe};
use crate::client::stream::JsonStream;
use crate::client::{Client, Query, no_body};
use crate::ctx::Ctx;
use crate::report::{self, Exit};

/// What a shell sees of a program that Ctrl-C ended.
const INTERRUPTED: Exit = 130;

/// Shows the containers that `up` started, from `began` (seconds) on.
pub(super) async fn run(
    ctx: &Ctx,
    flags: &ProjectFlags,
    loaded: &Loaded,
    args: &Up,
    began: i64,
) -> Result<Exit> {
    let client = ctx.client().await?;
    let names = loaded.closure(&args.services, args.no_deps);
    let starts = Starts::of(client, &loaded.desired.project).await?;
    let rows = observe::rows(client, &loaded.desired.project, false).await?;
    let ours: Vec<&Value> =
        rows.iter().filter(|row| names.iter().any(|name| name == observe::service(row))).collect();
    let shown: Vec<&Value> = ours.iter().copied().filter(|row| attach(loaded, args, row)).collect();
    // what the named services depend on was not asked for, and stays
    let own: Vec<&Value> = match args.services.is_empty() || args.attach_dependencies {
        true => ours.clone(),
        false => {
            let named = |row: &&&Value| args.services.iter().any(|s| s == observe::service(row));
            ours.iter().filter(named).copied().collect()
        }
    };
    let mut prefixes = Prefixes::of(&shown, args.no_color, args.no_log_prefix);
    let tails: Vec<Tail> = shown.iter().map(|row| prefixes.tail(row)).collect();
    let labels: Vec<&str> = tails.iter().map(|tail| tail.label.as_str()).collect();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // from here on Ctrl-C is heard
    report::say(&format!("Attaching to {}", labels.join(", ")))?;
    let mut newcomers = Newcomers { loaded, names: &names, starts, prefixes };
    let follow = follow(client, tails, args, began, &mut newcomers);
    tokio::pin!(follow);
    tokio::select! {
        // first what was pressed: it may have ended who reads the lines too
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        ended = &mut follow => {
            let code = ended?;
            if ended_early(args, code) {
                report::say("Aborting on container exit...")?;
                halt(client, (flags, loaded), &own, args, &mut interrupt).await?;
            }
            return match &args.exit_code_from {
                Some(service) => exit_code(client, &ours, service).await,
                None => Ok(code),
            };
        }
    }
    // the same Ctrl-C may have ended who reads this: they are stopped all the same
    let _ = report::say("Gracefully stopping... (press Ctrl+C again to force)");
    let halt = halt(client, (flags, loaded), &own, args, &mut interrupt);
    tokio::pin!(halt);
    tokio::select! {
        done = &mut halt => done?,
        // the last lines of the containers are still shown
        _ = &mut follow => halt.await?,
    }
    Ok(INTERRUPTED)
}

/// Whether the first container that ended takes the others with it.
fn ended_early(args: &Up, code: Exit) -> bool {
    args.abort_on_container_exit
        || args.exit_code_from.is_some()
        || (args.abort_on_container_failure && code != report::OK)
}

fn attach(loaded: &Loaded, args: &Up, row: &Value) -> bool {
    let service = observe::service(row);
    let wanted =
        loaded.project.services.get(service).and_then(|service| service.attach).unwrap_or(true);
    let named = |names: &[String]| names.iter().any(|name| name == service);
    // logs are of the named services, unless those they depend on are asked for
    if !args.services.is_empty() && !args.attach_dependencies && !named(&args.services) {
        return named(&args.attach);
    }
    if args.attach.is_empty() { wanted && !named(&args.no_attach) } else { named(&args.attach) }
}

/// Until all containers ended, or the first one when that aborts. Returns the code to end with. A watch goes on: it
/// may be what ended them, to make them anew.
async fn follow(
    client: &Client,
    tails: Vec<Tail>,
    args: &Up,
    began: i64,
    newcomers: &mut Newcomers<'_>,
) -> Result<Exit> {
    let always = args.abort_on_container_exit || args.exit_code_from.is_some();
    let watch = |tail: Tail, since: String| async move {
        let ended = until_exit(client, &tail, args, since).await;
        (tail, ended)
    };
    let mut live: BTreeSet<String> = tails.iter().map(|tail| tail.id.clone()).collect();
    let mut running: FuturesUnordered<_> =
        tails.into_iter().map(|tail| watch(tail, began.to_string())).collect();
    while args.watch || !running.is_empty() {
        let (tail, ended) = tokio::select! {
            Some(ended) = running.next() => ended,
            (id, time) = newcomers.starts.next() => {
                if !live.contains(&id) && let Some(tail) = newcomers.tail(client, args, &id).await? {
                    live.insert(id);
                    running.push(watch(tail, time));
                }
                continue;
            }
        };
        live.remove(&tail.id);
        let code = ended?;
        report::say(&format!("{} exited with code {code}", tail.label))?;
        if always || (args.abort_on_container_failure && code != 0) {
            return Ok((code & 0xff) as Exit);
        }
    }
    Ok(report::OK)
}

/// Containers that another client starts meanwhile: those that were restarted, made anew or added.
struct Newcomers<'a> {
    loaded: &'a Loaded,
    names: &'a [String],
    starts: Starts,
    prefixes: Prefixes,
}

impl Newcomers<'_> {
    /// The tail of one that is to be shown.
    async fn tail(&mut self, client: &Client, args: &Up, id: &str) -> Result<Option<Tail>> {
        let rows = observe::rows(client, &self.loaded.desired.project, false).await?;
        let row = rows.iter().find(|row| observe::id(row) == id).filter(|row| {
            let ours = self.names.iter().any(|name| name == observe::service(row));
            ours && attach(self.loaded, args, row)
        });
        Ok(row.map(|row| self.prefixes.tail(row)))
    }
}

/// Shows a container's lines until it is down for good; a restart is said and followed.
async fn until_exit(client: &Client, tail: &Tail, args: &Up, mut since: String) -> Result<i64> {
    let mut told = since.clone();
    loop {
        let query = Query::new()
            .with("stdout", "1")
            .with("stderr", "1")
            .with("follow", "1")
            .flag("timestamps", args.timestamps)
            .with("since", since.as_str());
        tail.copy(client, &query).await?;
        let state = match container::state(client, &tail.id).await {
            Ok(state) => state,
            Err(_) => return Ok(0),
        };
        if state["Running"] != json!(true) && state["Restarting"] != json!(true) {
            return Ok(state["ExitCode"].as_i64().unwrap_or(0));
        }
        let restarting = state["Restarting"] == json!(true);
        let ended = crate::clock::api_time(state["FinishedAt"].as_str().unwrap_or_default());
        let ended = ended.unwrap_or_default();
        if later(&ended, &told) {
            let code = match restarting {
                true => state["ExitCode"].as_i64().unwrap_or(0),
                // it runs again, and its state forgot
                false => last_code(client, &tail.id, &told).await?,
            };
            report::say(&format!("{} exited with code {code} (restarting)", tail.label))?;
            // what comes after that end was not shown yet
            since.clone_from(&ended);
            told = ended;
        } else if !restarting {
            since = crate::clock::now_seconds().to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Whether a time in seconds is after another one.
fn later(time: &str, other: &str) -> bool {
    let (time, other) = (time.parse::<f64>(), other.parse::<f64>());
    time.is_ok_and(|time| other.is_ok_and(|other| time > other))
}

/// The code with which a container ended last since `since` (seconds), as the daemon's events have it.
async fn last_code(client: &Client, id: &str, since: &str) -> Result<i64> {
    let filters = json!({ "container": [id], "type": ["container"], "event": ["die"] });
    let query = Query::new()
        .with("filters", filters.to_string())
        .with("since", since)
        .with("until", crate::clock::now_seconds().saturating_add(1).to_string());
    let stream = client.bytes(http::Method::GET, "/events", &query, Default::default(), no_body());
    let mut stream = Box::pin(stream.await?);
    let mut decoder = JsonStream::default();
    let mut code = 0;
    while let Some(chunk) = stream.next().await {
        for event in decoder.push(&chunk?)? {
            let said = event["Actor"]["Attributes"]["exitCode"].as_str();
            code = said.and_then(|said| said.parse().ok()).unwrap_or(code);
        }
    }
    Ok(code)
}

/// Stops everything in order; another Ctrl-C kills.
async fn halt(
    client: &Client,
    (flags, loaded): (&ProjectFlags, &Loaded),
    rows: &[&Value],
    args: &Up,
    interrupt: &mut Signal,
) -> Result<()> {
    let observed = observe::observe(client, &loaded.desired).await?;
    let services: Vec<String> = rows.iter().map(|row| observe::service(row).to_owned()).collect();
    let options = compose::plan::DownOptions { services, keep: true, ..Default::default() };
    let plan = compose::plan::down(&loaded.desired, &observed, &options);
    let board = Board::new(flags).with_hooks();
    let executor =
        Executor { client, loaded, board: &board, timeout: args.timeout, parallel: None };
    tokio::select! {
        done = executor.run(&plan) => done,
        _ = interrupt.recv() => {
            for row in rows {
                // one that is down already cannot be killed, and need not
                let _ = container::post(client, observe::id(row), "kill", Query::new()).await;
            }
            Ok(())
        }
    }
}

async fn exit_code(client: &Client, rows: &[&Value], service: &str) -> Result<Exit> {
    let Some(row) = rows.iter().find(|row| observe::service(row) == service) else {
        anyhow::bail!("no such service: {service}");
    };
    let state = container::state(client, observe::id(row)).await?;
    Ok((state["ExitCode"].as_i64().unwrap_or(0) & 0xff) as Exit)
}
