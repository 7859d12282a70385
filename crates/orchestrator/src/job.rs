//! Jobs: run to completion, again when the template changes, or at the times of a schedule.
//!
//! A run of a job is an iteration; its tasks carry the number. A slot whose task completed is done; a job
//! is complete when all its slots are.

use crate::action::Action;
use crate::depend;
use crate::plan::{Plan, Slot, SlotKey};
use crate::policy::Mode;
use crate::restart;
use crate::schedule::{self, Due};
use crate::slot::{self, Context, Role};
use crate::task::{ended_itself, is_dead};
use crate::wait::Wait;
use crate::{global, replicated};
use std::collections::{BTreeMap, BTreeSet};
use types::swarm::Version;
use types::swarm::extension::{Overlap, Schedule, Stop};
use types::swarm::node::NodeState;
use types::swarm::service::JobStatus;
use types::swarm::task::{Task, TaskState};

/// Kubernetes' number of good runs.
const DEFAULT_HISTORY: u64 = 3;

pub(crate) fn run(plan: &mut Plan<'_>) {
    let current = plan.state.service.job_status.as_ref().map(|status| status.job_iteration.index);
    match plan.wishes.schedule.clone() {
        None => {
            let index = once(plan, current);
            retire(plan, |iteration| iteration < index);
            iterate(plan, index, Age::Newest);
        }
        Some(schedule) => scheduled(plan, &schedule, current),
    }
}

fn iteration(task: &Task) -> u64 {
    task.job_iteration.map_or(0, |version| version.index)
}

/// The iteration to work on: a new one when the template is not what the current one runs.
fn once(plan: &mut Plan<'_>, current: Option<u64>) -> u64 {
    let stale = |index: u64| {
        let mut tasks = plan.state.tasks.iter().filter(|task| iteration(task) == index);
        tasks.any(|task| plan.is_dirty(task))
    };
    let index = match current {
        None => 0,
        Some(index) if stale(index) => index + 1,
        Some(index) => return index,
    };
    begin(plan, index);
    index
}

fn begin(plan: &mut Plan<'_>, index: u64) {
    let job_iteration = Version { index };
    let status = JobStatus { job_iteration, last_execution: Some(plan.now) };
    plan.act(Action::SetJob { status });
}

fn scheduled(plan: &mut Plan<'_>, schedule: &Schedule, current: Option<u64>) {
    let alive: BTreeSet<u64> = unfinished(plan, schedule.overlap);
    let mut current = current;
    if schedule::due(plan, schedule, !alive.is_empty()) == Due::Run {
        let index = current.map_or(0, |index| index + 1);
        begin(plan, index);
        if schedule.overlap == Overlap::Forbid {
            stop_older(plan, index); // on nodes that nobody waits for
        }
        current = Some(index);
    }
    let Some(index) = current else { return };
    let history = schedule.history.unwrap_or(DEFAULT_HISTORY);
    let kept = |iteration: u64| iteration == index || iteration + history > index;
    retire(plan, |iteration| !kept(iteration) && !alive.contains(&iteration));
    if schedule.overlap == Overlap::Replace {
        stop_older(plan, index);
    } else {
        for older in alive.into_iter().filter(|older| *older != index) {
            iterate(plan, older, Age::Older(schedule.overlap));
        }
    }
    iterate(plan, index, Age::Newest);
}

/// Of a run: an older one goes on beside the newest, as its schedule has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    Newest,
    Older(Overlap),
}

/// The iterations that still have something to do.
fn unfinished(plan: &Plan<'_>, overlap: Overlap) -> BTreeSet<u64> {
    let last = plan.state.service.job_status.as_ref().map(|status| status.job_iteration.index);
    // Tasks of a retired run may yet have to stop; nothing of it is left to do.
    let kept = plan.state.tasks.iter().filter(|task| task.desired_state < TaskState::Remove);
    let seen: BTreeSet<u64> = kept.map(|task| iteration(task)).collect();
    let mut open = BTreeSet::new();
    for index in seen.into_iter().chain(last) {
        let slots = plan.slots(|task| iteration(task) == index);
        let tally = Tally::of(plan, &slots);
        let left = match plan.mode {
            Mode::ReplicatedJob { total, .. } => tally.done + tally.failed < total,
            _ => false,
        };
        // Stopped slots of an older run (`replace`) will not go on.
        let older = last.is_some_and(|last| index < last);
        let replaced = older && slots.values().any(|slot| is_replaced(slot));
        let age = if older { Age::Older(overlap) } else { Age::Newest };
        let open_slots = slots.values().any(|slot| is_open(plan, slot, age));
        if (open_slots || left) && !replaced {
            open.insert(index);
        }
    }
    open
}

