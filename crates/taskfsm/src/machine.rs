//! The machine.
//!
//! ```text
//! Accepted ─► Preparing ─► Ready ─► Starting ─► Running ─┐ exit, unhealthy
//!                │ (desired `ready` waits here)          ▼
//!                │      Stopping ◄──── desired `shutdown`, Unassigned ── from any phase with a container
//!                │          │ exit; killed at the deadline
//!                ▼          ▼
//!              Ended ─ Unassigned ─► Removing ─► Removed
//! ```
//!
//! Late and repeated events change nothing. Every reported state is higher than the one before.

use crate::report::Report;
use std::time::Duration;
use types::Timestamp;
use types::swarm::task::TaskState;

/// A container that survives SIGKILL is stuck in the kernel; asking again costs little.
const KILL_AGAIN: Duration = Duration::from_secs(10);

/// What the task's spec says of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From the stop signal to SIGKILL; Docker's default is 10 s.
    pub stop_grace: Duration,
    /// The task runs only once a health check has passed.
    pub health_check: bool,
}

/// Where the task is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Accepted,
    Preparing,
    /// Prepared; starts when it is desired to run.
    Ready,
    /// The engine was asked to start it, or its first health check is awaited.
    Starting,
    Running,
    Stopping {
        kill_at: Timestamp,
        /// What to report when it has stopped.
        verdict: Report,
    },
    /// Reported; the container is kept for its logs.
    Ended,
    Removing,
    Removed,
}

/// A task with what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub phase: Phase,
    /// Written by managers; only grows.
    pub desired: TaskState,
    pub rules: Rules,
    /// No manager knows the task any more: its container goes as soon as it has stopped.
    pub unassigned: bool,
    /// The highest state reported.
    pub reported: TaskState,
}

impl Machine {
    /// A task that was just assigned.
    pub fn new(desired: TaskState, rules: Rules) -> Self {
        Machine {
            phase: Phase::Accepted,
            desired,
            rules,
            unassigned: false,
            reported: TaskState::Assigned,
        }
    }
    /// A task from the agent's disk, after a restart; `Begin` follows, and what the engine finds.
    pub fn resume(reported: TaskState, desired: TaskState, rules: Rules) -> Self {
        let phase = match reported {
            state if state.is_terminal() => Phase::Ended,
            TaskState::Running => Phase::Running,
            TaskState::Starting => Phase::Starting,
            TaskState::Ready => Phase::Ready,
            _ => Phase::Accepted,
        };
        Machine { phase, reported, ..Machine::new(desired, rules) }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The agent took the task up.
    Begin,
    /// The managers' word; a lower one than before is old.
    Desired(TaskState),
    /// The task is not assigned to this node any more.
    Unassigned,
    Prepared,
    /// The image, a network or a mount cannot be had.
    PrepareFailed(String),
    Started,
    StartFailed(String),
    Healthy,
    Unhealthy,
    Exited {
        code: i64,
    },
    /// The container is not there, though it should be.
    Vanished,
    Removed,
    /// A time asked for with `WakeAt` has come.
    Tick,
}

/// What the agent must do. Each may be repeated after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    Prepare,
    CancelPrepare,
    Start,
    /// Sends the stop signal.
    Stop,
    Kill,
    Remove,
    Report(Report),
    WakeAt(Timestamp),
}

/// Advances the task by one event. All time comes in as `now`.
pub fn step(task: Machine, event: Event, now: Timestamp) -> (Machine, Vec<Effect>) {
    let mut task = task;
    match event {
        Event::Desired(desired) => task.desired = task.desired.max(desired),
        Event::Unassigned => task.unassigned = true,
        _ => {}
    }
    let mut effects = if task.is_unwanted() {
        wind_down(&mut task, &event, now)
    } else {
        advance(&mut task, &event, now)
    };
    if task.phase == Phase::Ended && task.unassigned {
        task.phase = Phase::Removing;
        effects.push(Effect::Remove);
    }
    effects.retain(|effect| task.keeps(effect));
    for effect in &effects {
        if let Effect::Report(report) = effect {
            task.reported = report.state;
        }
    }
    (task, effects)
}

impl Machine {
    fn is_unwanted(&self) -> bool {
        self.desired > TaskState::Complete || self.unassigned
    }
    /// A report that says nothing higher is dropped.
    fn keeps(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Report(report) => report.state > self.reported,
            _ => true,
        }
    }
    fn end(&mut self, report: Report) -> Vec<Effect> {
        self.phase = Phase::Ended;
        vec![Effect::Report(report)]
    }
    fn stop(&mut self, verdict: Report, now: Timestamp) -> Vec<Effect> {
        let kill_at = now.after(self.rules.stop_grace);
        self.phase = Phase::Stopping { kill_at, verdict };
        vec![Effect::Stop, Effect::WakeAt(kill_at)]
    }
    /// Starts if it may; else waits in `Ready`.
    fn start(&mut self) -> Vec<Effect> {
        if self.desired < TaskState::Running {
            return Vec::new();
        }
        self.phase = Phase::Starting;
        vec![Effect::Report(Report::progress(TaskState::Starting)), Effect::Start]
    }
    fn run(&mut self) -> Vec<Effect> {
        self.phase = Phase::Running;
        vec![Effect::Report(Report::progress(TaskState::Running))]
    }
}

