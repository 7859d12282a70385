//! A node: an agent with a disk, whose tasks are `taskfsm`'s machines, and an engine whose containers outlive it.
//! Times are milliseconds.
//!
//! The image's name is the script: `good`, `well` (its health check passes after a while), `slow` (a long pull),
//! `gone` (no such image), `bad` (never starts), `crash` (ends by itself after a while), `sick` (its health check
//! fails), `stubborn` (ignores the stop signal), `job` (ends well).

use crate::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use taskfsm::{Effect, Event, Machine, Phase, Rules, step};
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{TaskId, Timestamp};

/// Docker's.
const STOP_GRACE: Duration = Duration::from_secs(10);
const LONGEST_PULL: u64 = 60_000;

/// What an agent was last told: the leader's term, then the store's version.
pub(crate) type Seen = (u64, u64);

/// One task as its agent has it.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    image: String,
    machine: Machine,
    /// The last report.
    pub(crate) status: TaskStatus,
    /// Whether a manager has confirmed that it wrote this report down.
    pub(crate) acked: bool,
}

/// What the engine has.
#[derive(Debug, Clone)]
struct Container {
    /// Counts the starts of the engine: what was foreseen for another one does not happen.
    run: u64,
    /// Set once it has ended.
    exit: Option<i64>,
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Agent {
    pub(crate) up: bool,
    /// Out of the cluster for good.
    pub(crate) removed: bool,
    /// Counts its starts: timers of an earlier one mean nothing.
    pub(crate) boot: u64,
    pub(crate) seen: Seen,
    pub(crate) tasks: BTreeMap<TaskId, Local>,
    containers: BTreeMap<TaskId, Container>,
    /// An older state of its disk, which may be all that is left after a crash.
    pub(crate) old_disk: BTreeMap<TaskId, Local>,
    runs: u64,
}

/// What happens to a task after a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the agent, if it is the same one still.
    Agent { boot: u64, event: Event },
    /// To a container; its agent hears of it if it is up.
    Engine { run: u64, event: Event },
}

/// A timer that the world must keep.
pub(crate) struct Timer {
    pub(crate) task: TaskId,
    pub(crate) step: Step,
    pub(crate) after: u64,
}

/// What came of something: timers, and containers that the agent ends because managers want it.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) timers: Vec<Timer>,
    pub(crate) stops: Vec<TaskId>,
}

/// What an agent needs of the world.
pub(crate) struct Moment<'a> {
    pub(crate) now: Timestamp,
    pub(crate) rng: &'a mut Rng,
    /// Every pull takes long.
    pub(crate) slow: bool,
}

impl Agent {
    pub(crate) fn new() -> Agent {
        Agent {
            up: true,
            removed: false,
            boot: 0,
            seen: (0, 0),
            tasks: BTreeMap::new(),
            containers: BTreeMap::new(),
            old_disk: BTreeMap::new(),
            runs: 0,
        }
    }

    /// The containers that run, whether the agent is up or not.
    pub(crate) fn running(&self) -> impl Iterator<Item = &TaskId> {
        self.containers.iter().filter(|(_, it)| it.exit.is_none()).map(|(id, _)| id)
    }

