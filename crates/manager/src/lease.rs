//! Who is up: heartbeats against leases. Pure; times are durations since the manager began to count.

use orchestrator::Defaults;
use std::collections::BTreeMap;
use std::time::Duration;
use types::NodeId;
use types::swarm::cluster::ClusterSpec;

/// Docker's, when the cluster's spec has none.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(5);
/// A cluster that asks for less would spend its time beating.
const SHORTEST_BEAT: Duration = Duration::from_millis(100);
/// Agents beat so often within the period that the cluster's spec names.
const BEATS: u32 = 5;

/// What the cluster's heartbeat period means: a node that was silent for all of it loses its tasks. It counts as
/// down one beat before that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    /// Between an agent's beats, at most.
    pub beat: Duration,
    /// A node that was silent this long is down.
    pub lease: Duration,
    /// How long a node that is down keeps its tasks.
    pub down_grace: Duration,
}

impl Periods {
    /// As the cluster has it.
    pub fn of(spec: &ClusterSpec) -> Periods {
        let nanos = u64::try_from(spec.dispatcher.heartbeat_period).unwrap_or(0);
        let period = if nanos == 0 { HEARTBEAT_PERIOD } else { Duration::from_nanos(nanos) };
        let beat = (period / BEATS).max(SHORTEST_BEAT);
        let grace = Defaults::default().down_grace.min(beat);
        Periods { beat, lease: beat * (BEATS - 1), down_grace: grace }
    }
}

/// When each node was last heard.
#[derive(Debug, Clone)]
pub struct Leases {
    heard: BTreeMap<NodeId, Duration>,
    /// Nobody expires before: agents must have had the time to turn up.
    not_before: Duration,
    looked: Duration,
}

impl Leases {
    /// A manager that begins to lead at `now` gives everyone a whole lease and one beat more.
    pub fn new(now: Duration, periods: Periods) -> Leases {
        Leases {
            heard: BTreeMap::new(),
            not_before: now + periods.lease + periods.beat,
            looked: now,
        }
    }

    pub fn hear(&mut self, node: &NodeId, now: Duration) {
        self.heard.insert(node.clone(), now);
    }

    pub fn forget(&mut self, node: &NodeId) {
        self.heard.remove(node);
    }

    /// Which of `nodes` were silent for a whole lease. To be asked every beat or so: who asks much later was asleep
    /// itself and could hear nobody, so that everyone gets another lease.
    pub fn expired<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a NodeId>,
        now: Duration,
        periods: Periods,
    ) -> Vec<NodeId> {
        if now.saturating_sub(self.looked) > periods.beat * 2 {
            self.not_before = self.not_before.max(now + periods.lease);
        }
        self.looked = now;
        if now < self.not_before {
            return Vec::new();
        }
        let silent = |node: &&NodeId| {
            let heard = self.heard.get(*node).copied().unwrap_or(Duration::ZERO);
            now.saturating_sub(heard) > periods.lease
        };
        nodes.filter(silent).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