/// The way up, while the task is wanted.
fn advance(task: &mut Machine, event: &Event, now: Timestamp) -> Vec<Effect> {
    match (&task.phase, event) {
        (Phase::Accepted, Event::Begin) => {
            task.phase = Phase::Preparing;
            vec![
                Effect::Report(Report::progress(TaskState::Accepted)),
                Effect::Report(Report::progress(TaskState::Preparing)),
                Effect::Prepare,
            ]
        }
        (Phase::Preparing, Event::Prepared) => {
            task.phase = Phase::Ready;
            let mut effects = vec![Effect::Report(Report::progress(TaskState::Ready))];
            effects.extend(task.start());
            effects
        }
        (Phase::Preparing, Event::PrepareFailed(err)) => {
            task.end(Report::failure(TaskState::Rejected, "preparing", err.clone()))
        }
        (Phase::Ready, Event::Desired(_) | Event::Begin) => task.start(),
        // Asked again after the agent's restart: starting what runs changes nothing.
        (Phase::Starting, Event::Begin) => vec![Effect::Start],
        (Phase::Starting, Event::Started) if !task.rules.health_check => task.run(),
        (Phase::Starting, Event::Healthy) => task.run(),
        (Phase::Starting, Event::StartFailed(err)) => {
            task.end(Report::failure(TaskState::Failed, "starting", err.clone()))
        }
        (Phase::Starting | Phase::Running, Event::Unhealthy) => {
            let err = "task: unhealthy container".to_owned();
            task.stop(Report::failure(TaskState::Failed, "unhealthy", err), now)
        }
        (Phase::Starting | Phase::Running, Event::Exited { code }) => task.end(exit(*code)),
        (Phase::Starting | Phase::Running, Event::Vanished) => {
            let err = "task: container is gone".to_owned();
            task.end(Report::failure(TaskState::Failed, "started", err))
        }
        _ => stopping(task, event, now),
    }
}

fn exit(code: i64) -> Report {
    if code == 0 {
        return Report::progress(TaskState::Complete).with_exit(0);
    }
    let err = format!("task: non-zero exit ({code})");
    Report::failure(TaskState::Failed, "started", err).with_exit(code)
}

/// The way down, once nobody wants the task.
fn wind_down(task: &mut Machine, event: &Event, now: Timestamp) -> Vec<Effect> {
    let shutdown = Report::progress(TaskState::Shutdown);
    match (&task.phase, event) {
        (Phase::Preparing, _) => {
            let mut effects = vec![Effect::CancelPrepare];
            effects.extend(task.end(shutdown));
            effects
        }
        (Phase::Accepted | Phase::Ready, _) => task.end(shutdown),
        // It ended by itself before it could be stopped.
        (Phase::Starting | Phase::Running, Event::Exited { code }) => task.end(exit(*code)),
        (Phase::Starting | Phase::Running, Event::StartFailed(_) | Event::Vanished) => {
            task.end(shutdown)
        }
        (Phase::Starting | Phase::Running, _) => task.stop(shutdown, now),
        _ => stopping(task, event, now),
    }
}

/// The stop in progress, and after it the removal.
fn stopping(task: &mut Machine, event: &Event, now: Timestamp) -> Vec<Effect> {
    match (&task.phase, event) {
        (Phase::Stopping { verdict, .. }, Event::Exited { code }) => {
            let verdict = verdict.clone().with_exit(*code);
            task.end(verdict)
        }
        (Phase::Stopping { verdict, .. }, Event::Vanished | Event::StartFailed(_)) => {
            let verdict = verdict.clone();
            task.end(verdict)
        }
        (Phase::Stopping { kill_at, verdict }, Event::Tick) if now >= *kill_at => {
            let again = now.after(KILL_AGAIN);
            task.phase = Phase::Stopping { kill_at: again, verdict: verdict.clone() };
            vec![Effect::Kill, Effect::WakeAt(again)]
        }
        (Phase::Stopping { kill_at, .. }, Event::Tick) => vec![Effect::WakeAt(*kill_at)],
        (Phase::Stopping { kill_at, .. }, Event::Begin) => {
            vec![Effect::Stop, Effect::WakeAt(*kill_at)]
        }
        (Phase::Removing, Event::Begin) => vec![Effect::Remove],
        (Phase::Removing, Event::Removed) => {
            task.phase = Phase::Removed;
            Vec::new()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
