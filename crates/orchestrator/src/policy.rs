//! Docker's loosely filled specs read once, with every default in one place.

use std::time::Duration;
use types::Timestamp;
use types::container::Nanos;
use types::swarm::cluster::ClusterSpec;
use types::swarm::extension::{Backoff, Capacity, ServiceExtensions};
use types::swarm::service::{Service, ServiceSpec, UpdateConfig};
use types::swarm::task::{RestartPolicy, TaskState};

/// Docker's.
pub const DEFAULT_HISTORY_LIMIT: i64 = 5;
/// Docker's, for restarts and for the monitor.
const FIVE_SECONDS: Duration = Duration::from_secs(5);
/// Heartbeats come every 5 s: three more may be lost before tasks move.
const DOWN_GRACE: Duration = Duration::from_secs(15);
/// SwarmKit's.
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Doubling from 5 s reaches it at the eleventh quick end: a broken service asks little of its nodes.
const MAX_LAUNCH_DELAY: Duration = Duration::from_secs(300);
const RESET_AFTER: Duration = Duration::from_secs(60);
const BREAKER_THRESHOLD: u64 = 5;
/// So many ends in a row have Docker's plain delay, unless the user asks for a back-off of another shape: a task that
/// somebody kills a few times is no crash loop, and with a delay of 0 is back at once.
const LEVEL_ENDS: u64 = BREAKER_THRESHOLD;
/// With a delay of 0 growth needs somewhere to start.
const LEAST_GROWING_DELAY: Duration = Duration::from_secs(1);

/// What holds for every service unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// Tasks kept per slot, the living included; negative keeps all.
    pub history_limit: i64,
    /// How long a down node keeps its tasks.
    pub down_grace: Duration,
    /// After how long on a down node a task is given up.
    pub orphan_after: Duration,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults {
            history_limit: DEFAULT_HISTORY_LIMIT,
            down_grace: DOWN_GRACE,
            orphan_after: ORPHAN_AFTER,
        }
    }
}

impl Defaults {
    /// As the cluster's spec has them.
    pub fn of(cluster: &ClusterSpec) -> Self {
        let limit = cluster.orchestration.task_history_retention_limit;
        Defaults { history_limit: limit.unwrap_or(DEFAULT_HISTORY_LIMIT), ..Defaults::default() }
    }
}

/// Negative durations, which the API refuses, read as 0.
pub(crate) fn duration(nanos: Nanos) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// When `wait` after `start` is over: `None` if it is by `now`. A clock that went back by more than `wait`
/// blocks nothing: a wait never lasts longer than twice its length.
pub(crate) fn pending_until(start: Timestamp, wait: Duration, now: Timestamp) -> Option<Timestamp> {
    let until = start.after(wait);
    (!start.is_zero() && now < until && start.since(now) <= wait).then_some(until)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Replicated { replicas: u64 },
    Global,
    ReplicatedJob { max_concurrent: u64, total: u64 },
    GlobalJob,
}

impl Mode {
    pub(crate) fn of(spec: &ServiceSpec) -> Self {
        let mode = &spec.mode;
        if let Some(job) = &mode.replicated_job {
            let max_concurrent = job.max_concurrent.unwrap_or(1);
            let total = job.total_completions.unwrap_or(max_concurrent);
            return Mode::ReplicatedJob { max_concurrent, total };
        }
        if mode.global_job.is_some() {
            return Mode::GlobalJob;
        }
        if mode.global.is_some() {
            return Mode::Global;
        }
        let replicas = mode.replicated.as_ref().and_then(|replicated| replicated.replicas);
        Mode::Replicated { replicas: replicas.unwrap_or(1) }
    }
    pub(crate) fn is_job(self) -> bool {
        matches!(self, Mode::ReplicatedJob { .. } | Mode::GlobalJob)
    }
    pub(crate) fn is_global(self) -> bool {
        matches!(self, Mode::Global | Mode::GlobalJob)
    }
    /// The desired state of a task that may run.
    pub(crate) fn target(self) -> TaskState {
        if self.is_job() { TaskState::Complete } else { TaskState::Running }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Any,
    OnFailure,
    Never,
}

/// The restart policy with its back-off.
#[derive(Debug, Clone)]
pub(crate) struct RestartRules {
    pub condition: Condition,
    pub delay: Duration,
    /// 0 is without end.
    pub max_attempts: u64,
    /// Zero counts all attempts.
    pub window: Duration,
    factor: f64,
    /// Quick ends in a row that are followed by the delay as it is written; it grows from there on.
    level: u64,
    max_delay: Duration,
    pub reset_after: Duration,
    /// 0 turns the breaker off.
    pub breaker_threshold: u64,
}

impl RestartRules {
    pub(crate) fn of(spec: &ServiceSpec, mode: Mode) -> Self {
        let default = RestartPolicy::default();
        let policy = spec.task_template.restart_policy.as_ref().unwrap_or(&default);
        let default = Backoff::default();
        let wished = spec.sampan.as_ref().and_then(|wish| wish.backoff.as_ref());
        let backoff = wished.unwrap_or(&default);
        let condition = match policy.condition.as_str() {
            "none" => Condition::Never,
            "on-failure" => Condition::OnFailure,
            // A job's task that completed is done, whatever the policy.
            _ if mode.is_job() => Condition::OnFailure,
            _ => Condition::Any,
        };
        RestartRules {
            condition,
            delay: policy.delay.map_or(FIVE_SECONDS, duration),
            max_attempts: policy.max_attempts.unwrap_or(0),
            window: policy.window.map_or(Duration::ZERO, duration),
            factor: backoff.factor.unwrap_or(2.0).max(1.0),
            level: if wished.is_some() { 1 } else { LEVEL_ENDS },
            max_delay: backoff.max_launch_delay.map_or(MAX_LAUNCH_DELAY, duration),
            reset_after: backoff.reset_after.map_or(RESET_AFTER, duration),
            breaker_threshold: backoff.breaker_threshold.unwrap_or(BREAKER_THRESHOLD),
        }
    }

