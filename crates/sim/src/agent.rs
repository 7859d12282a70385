//! A node: an agent with a disk, and the containers that outlive it. Times are milliseconds.
//!
//! The image's name is the script: `good`, `slow` (a long pull), `bad` (never starts), `crash` (ends by
//! itself after a while), `sick` (its health check fails), `job` (ends well).

use crate::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::TaskId;
use types::swarm::task::{Task, TaskState};

/// What an agent was last told: the leader's term, then the store's version.
pub(crate) type Seen = (u64, u64);

/// One task as its agent has it.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    pub(crate) image: String,
    pub(crate) desired: TaskState,
    pub(crate) state: TaskState,
    pub(crate) err: &'static str,
    /// Whether a manager has confirmed that it wrote this state down.
    pub(crate) acked: bool,
    /// Timers of an older turn mean nothing.
    pub(crate) turn: u64,
    /// A timer runs; it will go on by itself.
    pub(crate) busy: bool,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) up: bool,
    /// Counts its starts: timers of an earlier one mean nothing.
    pub(crate) boot: u64,
    pub(crate) seen: Seen,
    pub(crate) tasks: BTreeMap<TaskId, Local>,
    /// What really runs, whether the agent is up or not.
    pub(crate) containers: BTreeSet<TaskId>,
    /// An older state of its disk, which may be all that is left after a crash.
    pub(crate) old_disk: BTreeMap<TaskId, Local>,
    turns: u64,
}

/// What an agent does next, after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Prepared,
    Started,
    Stopped,
    /// The container ends by itself.
    Exit,
}

/// A timer that the world must keep.
pub(crate) struct Timer {
    pub(crate) task: TaskId,
    pub(crate) turn: u64,
    pub(crate) step: Step,
    pub(crate) after: u64,
}

impl Agent {
    pub(crate) fn new() -> Agent {
        Agent {
            up: true,
            boot: 0,
            seen: (0, 0),
            tasks: BTreeMap::new(),
            containers: BTreeSet::new(),
            old_disk: BTreeMap::new(),
            turns: 0,
        }
    }

    /// Takes a full assignment, unless a newer one came before. What it does not name has to go; those
    /// containers are answered.
    pub(crate) fn assign(&mut self, seen: Seen, set: &[Arc<Task>]) -> Vec<TaskId> {
        if seen < self.seen {
            return Vec::new();
        }
        self.seen = seen;
        for task in set {
            self.learn(task);
        }
        let named: BTreeSet<&TaskId> = set.iter().map(|task| &task.id).collect();
        self.tasks.retain(|id, _| named.contains(id));
        let gone: Vec<TaskId> =
            self.containers.iter().filter(|id| !named.contains(id)).cloned().collect();
        for id in &gone {
            self.containers.remove(id);
        }
        gone
    }

    fn learn(&mut self, task: &Task) {
        if let Some(local) = self.tasks.get_mut(&task.id) {
            local.desired = local.desired.max(task.desired_state);
            return;
        }
        let runs = self.containers.contains(&task.id);
        let started = task.status.state >= TaskState::Starting;
        let (state, err) = match (runs, started) {
            (true, _) => (TaskState::Running, ""),
            (false, true) => (TaskState::Failed, "its container is lost"),
            (false, false) => (TaskState::Accepted, ""),
        };
        let image = task.spec.container_spec.as_ref().map_or("good", |spec| spec.image.as_str());
        let local = Local {
            image: image.to_owned(),
            desired: task.desired_state,
            state,
            err,
            acked: false,
            turn: 0,
            busy: false,
        };
        self.tasks.insert(task.id.clone(), local);
    }