/// Whether the slot holds its run open. A run of a global job waits for those nodes only that can have its tasks, and
/// a node that comes back does not catch up with older runs.
fn is_open(plan: &Plan<'_>, slot: &Slot<'_>, age: Age) -> bool {
    let outcome = outcome(plan, slot);
    let unfinished = matches!(outcome, Outcome::Active | Outcome::Retry);
    let Some(node) = &slot.key.node else { return unfinished };
    let Some(node) = plan.state.nodes.get(node) else { return false };
    match outcome {
        Outcome::Active => {
            let stays = |task: &&Task| plan.place(task).eviction().is_none();
            node.status.state == NodeState::Ready
                && slot.live(TaskState::Complete).iter().any(stays)
        }
        Outcome::Retry => {
            let failed = || slot.last(TaskState::Complete).is_some_and(ended_itself);
            plan.takes_tasks(node)
                && (age == Age::Newest || age == Age::Older(Overlap::Allow) && failed())
        }
        Outcome::Done | Outcome::Failed(_) => false,
    }
}

fn is_replaced(slot: &Slot<'_>) -> bool {
    slot.tasks.iter().any(|task| task.record.stop == Some(Stop::NewRun))
}

fn stop_older(plan: &mut Plan<'_>, index: u64) {
    for task in crate::reconcile::sorted(plan.state.tasks) {
        if iteration(task) < index && !is_dead(task) && task.desired_state < TaskState::Shutdown {
            plan.stop(task, Stop::NewRun);
        }
    }
}

fn retire(plan: &mut Plan<'_>, gone: impl Fn(u64) -> bool) {
    for task in crate::reconcile::sorted(plan.state.tasks) {
        if gone(iteration(task)) {
            plan.remove(task, Stop::NewRun);
        }
    }
}

/// The slots of one iteration by what became of them.
#[derive(Default)]
struct Tally {
    done: u64,
    active: u64,
    retry: u64,
    failed: u64,
}

impl Tally {
    fn of(plan: &Plan<'_>, slots: &BTreeMap<SlotKey, Slot<'_>>) -> Self {
        let mut tally = Tally::default();
        for slot in slots.values() {
            match outcome(plan, slot) {
                Outcome::Done => tally.done += 1,
                Outcome::Active => tally.active += 1,
                Outcome::Retry => tally.retry += 1,
                Outcome::Failed(_) => tally.failed += 1,
            }
        }
        tally
    }
}

enum Outcome {
    Done,
    Active,
    Retry,
    Failed(Wait),
}

fn outcome(plan: &Plan<'_>, slot: &Slot<'_>) -> Outcome {
    if slot.tasks.iter().any(|task| task.status.state == TaskState::Complete) {
        return Outcome::Done;
    }
    if !slot.live(TaskState::Complete).is_empty() {
        return Outcome::Active;
    }
    match slot.last(TaskState::Complete).map(|last| restart::verdict(&plan.rules, last)) {
        Some(Err(reason)) => Outcome::Failed(reason),
        _ => Outcome::Retry,
    }
}

