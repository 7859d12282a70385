//! Health checks as a machine: probe results in, status and the next probe's delay out.
//!
//! ```text
//!  starting ──success──► healthy ◄──success── unhealthy
//!     └──retries failures after the start period──►┘▲
//!                     healthy ──retries failures────┘
//! ```

use std::time::Duration;
use types::Timestamp;
use types::container::HealthConfig;

/// Docker's defaults where the configuration has 0.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;

/// How to probe, with defaults filled in. `None` from [`Probe::new`] means "no health check".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The command; a `CMD-SHELL` line still needs the image's shell in front.
    pub command: Vec<String>,
    /// The command is one line for a shell.
    pub shell: bool,
    pub timeout: Duration,
    interval: Duration,
    start_interval: Duration,
    start_period: Duration,
    retries: i64,
}

/// One probe's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    Success,
    Failure,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HealthStatus {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// Docker's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// What the probes said so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vitals {
    pub status: HealthStatus,
    pub failing_streak: i64,
}

impl Probe {
    /// `None` when there is no test, or it is `NONE`.
    pub fn new(config: &HealthConfig) -> Option<Probe> {
        let (kind, rest) = config.test.split_first()?;
        let shell = match kind.as_str() {
            "CMD" => false,
            "CMD-SHELL" => true,
            _ => return None,
        };
        let or = |nanos: i64, default: Duration| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Some(Probe {
            command: rest.to_vec(),
            shell,
            timeout: or(config.timeout, TIMEOUT),
            interval: or(config.interval, INTERVAL),
            start_interval: or(config.start_interval, START_INTERVAL),
            start_period: or(config.start_period, Duration::ZERO),
            retries: if config.retries > 0 { config.retries } else { RETRIES },
        })
    }

    /// How long to wait before the next probe.
    pub fn delay(&self, vitals: &Vitals, started_at: Timestamp, now: Timestamp) -> Duration {
        let in_start =
            vitals.status == HealthStatus::Starting && now.since(started_at) < self.start_period;
        if in_start { self.start_interval } else { self.interval }
    }

    /// The vitals after a probe that began at `began`.
    pub fn judge(
        &self,
        before: Vitals,
        outcome: ProbeOutcome,
        started_at: Timestamp,
        began: Timestamp,
    ) -> Vitals {
        if outcome == ProbeOutcome::Success {
            return Vitals { status: HealthStatus::Healthy, failing_streak: 0 };
        }
        let in_start =
            before.status == HealthStatus::Starting && began.since(started_at) < self.start_period;
        if in_start {
            return before;
        }
        let failing_streak = before.failing_streak + 1;
        let status =
            if failing_streak >= self.retries { HealthStatus::Unhealthy } else { before.status };
        Vitals { status, failing_streak }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(start_period_s: i64, retries: i64) -> Probe {
        Probe::new(&HealthConfig {
            test: vec!["CMD".into(), "true".into()],
            start_period: start_period_s * 1_000_000_000,
            retries,
            ..HealthConfig::default()
        })
        .unwrap()
    }
    fn at(second: i64) -> Timestamp {
        Timestamp::from_seconds(1000 + second)
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_and_probes_are_denser_there() {
        let probe = probe(10, 2);
        let fresh = Vitals::default();
        assert_eq!(probe.judge(fresh, ProbeOutcome::Failure, at(0), at(9)), fresh);
        assert_eq!(probe.delay(&fresh, at(0), at(9)), START_INTERVAL);
        assert_eq!(probe.delay(&fresh, at(0), at(10)), INTERVAL);
    }

    #[test]
    fn retries_failures_in_a_row_make_unhealthy_and_one_success_heals() {
        let probe = probe(0, 2);
        let once = probe.judge(Vitals::default(), ProbeOutcome::Failure, at(0), at(1));
        assert_eq!(once, Vitals { status: HealthStatus::Starting, failing_streak: 1 });
        let twice = probe.judge(once, ProbeOutcome::Failure, at(0), at(2));
        assert_eq!(twice.status, HealthStatus::Unhealthy);
        let healed = probe.judge(twice, ProbeOutcome::Success, at(0), at(3));
        assert_eq!(healed, Vitals { status: HealthStatus::Healthy, failing_streak: 0 });
    }

    #[test]
    fn none_and_an_empty_test_mean_no_health_check() {
        let with = |test: &[&str]| HealthConfig {
            test: test.iter().map(|word| (*word).to_owned()).collect(),
            ..HealthConfig::default()
        };
        assert_eq!(Probe::new(&with(&["NONE"])), None);
        assert_eq!(Probe::new(&with(&[])), None);
        assert!(Probe::new(&with(&["CMD-SHELL", "curl -f localhost"])).unwrap().shell);
    }
}
