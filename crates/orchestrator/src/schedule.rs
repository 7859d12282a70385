//! Cron: when the runs of a job are due. Pure: the zone data are in the binary, the time is an argument.

use crate::action::Action;
use crate::plan::Plan;
use crate::policy::duration;
use crate::wait::Wait;
use croner::Cron;
use croner::errors::CronError;
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use types::Timestamp;
use types::swarm::extension::{Overlap, Schedule};

/// A schedule that never runs anything; the API refuses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("invalid cron expression {cron:?}: {reason}")]
    Expression { cron: String, reason: String },
    #[error("unknown time zone {0:?}")]
    TimeZone(String),
    #[error("cron expression {cron:?} has no time after {after}")]
    Never { cron: String, after: Timestamp },
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// A new run begins; with `Overlap::Replace` it ends the one before.
    Run,
}

/// Checks a schedule without running it.
pub fn check(schedule: &Schedule) -> Result<(), ScheduleError> {
    parse(schedule).map(drop)
}

/// The first time of the schedule after `after`.
pub fn next_run(schedule: &Schedule, after: Timestamp) -> Result<Timestamp, ScheduleError> {
    let (cron, zone) = parse(schedule)?;
    let found = cron.find_next_occurrence(&zoned(after, zone), false);
    found.map(stamp).map_err(|_: CronError| never(schedule, after))
}

/// The last time of the schedule at or before `now`.
fn last_run(schedule: &Schedule, now: Timestamp) -> Result<Timestamp, ScheduleError> {
    let (cron, zone) = parse(schedule)?;
    let found = cron.find_previous_occurrence(&zoned(now, zone), true);
    found.map(stamp).map_err(|_: CronError| never(schedule, now))
}

/// Whether a run is due; writes down which time was used or skipped. Several missed times are one run.
pub(crate) fn due(plan: &mut Plan<'_>, schedule: &Schedule, busy: bool) -> Due {
    let (now, record) = (plan.now, plan.record.clone());
    if record.last_fire.is_zero() {
        plan.act(Action::SetSchedule { last_fire: now, skipped: record.skipped });
    }
    match next_run(schedule, now) {
        Ok(at) => {
            plan.wake(at);
            plan.wait_all(Wait::NextRun { at });
        }
        Err(err) => plan.wait_all(Wait::BadSchedule { message: err.to_string() }),
    }
    let Ok(last) = last_run(schedule, now) else { return Due::Nothing };
    if record.last_fire.is_zero() || last <= record.last_fire {
        return Due::Nothing;
    }
    let late = schedule.starting_deadline.is_some_and(|limit| now.since(last) > duration(limit));
    if late || (busy && schedule.overlap == Overlap::Forbid) {
        plan.act(Action::SetSchedule { last_fire: last, skipped: record.skipped + 1 });
        return Due::Nothing;
    }
    plan.act(Action::SetSchedule { last_fire: last, skipped: record.skipped });
    Due::Run
}

fn parse(schedule: &Schedule) -> Result<(Cron, TimeZone), ScheduleError> {
    let cron = schedule.cron.parse().map_err(|err: CronError| ScheduleError::Expression {
        cron: schedule.cron.clone(),
        reason: err.to_string(),
    })?;
    let name = schedule.time_zone.as_str();
    if name.is_empty() || name == "UTC" {
        return Ok((cron, TimeZone::UTC));
    }
    let zone = TimeZoneDatabase::bundled().get(name);
    Ok((cron, zone.map_err(|_| ScheduleError::TimeZone(name.to_owned()))?))
}

fn never(schedule: &Schedule, after: Timestamp) -> ScheduleError {
    ScheduleError::Never { cron: schedule.cron.clone(), after }
}

fn zoned(at: Timestamp, zone: TimeZone) -> Zoned {
    let at = jiff::Timestamp::from_nanosecond(i128::from(at.0));
    at.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_zoned(zone)
}

fn stamp(at: Zoned) -> Timestamp {
    Timestamp(i64::try_from(at.timestamp().as_nanosecond()).unwrap_or(i64::MAX))
}
