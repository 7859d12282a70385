//! Restart policies as Docker has them, with exponential back-off for crash loops.

use std::time::Duration;
use types::container::RestartPolicy;

/// moby's `restartmanager`: the first delay, the ceiling, and how long a run must last to be forgiven.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

/// A checked restart policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    No,
    Always,
    UnlessStopped,
    /// At most this many times; 0 is without end.
    OnFailure {
        attempts: i64,
    },
}

/// How and after what a container ended.
#[derive(Debug, Clone, Copy)]
pub struct Exit {
    pub exit_code: i64,
    /// The user stopped or killed it.
    pub stopped_by_user: bool,
    pub ran_for: Duration,
    /// Restarts made by the policy so far.
    pub restarts: i64,
}

/// What to do with a container that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Stay,
    StartAfter(Duration),
}

/// The delay before the next restart; kept by the monitor between exits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff(Option<Duration>);

impl Restart {
    /// Checks a policy; the error is dockerd's sentence.
    pub fn parse(policy: &RestartPolicy) -> Result<Self, String> {
        let attempts = policy.maximum_retry_count;
        let named = match policy.name.as_str() {
            "" | "no" => Restart::No,
            "always" => Restart::Always,
            "unless-stopped" => Restart::UnlessStopped,
            "on-failure" if attempts < 0 => {
                return Err(
                    "invalid restart policy: maximum retry count cannot be negative".to_owned()
                );
            }
            "on-failure" => return Ok(Restart::OnFailure { attempts }),
            unknown => {
                return Err(format!(
                    "invalid restart policy: unknown policy '{unknown}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                ));
            }
        };
        match attempts {
            0 => Ok(named),
            ..0 => Err("invalid restart policy: maximum retry count can only be used with 'on-failure' and cannot be negative".to_owned()),
            _ => Err("invalid restart policy: maximum retry count can only be used with 'on-failure'".to_owned()),
        }
    }

    /// After an exit that the daemon saw.
    pub fn after_exit(self, exit: &Exit, backoff: &mut Backoff) -> Verdict {
        if exit.stopped_by_user || !self.wants(exit) {
            return Verdict::Stay;
        }
        Verdict::StartAfter(backoff.next(exit.ran_for))
    }

    /// When the daemon starts and finds the container ended: `always` overrides the user's stop.
    pub fn at_daemon_start(self, exit: &Exit) -> Verdict {
        let kept_down = exit.stopped_by_user && self != Restart::Always;
        if kept_down || !self.wants(exit) {
            Verdict::Stay
        } else {
            Verdict::StartAfter(Duration::ZERO)
        }
    }

    fn wants(self, exit: &Exit) -> bool {
        match self {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { attempts } => {
                exit.exit_code != 0 && (attempts == 0 || exit.restarts < attempts)
            }
        }
    }
}

impl Backoff {
    fn next(&mut self, ran_for: Duration) -> Duration {
        let delay = match self.0 {
            Some(last) if ran_for < FORGIVEN_AFTER => (last * 2).min(LONGEST_DELAY),
            _ => FIRST_DELAY,
        };
        self.0 = Some(delay);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, count: i64) -> Result<Restart, String> {
        Restart::parse(&RestartPolicy { name: name.to_owned(), maximum_retry_count: count })
    }
    fn exit(exit_code: i64, restarts: i64) -> Exit {
        Exit { exit_code, stopped_by_user: false, ran_for: Duration::ZERO, restarts }
    }
    fn after(restart: Restart, exit: &Exit) -> Verdict {
        restart.after_exit(exit, &mut Backoff::default())
    }

    #[test]
    fn a_crash_loop_backs_off_to_a_minute_and_a_long_run_is_forgiven() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..12).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[11], 60_000);
        assert_eq!(backoff.next(Duration::from_secs(10)), FIRST_DELAY);
    }

    #[test]
    fn on_failure_counts_its_attempts_and_leaves_a_success_alone() {
        let restart = policy("on-failure", 2).unwrap();
        assert_eq!(after(restart, &exit(1, 1)), Verdict::StartAfter(FIRST_DELAY));
        assert_eq!(after(restart, &exit(1, 2)), Verdict::Stay);
        assert_eq!(after(restart, &exit(0, 0)), Verdict::Stay);
    }

    #[test]
    fn a_stop_by_the_user_holds_until_the_daemon_restarts_unless_the_policy_is_always() {
        let stopped = Exit { stopped_by_user: true, ..exit(137, 0) };
        assert_eq!(after(Restart::Always, &stopped), Verdict::Stay);
        assert_eq!(Restart::Always.at_daemon_start(&stopped), Verdict::StartAfter(Duration::ZERO));
        assert_eq!(Restart::UnlessStopped.at_daemon_start(&stopped), Verdict::Stay);
    }

    #[test]
    fn wrong_policies_are_refused_in_dockers_words() {
        assert!(policy("sometimes", 0).unwrap_err().contains("unknown policy 'sometimes'"));
        assert!(policy("always", 3).unwrap_err().contains("can only be used with 'on-failure'"));
    }
}