/// Brings one iteration a step closer to completion.
fn iterate(plan: &mut Plan<'_>, index: u64, age: Age) {
    let mut slots = plan.slots(|task| iteration(task) == index);
    let context = Context {
        breaker: restart::breaker(plan, &slots),
        unmet: depend::unmet(&plan.state),
        update: None,
        update_paused: false,
        job_iteration: Some(Version { index }),
    };
    let (new, closed, mut room) = match plan.mode {
        Mode::ReplicatedJob { max_concurrent, total } => {
            shed(plan, &mut slots, total);
            let (new, room) = extend(plan, &slots, max_concurrent, total);
            (new, Vec::new(), room)
        }
        _ => {
            let (mut new, closed) = global::spread(plan, &mut slots);
            new.retain(|_| age == Age::Newest);
            (new, closed, u64::MAX)
        }
    };
    for slot in slots.values() {
        if renew(plan, slot) {
            continue;
        }
        match outcome(plan, slot) {
            Outcome::Done => finish(plan, slot),
            Outcome::Failed(reason) => {
                slot::settle_ended(plan, slot);
                plan.wait(&slot.key, reason);
            }
            Outcome::Retry if room == 0 || !is_open(plan, slot, age) => {
                slot::settle_ended(plan, slot);
            }
            Outcome::Retry => {
                room -= 1;
                slot::keep(plan, slot, &Role::Keep, &context);
            }
            Outcome::Active => slot::keep(plan, slot, &Role::Keep, &context),
        }
    }
    for slot in &new {
        slot::fill(plan, slot, &context);
    }
    for slot in &closed {
        match outcome(plan, slot) {
            Outcome::Done => finish(plan, slot),
            _ => slot::rest(plan, slot, &context),
        }
    }
}

/// A task of a run that no node has taken yet, and that is of another spec than the service's, makes way for one of
/// the new spec: the user may have changed what kept it waiting. (Without a schedule a new spec is a new run.)
fn renew(plan: &mut Plan<'_>, slot: &Slot<'_>) -> bool {
    let stale: Vec<&Task> = slot
        .live(TaskState::Complete)
        .into_iter()
        .filter(|task| task.status.state < TaskState::Assigned && plan.is_dirty(task))
        .collect();
    for task in &stale {
        plan.stop(task, Stop::Updated);
    }
    !stale.is_empty()
}

/// The slot is done. A task that waited to replace the one that completed after all is not wanted any more.
fn finish(plan: &mut Plan<'_>, slot: &Slot<'_>) {
    slot::settle_ended(plan, slot);
    for task in slot.live(TaskState::Complete) {
        if task.desired_state < TaskState::Complete {
            plan.stop(task, Stop::Superseded);
        }
    }
}

/// Slots beyond a lowered total go, unless they are done.
fn shed<'a>(plan: &mut Plan<'a>, slots: &mut BTreeMap<SlotKey, Slot<'a>>, total: u64) {
    let tally = Tally::of(plan, slots);
    let open = tally.active + tally.retry;
    let mut surplus = open.saturating_sub(total.saturating_sub(tally.done + tally.failed));
    let keys: Vec<SlotKey> = slots.keys().rev().cloned().collect();
    for key in keys {
        let Some(slot) = slots.get(&key).filter(|_| surplus > 0) else { continue };
        if matches!(outcome(plan, slot), Outcome::Active | Outcome::Retry) {
            surplus -= 1;
            for task in slots.remove(&key).into_iter().flat_map(|slot| slot.tasks) {
                plan.remove(task, Stop::ScaledDown);
            }
        }
    }
}

/// New slots within `max_concurrent`, and how many ended ones may be tried again.
fn extend<'a>(
    plan: &mut Plan<'a>,
    slots: &BTreeMap<SlotKey, Slot<'a>>,
    max_concurrent: u64,
    total: u64,
) -> (Vec<Slot<'a>>, u64) {
    let tally = Tally::of(plan, slots);
    let room = max_concurrent.saturating_sub(tally.active);
    let left = total.saturating_sub(tally.done + tally.failed + tally.active + tally.retry);
    let fresh = room.saturating_sub(tally.retry).min(left);
    if fresh < left {
        plan.wait_all(Wait::JobConcurrency { max_concurrent });
    }
    let numbers = (1..).filter(|slot| !slots.contains_key(&replicated::key(*slot)));
    let fresh = usize::try_from(fresh).unwrap_or(usize::MAX);
    (numbers.take(fresh).map(|slot| Slot::new(replicated::key(slot))).collect(), room)
}