    /// Begins whatever can be begun; timers for the rest of it.
    pub(crate) fn advance(&mut self, rng: &mut Rng, slow: bool) -> Vec<Timer> {
        let mut timers = Vec::new();
        let ids: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in ids {
            let runs = self.containers.contains(&id);
            let Some(local) = self.tasks.get_mut(&id) else { continue };
            let stop = local.desired > TaskState::Complete;
            let (step, after) = match local.state {
                state if state.is_terminal() => continue,
                TaskState::Running | TaskState::Starting if stop && runs && !is_stopping(local) => {
                    local.err = STOPPING;
                    (Step::Stopped, rng.between(10, 5_000))
                }
                _ if stop && !runs => {
                    set(local, TaskState::Shutdown, "");
                    continue;
                }
                _ if local.busy => continue,
                TaskState::Ready if local.desired >= TaskState::Running => {
                    set(local, TaskState::Starting, "");
                    self.containers.insert(id.clone());
                    (Step::Started, rng.between(50, 2_000))
                }
                TaskState::Ready => continue,
                TaskState::Running => match local.image.split(':').next() {
                    Some("crash") => (Step::Exit, rng.between(1_000, 30_000)),
                    Some("job") => (Step::Exit, rng.between(500, 10_000)),
                    _ => continue,
                },
                TaskState::Starting => (Step::Started, 500),
                _ => {
                    set(local, TaskState::Preparing, "");
                    let long = slow || local.image.starts_with("slow");
                    let most = if long { 60_000 } else { 2_000 };
                    (Step::Prepared, rng.between(20, most))
                }
            };
            self.turns += 1;
            local.busy = true;
            local.turn = self.turns;
            timers.push(Timer { task: id, turn: self.turns, step, after });
        }
        timers
    }

    /// A timer rang. Answers the container that it ended, if one.
    pub(crate) fn step(&mut self, id: &TaskId, turn: u64, step: Step) -> Option<TaskId> {
        let local = self.tasks.get_mut(id).filter(|local| local.turn == turn)?;
        local.busy = false;
        let script = local.image.split(':').next().unwrap_or_default().to_owned();
        match (step, script.as_str()) {
            (Step::Prepared, _) => set(local, TaskState::Ready, ""),
            (Step::Started, "bad") => {
                set(local, TaskState::Failed, "starting container failed");
                self.containers.remove(id);
            }
            (Step::Started, "sick") => {
                set(local, TaskState::Failed, "unhealthy container");
                self.containers.remove(id);
            }
            (Step::Started, _) => set(local, TaskState::Running, ""),
            (Step::Exit, "job") => {
                set(local, TaskState::Complete, "");
                self.containers.remove(id);
            }
            (Step::Exit, _) => {
                set(local, TaskState::Failed, "task: non-zero exit (1)");
                self.containers.remove(id);
            }
            (Step::Stopped, _) => {
                set(local, TaskState::Shutdown, "");
                return self.containers.remove(id).then(|| id.clone());
            }
        }
        None
    }

    /// A container dies on its own.
    pub(crate) fn kill(&mut self, id: &TaskId) {
        if self.containers.remove(id)
            && let Some(local) = self.tasks.get_mut(id)
        {
            set(local, TaskState::Failed, "task: non-zero exit (137)");
        }
    }

    /// The agent ends. With `machine` its containers do too.
    pub(crate) fn crash(&mut self, machine: bool) {
        self.up = false;
        self.boot += 1;
        if machine {
            self.containers.clear();
        }
    }

    /// The agent starts, with its disk as it was or as it once was.
    pub(crate) fn restart(&mut self, old: bool) {
        self.up = true;
        self.boot += 1;
        if old {
            self.tasks = self.old_disk.clone();
            self.seen = (0, 0);
        }
        for (id, local) in &mut self.tasks {
            local.busy = false;
            local.acked = false;
            local.turn = 0;
            let started = matches!(local.state, TaskState::Starting | TaskState::Running);
            match (self.containers.contains(id), started) {
                (true, _) => {
                    local.state = TaskState::Running;
                    local.err = "";
                }
                (false, true) => set(local, TaskState::Failed, "its container is lost"),
                _ => {}
            }
        }
    }
}

const STOPPING: &str = "stopping";

fn is_stopping(local: &Local) -> bool {
    local.busy && local.err == STOPPING
}

fn set(local: &mut Local, state: TaskState, err: &'static str) {
    local.state = state;
    local.err = err;
    local.acked = false;
    local.busy = false;
}
