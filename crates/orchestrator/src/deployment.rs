//! What came of a service's changes, kept on the service: when each began, how it ended, and why.
//!
//! ```text
//! running ─► completed
//!    │  └──► superseded       another deployment came before its end
//!    ├─────► paused           too many tasks failed
//!    └─► rolling_back ─► rolled_back | rollback_paused
//! ```
//! An update opens its record when it begins. A deployment of a stack opens it when its spec is accepted, because not
//! everything that it changes is an update: a new service, or one of more replicas, has converged when all its tasks
//! have run for as long as an update would watch them.

use crate::action::{Action, Because};
use crate::plan::Plan;
use crate::policy::UpdateRules;
use crate::progress::progress;
use crate::task::{is_running, settles_at};
use crate::update::UpdateState;
use types::Timestamp;
use types::swarm::extension::{DEPLOYMENT_LABEL, Deployment, DeploymentState, ServiceRecord};
use types::swarm::service::{Service, ServiceSpec, UpdateStatus};
use types::swarm::task::TaskState;

/// Records that a service keeps, the newest.
const KEPT: usize = 10;

/// Which deployment of its stack last changed the spec; 0 if none did.
fn number(spec: &ServiceSpec) -> u64 {
    spec.labels.get(DEPLOYMENT_LABEL).and_then(|label| label.parse().ok()).unwrap_or(0)
}

/// Opens a record when the spec that was just accepted belongs to another deployment of its stack than the one `before`. One
/// without a number, as docker's client sends it, ends what goes on; its own record begins with its update.
pub fn note_deployment(service: &mut Service, before: Option<&ServiceSpec>, now: Timestamp) {
    let number = number(&service.spec);
    if before.map_or(0, self::number) == number {
        return;
    }
    if number != 0 {
        begin(service.record.get_or_insert_default(), number, DeploymentState::Running, "", now);
    } else if let Some(open) = service.record.as_mut().and_then(open) {
        end(open, DeploymentState::Superseded, None, now);
    }
}

/// Opens the record of a rollback that a user asked for.
pub(crate) fn begin_rollback(
    record: &mut ServiceRecord,
    from: &ServiceSpec,
    reason: &str,
    now: Timestamp,
) {
    begin(record, number(from), DeploymentState::RollingBack, reason, now);
}

fn begin(
    record: &mut ServiceRecord,
    number: u64,
    state: DeploymentState,
    reason: &str,
    now: Timestamp,
) {
    if let Some(open) = open(record) {
        end(open, DeploymentState::Superseded, None, now);
    }
    record.deployments.push(Deployment {
        number,
        started_at: now,
        ended_at: None,
        state,
        reason: reason.to_owned(),
    });
    let surplus = record.deployments.len().saturating_sub(KEPT);
    record.deployments.drain(..surplus);
}

fn open(record: &mut ServiceRecord) -> Option<&mut Deployment> {
    record.deployments.last_mut().filter(|last| last.ended_at.is_none())
}

fn end(open: &mut Deployment, state: DeploymentState, reason: Option<&str>, at: Timestamp) {
    open.state = state;
    open.ended_at = Some(at);
    if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
        reason.clone_into(&mut open.reason);
    }
}

/// Follows an update's status. An update that no deployment of a stack began has no number.
pub(crate) fn follow(record: &mut ServiceRecord, status: &UpdateStatus, because: &Because) {
    let is = |state: UpdateState| status.state == state.as_str();
    let anew = is(UpdateState::Updating);
    let goes_on = |open: &mut Deployment| !anew || open.state == DeploymentState::Running;
    if !open(record).is_some_and(goes_on) {
        begin(record, 0, DeploymentState::Running, "", because.at);
    }
    let Some(open) = open(record) else { return };
    let reason = Some(because.reason.as_str());
    if is(UpdateState::RollbackStarted) {
        open.state = DeploymentState::RollingBack;
        because.reason.clone_into(&mut open.reason);
    } else if is(UpdateState::Completed) {
        end(open, DeploymentState::Completed, None, because.at);
    } else if is(UpdateState::Paused) {
        end(open, DeploymentState::Paused, reason, because.at);
    } else if is(UpdateState::RollbackCompleted) {
        end(open, DeploymentState::RolledBack, None, because.at);
    } else if is(UpdateState::RollbackPaused) {
        end(open, DeploymentState::RollbackPaused, reason, because.at);
    }
}

/// Closes the record of a deployment that needed no update.
pub(crate) fn converged(record: &mut ServiceRecord, at: Timestamp) {
    if let Some(open) = open(record) {
        end(open, DeploymentState::Completed, None, at);
    }
}

/// Ends a deployment that needs no update once the service is as it should be, and has been for long enough.
pub(crate) fn watch(plan: &mut Plan<'_>) {
    let state = plan.state;
    let newest = plan.record.deployments.last();
    let runs = newest.is_some_and(|it| it.state == DeploymentState::Running);
    let updates = UpdateState::of(state.service)
        .is_some_and(|it| matches!(it, UpdateState::Updating | UpdateState::RollbackStarted));
    // What is about to be done comes first.
    if !runs || updates || !plan.decision.actions.is_empty() {
        return;
    }
    let is_scheduled = plan.wishes.schedule.is_some();
    if !is_scheduled && !progress(state.service, state.tasks).converged {
        return;
    }
    let monitor = UpdateRules::of(state.service.spec.update_config.as_ref()).monitor;
    let watched = state.tasks.iter().filter(|task| {
        !plan.mode.is_job() && task.desired_state <= TaskState::Running && is_running(task)
    });
    match watched.filter_map(|task| settles_at(task, monitor, plan.now)).max() {
        Some(until) => plan.wake(until),
        None => plan.act(Action::Converged { at: plan.now }),
    }
}
