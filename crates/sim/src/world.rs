//! The world: a clock that jumps from event to event, and everything that the events touch.

use crate::agent::{Agent, Moment, Outcome, Seen, Step};
use crate::decide::Decide;
use crate::fault::Trouble;
use crate::leader::Leader;
use crate::rng::Rng;
use crate::{converge, user};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::invariants::{self, Note, Rule};
use store::{Entry, Store};
use types::swarm::task::{Task, TaskState, TaskStatus};
use types::{TaskId, Timestamp};

/// When the world begins, on everybody's calendar.
const EPOCH: Timestamp = Timestamp(1_800_000_000_000_000_000);
/// Faults and users are at work this long, in milliseconds.
pub(crate) const TROUBLED: u64 = 300_000;
/// Within this long after the faults every service must be at its spec: a launch delay may have grown to
/// five minutes, and an open breaker tries one task at a time.
const BOUND: u64 = 3_600_000;
/// How often convergence is looked for.
const LOOK: u64 = 10_000;
const HEARTBEAT: u64 = 5_000;
/// More events than any seed needs: a world that spins is a bug.
const MOST_EVENTS: u64 = 2_000_000;

/// What happens next.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The leader looks around.
    Lead {
        term: u64,
    },
    /// The oldest entry on its way is committed.
    Commit {
        term: u64,
    },
    /// It arrives if the agent is the one that it was sent to: connections end with it.
    ToAgent {
        node: String,
        boot: u64,
        message: Told,
    },
    ToLeader {
        message: Heard,
    },
    Heartbeat {
        node: String,
        boot: u64,
    },
    Timer {
        node: String,
        task: TaskId,
        step: Step,
    },
    User,
    Trouble(Trouble),
    Look,
}

/// From the leader to an agent.
#[derive(Debug, Clone)]
pub(crate) enum Told {
    Assign { seen: Seen, tasks: Vec<Arc<Task>> },
    Ack { task: TaskId, state: TaskState },
}

/// From an agent to whoever leads.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Heartbeat { node: String, seen: Seen },
    Report { node: String, task: TaskId, status: TaskStatus },
}

/// How one seed went.
#[derive(Debug, Default)]
pub struct Report {
    pub notes: Vec<Note>,
    /// When the first note was taken, in virtual milliseconds.
    pub first_at: Option<u64>,
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    pub entries: u64,
    pub events: u64,
    /// The most tasks the store ever held.
    pub most_tasks: usize,
}

/// One seed's cluster.
pub struct World {
    pub(crate) now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Happening>,
    pub(crate) rng: Rng,
    /// What is committed: the truth.
    pub(crate) store: Store,
    pub(crate) leader: Option<Leader>,
    pub(crate) term: u64,
    /// The leader's clock is off by so much.
    pub(crate) skew_ms: i64,
    pub(crate) agents: BTreeMap<String, Agent>,
    /// Nodes that the leader cannot reach, and nodes that cannot reach it.
    pub(crate) deaf: BTreeSet<String>,
    pub(crate) mute: BTreeSet<String>,
    pub(crate) loss_percent: u64,
    pub(crate) slow_pulls: bool,
    pub(crate) decide: Box<dyn Decide>,
    pub(crate) report: Report,
    pub(crate) trace: bool,
    pub(crate) calm: bool,
    converged: bool,
}

/// Runs one seed to its end.
pub fn run(seed: u64, decide: Box<dyn Decide>, trace: bool) -> Report {
    let mut world = World::new(seed, decide, trace);
    world.play();
    world.report
}

impl World {
    fn new(seed: u64, decide: Box<dyn Decide>, trace: bool) -> World {
        let mut world = World { trace, ..World::bare(seed, decide) };
        user::found(&mut world);
        world.elect();
        world.plan_troubles();
        world
    }

    /// Nothing in it, and nobody leads.
    pub(crate) fn bare(seed: u64, decide: Box<dyn Decide>) -> World {
        World {
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            rng: Rng::new(seed),
            store: Store::default(),
            leader: None,
            term: 0,
            skew_ms: 0,
            agents: BTreeMap::new(),
            deaf: BTreeSet::new(),
            mute: BTreeSet::new(),
            loss_percent: 0,
            slow_pulls: false,
            decide,
            report: Report::default(),
            trace: false,
            calm: false,
            converged: false,
        }
    }