    /// Takes a full assignment, unless a newer one came before. What it does not name has to go.
    pub(crate) fn assign(
        &mut self,
        seen: Seen,
        set: &[Arc<Task>],
        moment: &mut Moment<'_>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if seen < self.seen {
            return outcome;
        }
        self.seen = seen;
        for task in set {
            self.learn(task, moment, &mut outcome);
        }
        let named: BTreeSet<&TaskId> = set.iter().map(|task| &task.id).collect();
        let left: Vec<TaskId> =
            self.tasks.keys().filter(|id| !named.contains(id)).cloned().collect();
        for id in left {
            if self.tasks.get(&id).is_some_and(|local| !local.machine.unassigned) {
                self.feed(&id, Event::Unassigned, moment, &mut outcome);
            }
        }
        // Containers that nobody remembers, found by their labels.
        let lost: Vec<TaskId> =
            self.running().filter(|id| !self.tasks.contains_key(*id)).cloned().collect();
        for id in lost {
            self.containers.remove(&id);
            outcome.stops.push(id);
        }
        outcome
    }

    fn learn(&mut self, task: &Task, moment: &mut Moment<'_>, outcome: &mut Outcome) {
        let known = self.tasks.get(&task.id).filter(|it| it.machine.reported >= task.status.state);
        if known.is_some() {
            return self.feed(&task.id, Event::Desired(task.desired_state), moment, outcome);
        }
        // New, or known better by the managers than by a disk that lost its tail.
        let container = task.spec.container_spec.as_ref();
        let image = container.map_or("good", |spec| spec.image.as_str()).to_owned();
        let grace = container.and_then(|spec| spec.stop_grace_period);
        let rules = Rules {
            stop_grace: grace
                .map_or(STOP_GRACE, |nanos| Duration::from_nanos(nanos.unsigned_abs())),
            health_check: matches!(script(&image), "sick" | "well"),
        };
        let machine = Machine::resume(task.status.state, task.desired_state, rules);
        let status = task.status.clone();
        self.tasks.insert(task.id.clone(), Local { image, machine, status, acked: true });
        self.begin(&task.id, moment, outcome);
    }

    /// The agent takes a task up, for the first time or again, and looks what the engine has of it.
    fn begin(&mut self, id: &TaskId, moment: &mut Moment<'_>, outcome: &mut Outcome) {
        self.feed(id, Event::Begin, moment, outcome);
        let Some(local) = self.tasks.get(id) else { return };
        let found = match (&local.machine.phase, self.containers.get(id)) {
            (Phase::Running | Phase::Stopping { .. }, None) => Event::Vanished,
            (Phase::Starting | Phase::Running | Phase::Stopping { .. }, Some(container)) => {
                match container.exit {
                    Some(code) => Event::Exited { code },
                    None => return,
                }
            }
            _ => return,
        };
        self.feed(id, found, moment, outcome);
    }

    /// One event through the machine, and its effects.
    fn feed(&mut self, id: &TaskId, event: Event, moment: &mut Moment<'_>, outcome: &mut Outcome) {
        let Some(local) = self.tasks.get_mut(id) else { return };
        let (machine, effects) = step(local.machine.clone(), event, moment.now);
        local.machine = machine;
        let (script, boot) = (script(&local.image).to_owned(), self.boot);
        for effect in effects {
            let timers = match effect {
                Effect::Prepare => vec![prepare(&script, boot, moment)],
                Effect::Start => self.start(id, &script, moment),
                Effect::Stop => {
                    let ill = self.tasks.get(id).is_some_and(is_ill);
                    outcome.stops.extend((!ill).then(|| id.clone()));
                    let code = 143;
                    let deaf = script == "stubborn";
                    let after = moment.rng.between(10, 5_000);
                    self.foresee(id, Event::Exited { code }, after)
                        .into_iter()
                        .filter(|_| !deaf)
                        .collect()
                }
                Effect::Kill => {
                    let after = moment.rng.between(1, 100);
                    let stuck = moment.rng.chance(5);
                    let exit = self.foresee(id, Event::Exited { code: 137 }, after);
                    exit.into_iter().filter(|_| !stuck).collect()
                }
                Effect::Remove => {
                    if self.containers.remove(id).is_some_and(|it| it.exit.is_none()) {
                        outcome.stops.push(id.clone());
                    }
                    let after = moment.rng.between(10, 500);
                    vec![(Step::Agent { boot, event: Event::Removed }, after)]
                }
                Effect::WakeAt(at) => {
                    let after = u64::try_from(at.since(moment.now).as_millis()).unwrap_or(0);
                    vec![(Step::Agent { boot, event: Event::Tick }, after)]
                }
                Effect::Report(report) => {
                    if let Some(local) = self.tasks.get_mut(id) {
                        local.acked = false;
                        local.status = TaskStatus {
                            timestamp: moment.now,
                            state: report.state,
                            message: report.message.to_owned(),
                            err: report.err,
                            ..TaskStatus::default()
                        };
                    }
                    Vec::new()
                }
                Effect::CancelPrepare => Vec::new(),
            };
            let timer = |(step, after)| Timer { task: id.clone(), step, after };
            outcome.timers.extend(timers.into_iter().map(timer));
        }
        if self.tasks.get(id).is_some_and(|local| local.machine.phase == Phase::Removed) {
            self.tasks.remove(id);
        }
    }

    /// Starts the task's container; one that runs already goes on.
    fn start(&mut self, id: &TaskId, script: &str, moment: &mut Moment<'_>) -> Vec<(Step, u64)> {
        let after = moment.rng.between(50, 2_000);
        if script == "bad" {
            let event = Event::StartFailed("starting container failed".to_owned());
            return vec![(Step::Agent { boot: self.boot, event }, after)];
        }
        let mut timers = Vec::new();
        if self.containers.get(id).is_none_or(|container| container.exit.is_some()) {
            self.runs += 1;
            self.containers.insert(id.clone(), Container { run: self.runs, exit: None });
            let end = match script {
                "crash" => Some((1, moment.rng.between(1_000, 30_000))),
                "job" => Some((0, moment.rng.between(500, 10_000))),
                _ => None,
            };
            timers.extend(
                end.and_then(|(code, lasts)| {
                    self.foresee(id, Event::Exited { code }, after + lasts)
                }),
            );
        }
        timers.extend(self.foresee(id, Event::Started, after));
        let check = match script {
            "well" => Some(Event::Healthy),
            "sick" => Some(Event::Unhealthy),
            _ => None,
        };
        let checked = after + moment.rng.between(100, 5_000);
        timers.extend(check.and_then(|event| self.foresee(id, event, checked)));
        timers
    }

    /// Something that happens to the container as it is now.
    fn foresee(&self, id: &TaskId, event: Event, after: u64) -> Option<(Step, u64)> {
        let run = self.containers.get(id)?.run;
        Some((Step::Engine { run, event }, after))
    }

    /// A timer rang.
    pub(crate) fn ring(&mut self, id: &TaskId, step: Step, moment: &mut Moment<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        match step {
            Step::Agent { boot, event } if self.up && boot == self.boot => {
                self.feed(id, event, moment, &mut outcome);
            }
            Step::Agent { .. } => {}
            Step::Engine { run, event } => {
                let container = self.containers.get_mut(id);
                let Some(container) = container.filter(|it| it.run == run && it.exit.is_none())
                else {
                    return outcome;
                };
                if let Event::Exited { code } = event {
                    container.exit = Some(code);
                }
                if self.up {
                    self.feed(id, event, moment, &mut outcome);
                }
            }
        }
        outcome
    }

    /// A container dies on its own, or its health check fails.
    pub(crate) fn hurt(&mut self, id: &TaskId, ill: bool, moment: &mut Moment<'_>) -> Outcome {
        let event = if ill { Event::Unhealthy } else { Event::Exited { code: 137 } };
        match self.foresee(id, event, 0) {
            Some((step, _)) => self.ring(id, step, moment),
            None => Outcome::default(),
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
    pub(crate) fn restart(&mut self, old: bool, moment: &mut Moment<'_>) -> Outcome {
        self.up = true;
        self.boot += 1;
        if old {
            self.tasks = self.old_disk.clone();
            self.seen = (0, 0);
        }
        let mut outcome = Outcome::default();
        let ids: Vec<TaskId> = self.tasks.keys().cloned().collect();
        for id in ids {
            if let Some(local) = self.tasks.get_mut(&id) {
                let disk = &local.machine;
                local.machine = Machine::resume(disk.reported, disk.desired, disk.rules);
                local.acked = false;
            }
            self.begin(&id, moment, &mut outcome);
        }
        outcome
    }
}

fn script(image: &str) -> &str {
    image.split(':').next().unwrap_or_default()
}

/// Whether the task stops because its health check failed.
fn is_ill(local: &Local) -> bool {
    matches!(&local.machine.phase, Phase::Stopping { verdict, .. } if verdict.state == TaskState::Failed)
}

fn prepare(script: &str, boot: u64, moment: &mut Moment<'_>) -> (Step, u64) {
    let most = if moment.slow || script == "slow" { LONGEST_PULL } else { 2_000 };
    let event = match script {
        "gone" => Event::PrepareFailed("No such image: gone".to_owned()),
        _ => Event::Prepared,
    };
    (Step::Agent { boot, event }, moment.rng.between(20, most))
}
