//! Waiting until a service is as it should be, drawn as Docker draws it.
//!
//! ```text
//! overall progress: 1 out of 3 tasks
//! 1/3: running   [==================================================>]
//! 2/3: preparing [=================================>                 ]
//! ```
//! On a terminal the lines stay in their place; elsewhere a line is printed when it changes.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::client::{Client, Query};
use crate::terminal;

const PAUSE: Duration = Duration::from_millis(200);
/// How long tasks must run before they count, unless the service says otherwise.
const MONITOR: Duration = Duration::from_secs(5);
/// Docker draws no bars beyond this number of tasks.
const MOST_BARS: u64 = 20;
const BAR_WIDTH: usize = 50;
const STATES: [&str; 9] = [
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
];

/// Returns when the service has been as it should be for its monitoring period; fails when its update paused.
pub(super) async fn run(client: &Client, id: &str, quiet: bool) -> Result<()> {
    let mut board = Board::new(quiet);
    let (mut converged, mut since) = (false, None::<Instant>);
    loop {
        let service = client.get(&format!("/services/{id}"), &Query::new()).await?;
        let update = Update::of(&service);
        match update.state {
            "completed" if !converged => return Ok(()),
            "paused" => bail!("service update paused: {}", update.message),
            "rollback_paused" => bail!("service rollback paused: {}", update.message),
            "rollback_started" if !update.message.is_empty() => {
                board.line("rollback", update.message)?;
            }
            _ => {}
        }
        let monitor = service["Spec"]["UpdateConfig"]["Monitor"].as_u64().unwrap_or(0);
        let monitor = if monitor == 0 { MONITOR } else { Duration::from_nanos(monitor) };
        if converged && since.is_some_and(|since| since.elapsed() >= monitor) {
            board.line("verify", &format!("Service {id} converged"))?;
            return Ok(());
        }
        converged = look(client, &service, &mut board, update.back).await?;
        if !converged {
            if since.take().is_some() {
                board.line("verify", "Detected task failure")?;
            }
        } else if service["JobStatus"].is_object() {
            board.line("", "job complete")?;
            return Ok(());
        } else {
            let left = monitor.saturating_sub(since.get_or_insert_with(Instant::now).elapsed());
            let seconds = left.as_secs() + 1;
            let text = format!("Waiting {seconds} seconds to verify that tasks are stable...");
            board.line("verify", &text)?;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => {
                if !converged {
                    board.line("", "Operation continuing in background.")?;
                    board.line("", &format!("Use `sampan service ps {id}` to check progress."))?;
                }
                return Ok(());
            }
        }
    }
}

struct Update<'a> {
    state: &'a str,
    message: &'a str,
    back: bool,
}

impl<'a> Update<'a> {
    fn of(service: &'a Value) -> Self {
        let state = text(&service["UpdateStatus"]["State"]);
        let message = text(&service["UpdateStatus"]["Message"]);
        Update { state, message, back: state.starts_with("rollback") }
    }
}

/// Draws where the tasks are; answers whether all of them are where they should be.
async fn look(client: &Client, service: &Value, board: &mut Board, back: bool) -> Result<bool> {
    let filters = json!({"service": {text(&service["ID"]): true}, "_up-to-date": {"true": true}});
    let query = Query::new().with("filters", filters.to_string());
    let tasks = client.get("/tasks", &query).await?;
    let nodes = client.get("/nodes", &Query::new()).await?;
    let alive = |task: &Value| {
        let node = text(&task["NodeID"]);
        node.is_empty()
            || nodes
                .as_array()
                .into_iter()
                .flatten()
                .any(|row| row["ID"] == node && row["Status"]["State"] != "down")
    };
    let slots = slots(&tasks, alive);
    let mode = &service["Spec"]["Mode"];
    let (wanted, target) = match (&mode["Replicated"]["Replicas"], &mode["ReplicatedJob"]) {
        (Value::Number(replicas), _) => (replicas.as_u64().unwrap_or(0), "running"),
        (_, job) if job.is_object() => (job["TotalCompletions"].as_u64().unwrap_or(0), "complete"),
        _ if mode["GlobalJob"].is_object() => (slots.len() as u64, "complete"),
        _ => (slots.len() as u64, "running"),
    };
    let there = slots.values().filter(|task| task["Status"]["State"] == target).count() as u64;
    let what = if back { "rolling back update: " } else { "" };
    board.line("overall progress", &format!("{what}{there} out of {wanted} tasks"))?;
    if wanted <= MOST_BARS {
        let width = wanted.to_string().len();
        for (place, task) in slots.values().take(wanted as usize).enumerate() {
            board.line(&format!("{:>width$}/{wanted}", place + 1), &bar(task))?;
        }
    }
    // A global service without any task yet has not begun.
    Ok(there >= wanted && (wanted > 0 || target == "complete" || mode["Replicated"].is_object()))
}

