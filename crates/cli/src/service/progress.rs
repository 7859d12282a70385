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

use crate::client::{Client, Query, segment};
use crate::terminal;

const PAUSE: Duration = Duration::from_millis(200);
/// How long tasks must run before they count, unless the service says otherwise.
const MONITOR: Duration = Duration::from_secs(5);
/// Docker draws no line for each task beyond this number of them.
const MOST_BARS: u64 = 20;
const MOST_JOB_BARS: u64 = 10;
/// And no bars on terminals of this width or less: the words alone.
const LEAST_WIDTH: u16 = 110;
const SHORT_ID: usize = 12;
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

/// What was asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Change,
    Rollback,
}

/// Returns when the service has been as it should be for its monitoring period; fails when its update paused, and when it
/// went back though nobody asked for it.
pub(super) async fn run(client: &Client, id: &str, asked: Asked, quiet: bool) -> Result<()> {
    let mut board = Board::new(quiet);
    let (mut converged, mut since) = (false, None::<Instant>);
    loop {
        let service = client.get(&format!("/services/{}", segment(id)), &Query::new()).await?;
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
            if update.back && asked == Asked::Change {
                bail!("service update rolled back: {}", failure(client, &service).await?);
            }
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

/// Why the newest task that failed did so.
async fn failure(client: &Client, service: &Value) -> Result<String> {
    let filters = json!({"service": {text(&service["ID"]): true}}).to_string();
    let tasks = client.get("/tasks", &Query::new().with("filters", filters)).await?;
    let failed = tasks.as_array().into_iter().flatten();
    let failed =
        failed.filter(|task| ["failed", "rejected"].contains(&text(&task["Status"]["State"])));
    let newest = failed.max_by_key(|task| text(&task["CreatedAt"]).to_owned());
    let words = |task: &Value| match text(&task["Status"]["Err"]) {
        "" => text(&task["Status"]["Message"]).to_owned(),
        err => err.to_owned(),
    };
    Ok(newest.map(words).unwrap_or_default())
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
    let what = if back { "rolling back update: " } else { "" };
    let done = draw(board, &service["Spec"]["Mode"], &slots, what)?;
    Ok(done)
}

type Slots<'a> = BTreeMap<(u64, &'a str), &'a Value>;

/// What Docker draws for each mode.
fn draw(board: &mut Board, mode: &Value, slots: &Slots<'_>, what: &str) -> std::io::Result<bool> {
    let there =
        |state: &str| slots.values().filter(|task| task["Status"]["State"] == state).count() as u64;
    let by_number = |board: &mut Board, wanted: u64, most: u64| -> std::io::Result<()> {
        let width = wanted.to_string().len();
        for place in 0..if wanted <= most { wanted as usize } else { 0 } {
            let name = format!("{:>width$}/{wanted}", place + 1);
            match slots.values().nth(place) {
                Some(task) => board.task(&name, task)?,
                None => board.line(&name, " ")?,
            }
        }
        Ok(())
    };
    let by_node = |board: &mut Board, letters: usize| -> std::io::Result<()> {
        let few = slots.len() as u64 <= MOST_BARS;
        for task in slots.values().take(if few { slots.len() } else { 0 }) {
            let node = text(&task["NodeID"]);
            board.task(&node[..node.len().min(letters)], task)?;
        }
        Ok(())
    };
    if let Value::Number(replicas) = &mode["Replicated"]["Replicas"] {
        let (wanted, there) = (replicas.as_u64().unwrap_or(0), there("running"));
        board.line("overall progress", &format!("{what}{there} out of {wanted} tasks"))?;
        by_number(board, wanted, MOST_BARS)?;
        return Ok(there >= wanted);
    }
    if mode["ReplicatedJob"].is_object() {
        let of = |key: &str| mode["ReplicatedJob"][key].as_u64().unwrap_or(0);
        let (total, complete) = (of("TotalCompletions"), there("complete"));
        let desired = of("MaxConcurrent").min(total.saturating_sub(complete));
        let active = slots.values().filter(|task| STATES.contains(&text(&task["Status"]["State"])));
        let active = active.count() as u64;
        board.share(
            "job progress",
            format!("{complete} out of {total} complete"),
            complete,
            total,
        )?;
        board.share("active tasks", format!("{active} out of {desired} tasks"), active, desired)?;
        by_number(board, total, MOST_JOB_BARS)?;
        return Ok(complete >= total);
    }
    let wanted = slots.len() as u64;
    if mode["GlobalJob"].is_object() {
        let complete = there("complete");
        board.share(
            "job progress",
            format!("{complete} out of {wanted} complete"),
            complete,
            wanted,
        )?;
        by_node(board, usize::MAX)?;
        return Ok(complete >= wanted);
    }
    let there = there("running");
    if wanted == 0 {
        // A global service without any task yet has not begun.
        board.line("overall progress", "waiting for new tasks")?;
        return Ok(false);
    }
    board.line("overall progress", &format!("{what}{there} out of {wanted} tasks"))?;
    by_node(board, SHORT_ID)?;
    Ok(there >= wanted)
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

/// What is said of a task, and how far it is; nothing of the latter once it has failed or ended.
fn standing(task: &Value) -> (String, Option<(usize, usize)>) {
    let state = text(&task["Status"]["State"]);
    let error = text(&task["Status"]["Err"]);
    if !error.is_empty() {
        return (one_line(error), None);
    }
    let reached = STATES.iter().position(|known| *known == state).map(|at| at + 1);
    (format!("{state:<9}"), Some((reached.unwrap_or(STATES.len()), STATES.len())))
}

/// `[=====>     ] `
fn bar(reached: usize, of: usize) -> String {
    let filled = (BAR_WIDTH * reached).checked_div(of).unwrap_or(0).min(BAR_WIDTH);
    format!("[{}>{}] ", "=".repeat(filled), " ".repeat(BAR_WIDTH - filled))
}

/// Narrow terminals must not wrap it.
fn one_line(error: &str) -> String {
    crate::format::ellipsis(&error.replace('\n', " "), 75)
}

/// Lines by their name, in the order of their first appearance.
pub(crate) struct Board {
    quiet: bool,
    live: bool,
    /// Whether bars have room, by Docker's measure.
    wide: bool,
    lines: Vec<(String, String)>,
}

impl Board {
    /// On standard output; silent when `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let wide = terminal::size().is_none_or(|(_, columns)| columns > LEAST_WIDTH);
        Board { quiet, live: terminal::stdout_is_terminal(), wide, lines: Vec::new() }
    }

    /// A task's line. Where lines cannot be drawn over, only what failed is worth one.
    fn task(&mut self, name: &str, task: &Value) -> std::io::Result<()> {
        match standing(task) {
            (said, None) => self.line(name, &said),
            (state, Some((reached, of))) if self.live => self.bar(name, &state, reached, of),
            _ => Ok(()),
        }
    }

    /// So many of so many.
    fn share(&mut self, name: &str, said: String, part: u64, whole: u64) -> std::io::Result<()> {
        match self.live {
            true => self.bar(name, &said, part as usize, whole as usize),
            false => self.line(name, &said),
        }
    }

    fn bar(&mut self, name: &str, said: &str, reached: usize, of: usize) -> std::io::Result<()> {
        let bar = if self.wide { bar(reached, of) } else { String::new() };
        self.line(name, &format!("{said} {bar}"))
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
        // A line that says nothing yet only keeps a place.
        if self.quiet || (!self.live && text.trim().is_empty()) {
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
        let drawn = |state: &str| {
            let (said, share) = standing(&json!({"Status": {"State": state}}));
            share.map(|(reached, of)| format!("{said} {}", bar(reached, of)))
        };
        let full = "=".repeat(50);
        assert_eq!(drawn("running").unwrap(), format!("running   [{full}>] "));
        assert_eq!(drawn("complete").unwrap(), format!("complete  [{full}>] "));
        let preparing = format!("preparing [{}>{}] ", "=".repeat(33), " ".repeat(17));
        assert_eq!(drawn("preparing").unwrap(), preparing);
        assert_eq!(bar(0, 0), format!("[>{}] ", " ".repeat(50)));
        let failed = json!({"Status": {"State": "pending", "Err": "no suitable\nnode"}});
        assert_eq!(standing(&failed), ("no suitable node".to_owned(), None));
    }

    #[test]
    fn each_mode_has_its_own_lines() {
        let task = |slot, state| json!({"Slot": slot, "NodeID": "a-node-of-the-swarm", "CreatedAt": "1", "Status": {"State": state}});
        let tasks = json!([task(1, "complete"), task(2, "running")]);
        let names = |mode: Value, tasks: &Value| {
            let mut board = Board { quiet: true, live: true, wide: true, lines: Vec::new() };
            let done = draw(&mut board, &mode, &slots(tasks, |_| true), "").unwrap();
            let lines = board.lines.into_iter().map(|(name, said)| format!("{name}: {said}"));
            (
                done,
                lines.map(|line| line.split(" [").next().unwrap().to_owned()).collect::<Vec<_>>(),
            )
        };
        let (done, lines) = names(json!({"Replicated": {"Replicas": 3}}), &tasks);
        assert!(!done);
        assert_eq!(
            lines,
            ["overall progress: 1 out of 3 tasks", "1/3: complete ", "2/3: running  ", "3/3:  "]
        );
        let job = json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 2}});
        let (done, lines) = names(job, &tasks);
        assert!(!done);
        assert_eq!(
            lines[..2],
            ["job progress: 1 out of 2 complete", "active tasks: 1 out of 1 tasks"]
        );
        let everywhere = json!([task(0, "running")]);
        let (done, lines) = names(json!({"Global": {}}), &everywhere);
        assert!(done);
        assert_eq!(lines, ["overall progress: 1 out of 1 tasks", "a-node-of-th: running  "]);
        let (done, lines) = names(json!({"Global": {}}), &json!([]));
        assert!(!done);
        assert_eq!(lines, ["overall progress: waiting for new tasks"]);
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
