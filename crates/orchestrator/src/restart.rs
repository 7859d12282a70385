//! The restart policy, its back-off, and the circuit breaker.
//!
//! Each task carries what its successor must know (`TaskRecord`), so the history may be reaped.

use crate::plan::{Plan, Slot, SlotKey};
use crate::policy::{Condition, RestartRules};
use crate::task::{ended_at, ended_itself, is_running, ran_for, settles_at};
use crate::wait::Wait;
use std::collections::BTreeMap;
use types::Timestamp;
use types::swarm::extension::{Cause, TaskRecord};
use types::swarm::task::{Task, TaskState};

/// Whether policy replaces this task, which is not live; else why not.
pub(crate) fn verdict(rules: &RestartRules, last: &Task) -> Result<(), Wait> {
    let record = &last.record;
    match rules.condition {
        Condition::Never => return Err(Wait::RestartsOff),
        Condition::OnFailure if last.status.state == TaskState::Complete => {
            return Err(Wait::Completed);
        }
        _ => {}
    }
    if rules.max_attempts == 0 || !ended_itself(last) {
        return Ok(());
    }
    let used = if rules.window.is_zero() {
        record.restarts
    } else {
        // Counted at the end of the run, as SwarmKit does: time alone does not revive a slot.
        within(rules, &record.recent, ended_at(last)).count() as u64
    };
    if used >= rules.max_attempts {
        return Err(Wait::AttemptsUsed { attempts: rules.max_attempts });
    }
    Ok(())
}

fn within<'r>(
    rules: &RestartRules,
    recent: &'r [Timestamp],
    at: Timestamp,
) -> impl Iterator<Item = &'r Timestamp> {
    let window = rules.window;
    recent.iter().filter(move |restart| at.since(**restart) <= window)
}

/// The record of the task that follows `last` by policy. An eviction is no attempt and waits for nothing.
pub(crate) fn successor(rules: &RestartRules, last: &Task, now: Timestamp) -> TaskRecord {
    let old = &last.record;
    if !ended_itself(last) {
        return TaskRecord {
            cause: Cause::Evicted,
            restarts: old.restarts,
            quick_ends: old.quick_ends,
            recent: old.recent.clone(),
            // Still the update's to watch.
            update: old.update,
            ..TaskRecord::default()
        };
    }
    let mut recent: Vec<Timestamp> = Vec::new();
    if rules.max_attempts > 0 && !rules.window.is_zero() {
        recent.extend(within(rules, &old.recent, now));
        recent.push(now);
        let attempts = usize::try_from(rules.max_attempts).unwrap_or(usize::MAX);
        let surplus = recent.len().saturating_sub(attempts);
        recent.drain(..surplus);
    }
    TaskRecord {
        cause: Cause::Restart,
        restarts: old.restarts + 1,
        quick_ends: quick_ends(rules, last),
        recent,
        ..TaskRecord::default()
    }
}

/// Quick ends in a row, the end of `last` included.
fn quick_ends(rules: &RestartRules, last: &Task) -> u64 {
    if ran_for(last) >= rules.reset_after { 0 } else { last.record.quick_ends + 1 }
}

/// A service whose every slot crash-loops: only `probe` is restarted until it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub probe: SlotKey,
    pub quick_ends: u64,
}

/// Open when some slot reached the threshold and no task has run long enough to prove the spec good. The
/// probe is the lowest slot that waits or tries.
pub(crate) fn breaker(plan: &mut Plan<'_>, slots: &BTreeMap<SlotKey, Slot<'_>>) -> Option<Breaker> {
    let threshold = plan.rules.breaker_threshold;
    let target = plan.mode.target();
    let quick_ends = slots.values().map(|slot| looping(slot, plan)).max().unwrap_or(0);
    if threshold == 0 || quick_ends < threshold {
        return None;
    }
    let mut proves_at: Option<Timestamp> = None;
    for task in slots.values().flat_map(|slot| slot.live(target)).filter(|task| is_running(task)) {
        let until = settles_at(task, plan.rules.reset_after, plan.now)?;
        proves_at = Some(proves_at.map_or(until, |at| at.min(until)));
    }
    if let Some(at) = proves_at {
        plan.wake(at);
    }
    let loops = || slots.values().filter(|slot| looping(slot, plan) > 0);
    let started = |slot: &Slot<'_>, placed: bool| {
        let mut live = slot.live(target).into_iter().filter(|task| task.desired_state == target);
        live.any(|task| !placed || task.status.err.is_empty())
    };
    // A try that finds no node proves nothing: another slot is tried.
    let trying = loops().find(|slot| started(slot, true));
    let probe = trying.or_else(|| loops().find(|slot| !started(slot, false)))?;
    Some(Breaker { probe: probe.key.clone(), quick_ends })
}

fn looping(slot: &Slot<'_>, plan: &Plan<'_>) -> u64 {
    let Some(last) = slot.last(plan.mode.target()) else { return 0 };
    if plan.is_dirty(last) {
        return 0;
    }
    if ended_itself(last) { quick_ends(&plan.rules, last) } else { last.record.quick_ends }
}