/// The newest live task of each slot; the node is the slot of a global service.
fn slots(tasks: &Value, alive: impl Fn(&Value) -> bool) -> BTreeMap<(u64, &str), &Value> {
    let mut slots: BTreeMap<(u64, &str), &Value> = BTreeMap::new();
    for task in tasks.as_array().into_iter().flatten().filter(|task| alive(task)) {
        if matches!(text(&task["DesiredState"]), "shutdown" | "remove") {
            continue;
        }
        let slot = task["Slot"].as_u64().unwrap_or(0);
        let node = if slot == 0 { text(&task["NodeID"]) } else { "" };
        let newest = slots.entry((slot, node)).or_insert(task);
        if text(&task["CreatedAt"]) > text(&newest["CreatedAt"]) {
            *newest = task;
        }
    }
    slots
}

fn bar(task: &Value) -> String {
    let state = text(&task["Status"]["State"]);
    let error = text(&task["Status"]["Err"]);
    let Some(reached) = STATES.iter().position(|known| *known == state) else {
        return if error.is_empty() { state.to_owned() } else { one_line(error) };
    };
    if !error.is_empty() {
        return one_line(error);
    }
    let filled = BAR_WIDTH * (reached + 1) / STATES.len();
    format!("{state:<9} [{}>{}]", "=".repeat(filled), " ".repeat(BAR_WIDTH - filled))
}

/// Narrow terminals must not wrap it.
fn one_line(error: &str) -> String {
    crate::format::ellipsis(&error.replace('\n', " "), 75)
}

/// Lines by their name, in the order of their first appearance.
pub(crate) struct Board {
    quiet: bool,
    live: bool,
    lines: Vec<(String, String)>,
}

impl Board {
    /// On standard output; silent when `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Board { quiet, live: terminal::stdout_is_terminal(), lines: Vec::new() }
    }

    /// Says how `name` stands, if that is new.
    pub(crate) fn line(&mut self, name: &str, text: &str) -> std::io::Result<()> {
        let place = self.lines.iter().position(|(known, _)| known == name && !name.is_empty());
        if place.is_some_and(|place| self.lines[place].1 == text) {
            return Ok(());
        }
        let count = self.lines.len();
        match place {
            Some(place) => self.lines[place].1 = text.to_owned(),
            None => self.lines.push((name.to_owned(), text.to_owned())),
        }
        if self.quiet {
            return Ok(());
        }
        let shown = if name.is_empty() { text.to_owned() } else { format!("{name}: {text}") };
        let mut out = std::io::stdout().lock();
        match place.filter(|_| self.live) {
            Some(place) => {
                let up = count - place;
                write!(out, "\x1b[{up}A\x1b[2K\r{shown}\r\x1b[{up}B")?;
            }
            None => writeln!(out, "{shown}")?,
        }
        out.flush()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_grows_with_the_tasks_state() {
        let task = |state: &str| json!({"Status": {"State": state}});
        assert_eq!(bar(&task("running")), format!("running   [{}>]", "=".repeat(50)));
        assert_eq!(
            bar(&task("preparing")),
            format!("preparing [{}>{}]", "=".repeat(33), " ".repeat(17))
        );
        let failed = json!({"Status": {"State": "pending", "Err": "no suitable\nnode"}});
        assert_eq!(bar(&failed), "no suitable node");
    }

    #[test]
    fn the_newest_task_of_a_slot_counts_and_nodes_that_are_down_do_not() {
        let tasks = json!([
            {"Slot": 1, "CreatedAt": "1", "NodeID": "a", "DesiredState": "running"},
            {"Slot": 1, "CreatedAt": "2", "NodeID": "a", "DesiredState": "running"},
            {"Slot": 2, "CreatedAt": "1", "NodeID": "down", "DesiredState": "running"},
            {"Slot": 3, "CreatedAt": "1", "NodeID": "a", "DesiredState": "shutdown"},
        ]);
        let slots = slots(&tasks, |task| task["NodeID"] != "down");
        assert_eq!(slots.len(), 1);
        assert_eq!(slots[&(1, "")]["CreatedAt"], "2");
    }
}