    /// How long a task waits that follows `quick_ends` quick ends in a row: the policy's delay at
    /// first, then growing. A delay longer than the ceiling is the user's own.
    pub(crate) fn delay_after(&self, quick_ends: u64) -> Duration {
        let growth = i32::try_from(quick_ends.saturating_sub(self.level)).unwrap_or(i32::MAX);
        if growth == 0 || self.factor <= 1.0 {
            return self.delay;
        }
        let base = self.delay.max(LEAST_GROWING_DELAY).as_secs_f64();
        let ceiling = self.max_delay.max(self.delay);
        let grown = base * self.factor.powi(growth);
        if grown >= ceiling.as_secs_f64() { ceiling } else { Duration::from_secs_f64(grown) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureAction {
    Pause,
    Continue,
    RollBack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    StopFirst,
    StartFirst,
}

/// How an update or a rollback goes about.
#[derive(Debug, Clone)]
pub(crate) struct UpdateRules {
    /// `u64::MAX` when all slots change at once.
    pub parallelism: u64,
    pub delay: Duration,
    pub monitor: Duration,
    pub max_failure_ratio: f64,
    pub failure_action: FailureAction,
    pub order: Order,
}

impl UpdateRules {
    /// Docker's defaults, when there is no configuration at all: one at a time.
    pub(crate) fn of(config: Option<&UpdateConfig>) -> Self {
        let default = UpdateConfig { parallelism: 1, ..UpdateConfig::default() };
        let config = config.unwrap_or(&default);
        UpdateRules {
            parallelism: if config.parallelism == 0 { u64::MAX } else { config.parallelism },
            delay: duration(config.delay),
            monitor: if config.monitor == 0 { FIVE_SECONDS } else { duration(config.monitor) },
            max_failure_ratio: config.max_failure_ratio,
            failure_action: match config.failure_action.as_str() {
                "continue" => FailureAction::Continue,
                "rollback" => FailureAction::RollBack,
                _ => FailureAction::Pause,
            },
            order: match config.order.as_str() {
                "start-first" => Order::StartFirst,
                _ => Order::StopFirst,
            },
        }
    }
}

/// Marathon's capacities as counts for a number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// As many slots must run.
    pub minimum: u64,
    /// As many tasks may run beyond the replicas.
    pub over: u64,
}

impl Bounds {
    /// When neither bound leaves room to move, one task more than the replicas may run.
    pub(crate) fn of(capacity: Capacity, replicas: u64) -> Self {
        let share = |share: f64| share.clamp(0.0, 1.0) * replicas as f64;
        let minimum = share(capacity.minimum_health).ceil() as u64;
        let over = share(capacity.maximum_over).floor() as u64;
        let stuck = minimum >= replicas && over == 0;
        Bounds { minimum, over: if stuck { 1 } else { over } }
    }
}

/// The extensions of a service, or none of them.
pub(crate) fn extensions(service: &Service) -> ServiceExtensions {
    service.spec.sampan.clone().unwrap_or_default()
}