    /// Lets so many milliseconds pass.
    #[cfg(test)]
    pub(crate) fn run_for(&mut self, ms: u64) {
        let until = self.now + ms;
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
        self.now = until;
    }

    fn play(&mut self) {
        while let Some(((at, _), happening)) = self.queue.pop_first() {
            self.now = at;
            self.report.events += 1;
            self.happen(happening);
            let spun = self.report.events > MOST_EVENTS;
            if spun {
                self.note(Note {
                    rule: Rule::Converges,
                    object: "the world".to_owned(),
                    detail: format!("spins: {MOST_EVENTS} events"),
                });
            }
            if self.converged || spun || !self.report.notes.is_empty() {
                break;
            }
        }
        self.report.virtual_ms = self.now;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Lead { term } => self.lead(term),
            Happening::Commit { term } => self.commit(term),
            Happening::ToAgent { node, boot, message } => self.tell_agent(&node, boot, message),
            Happening::ToLeader { message } => self.hear(message),
            Happening::Heartbeat { node, boot } => self.heartbeat(&node, boot),
            Happening::Timer { node, task, step } => self.ring(&node, &task, step),
            Happening::User => user::act(self),
            Happening::Trouble(trouble) => self.trouble(trouble),
            Happening::Look => self.look(),
        }
    }

    /// The leader's clock.
    pub(crate) fn clock(&self) -> Timestamp {
        let ms = i64::try_from(self.now).unwrap_or(0) + self.skew_ms;
        Timestamp(EPOCH.0 + ms * 1_000_000)
    }

    pub(crate) fn after(&mut self, ms: u64, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + ms, self.order), happening);
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{:>9.3} {}", self.now as f64 / 1000.0, what());
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.say(|| format!("NOTE {note}"));
        self.report.first_at.get_or_insert(self.now);
        self.report.notes.push(note);
    }

    /// Writes a committed entry, and asks what must hold.
    pub(crate) fn write(&mut self, entry: &Entry) {
        let before = self.store.snapshot();
        let applied = self.store.apply(entry);
        self.report.entries += 1;
        for event in &applied.events {
            self.say(|| describe(event));
        }
        for refusal in &applied.refused {
            self.say(|| format!("refused: {}", refusal.error));
        }
        let after = self.store.snapshot();
        self.report.most_tasks = self.report.most_tasks.max(after.tasks().len());
        let mut notes = invariants::check_step(&before, &after, &applied.events);
        notes.extend(invariants::check(&after, self.clock()));
        for note in notes {
            self.note(note);
        }
    }

    fn tell_agent(&mut self, node: &str, boot: u64, message: Told) {
        let now = self.true_time();
        let mut moment = Moment { now, rng: &mut self.rng, slow: self.slow_pulls };
        let Some(agent) = self.agents.get_mut(node).filter(|it| it.up && it.boot == boot) else {
            return;
        };
        let outcome = match message {
            Told::Ack { task, state } => {
                if let Some(local) = agent.tasks.get_mut(&task)
                    && local.status.state <= state
                {
                    local.acked = true;
                }
                return;
            }
            Told::Assign { seen, tasks } => agent.assign(seen, &tasks, &mut moment),
        };
        self.settle(node, outcome);
    }

    /// Everybody's calendar, which only agents look at.
    fn true_time(&self) -> Timestamp {
        Timestamp(EPOCH.0 + i64::try_from(self.now).unwrap_or(0) * 1_000_000)
    }

    /// Does something with an agent, and keeps what comes of it.
    pub(crate) fn with_agent(
        &mut self,
        node: &str,
        what: impl FnOnce(&mut Agent, &mut Moment<'_>) -> Outcome,
    ) {
        let now = self.true_time();
        let mut moment = Moment { now, rng: &mut self.rng, slow: self.slow_pulls };
        let Some(agent) = self.agents.get_mut(node) else { return };
        let outcome = what(agent, &mut moment);
        self.settle(node, outcome);
    }

    fn settle(&mut self, node: &str, outcome: Outcome) {
        for timer in outcome.timers {
            let (node, task, step) = (node.to_owned(), timer.task, timer.step);
            self.after(timer.after, Happening::Timer { node, task, step });
        }
        for id in outcome.stops {
            self.stopped(node, &id);
        }
        self.send_reports(node);
    }

    fn send_reports(&mut self, node: &str) {
        let Some(agent) = self.agents.get(node).filter(|agent| agent.up) else { return };
        let open = agent.tasks.iter().filter(|(_, local)| !local.acked);
        let report = |(id, local): (&TaskId, &crate::agent::Local)| Heard::Report {
            node: node.to_owned(),
            task: id.clone(),
            status: local.status.clone(),
        };
        let reports: Vec<Heard> = open.map(report).collect();
        for report in reports {
            self.send_up(node, report);
        }
    }

    fn heartbeat(&mut self, node: &str, boot: u64) {
        let Some(agent) = self.agents.get_mut(node).filter(|a| a.up && a.boot == boot) else {
            return;
        };
        let seen = agent.seen;
        let period = self.rng.between(HEARTBEAT * 3 / 4, HEARTBEAT * 5 / 4);
        self.after(period, Happening::Heartbeat { node: node.to_owned(), boot });
        self.send_up(node, Heard::Heartbeat { node: node.to_owned(), seen });
        self.send_reports(node);
    }

    fn ring(&mut self, node: &str, task: &TaskId, step: Step) {
        self.with_agent(node, |agent, moment| agent.ring(task, step, moment));
    }

    /// An agent has stopped a container: the committed store must say why.
    fn stopped(&mut self, node: &str, id: &TaskId) {
        let wanted = self.store.state().tasks().get(id.as_str()).is_some_and(|task| {
            task.desired_state <= TaskState::Complete && !task.status.state.is_terminal()
        });
        if wanted {
            self.note(Note {
                rule: Rule::StoppedForAReason,
                object: id.to_string(),
                detail: format!("stopped on {node}"),
            });
        }
    }

    pub(crate) fn send_up(&mut self, node: &str, message: Heard) {
        if self.mute.contains(node) {
            return;
        }
        for delay in self.deliveries() {
            self.after(delay, Happening::ToLeader { message: message.clone() });
        }
    }

    pub(crate) fn send_down(&mut self, node: &str, message: &Told) {
        if self.deaf.contains(node) {
            return;
        }
        let boot = self.agents.get(node).map_or(0, |agent| agent.boot);
        for delay in self.deliveries() {
            let (node, message) = (node.to_owned(), message.clone());
            self.after(delay, Happening::ToAgent { node, boot, message });
        }
    }

    /// When the copies of one message arrive: never, once or twice; now and then very late.
    fn deliveries(&mut self) -> Vec<u64> {
        if self.rng.chance(self.loss_percent) {
            return Vec::new();
        }
        let copies = if self.rng.chance(self.loss_percent / 2) { 2 } else { 1 };
        let mut delays = Vec::new();
        for _ in 0..copies {
            let late = self.rng.chance(self.loss_percent / 4);
            delays.push(if late {
                self.rng.between(1_000, 20_000)
            } else {
                self.rng.between(1, 50)
            });
        }
        delays
    }

    fn look(&mut self) {
        let open = converge::open(self);
        if open.is_empty() {
            self.say(|| "converged".to_owned());
            self.converged = true;
        } else if self.now > TROUBLED + BOUND {
            for note in open {
                self.note(note);
            }
        } else {
            self.after(LOOK, Happening::Look);
        }
    }
}

fn describe(event: &store::Event) -> String {
    let object = &event.object;
    let text = match object {
        store::Object::Task(task) => format!(
            "slot {} on {:?} {}/{} run {} {:?} {:?} {}",
            task.slot,
            task.node_id.as_str(),
            task.status.state.as_str(),
            task.desired_state.as_str(),
            task.record.run,
            task.record.cause,
            task.record.stop,
            task.status.err
        ),
        store::Object::Service(service) => format!(
            "{} {:?} {:?}",
            service.spec.name,
            service.update_status.as_ref().map(|status| &status.state),
            service.spec.mode
        ),
        store::Object::Node(node) => {
            format!("{:?} {:?}", node.status.state, node.spec.availability)
        }
        _ => String::new(),
    };
    format!("v{} {:?} {} {} {text}", event.version, event.kind, object.kind(), object.id())
}

#[cfg(test)]
mod tests;
