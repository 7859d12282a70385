//! One connection per peer, shared; made when it is needed, made again when it was lost.
//!
//! ```text
//! idle ──call──► dialling (callers share the attempt, which goes on without them) ──► live ──lost──► idle
//!   ▲                                  │
//!   └── resting: calls fail at once ◄──┘ failed: 0.1 s, doubling to 0.5 s
//! ```

use super::connection::Connection;
use super::dial::Dialler;
use crate::Error;
use crate::cut::Tasks;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use types::NodeId;

/// How long a peer that could not be reached is left alone. Well below a second: raft elects within two, and who was cut off
/// must be heard again within a moment.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_millis(500);

type Key = (String, Option<NodeId>);
type Attempt = watch::Receiver<Option<Result<Connection, Error>>>;

#[derive(Default)]
pub(super) struct Pool(Arc<Mutex<HashMap<Key, Slot>>>);

/// What is known of a peer.
struct Slot {
    attempt: Attempt,
    /// Attempts in a row that failed before this one.
    failures: u32,
    /// When this attempt ended, if it failed: calls until then fail as it did.
    rest_until: Option<Instant>,
}

impl Pool {
    /// The connection to `addr`; waits while it is dialled.
    pub(super) async fn get(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        dialler: &Dialler,
        tasks: &Tasks,
    ) -> Result<Connection, Error> {
        let mut attempt = self.attempt(addr, expect, dialler, tasks);
        let done = attempt.wait_for(Option::is_some).await;
        match done.as_deref() {
            Ok(Some(result)) => result.clone(),
            // The task that dialled was cut.
            _ => Err(Error::unavailable("this node closes its connections to the cluster")),
        }
    }

    /// Forgets every peer.
    pub(super) fn forget(&self) {
        self.slots().clear();
    }

    /// The attempt to wait for: the last one if it is of use, else a new one.
    fn attempt(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        dialler: &Dialler,
        tasks: &Tasks,
    ) -> Attempt {
        let key = (addr.to_owned(), expect.cloned());
        let mut slots = self.slots();
        let failures = match slots.get(&key) {
            Some(slot) if slot.is_of_use() => return slot.attempt.clone(),
            Some(slot) => slot.failures,
            None => 0,
        };
        let (result, attempt) = watch::channel(None);
        slots.insert(key.clone(), Slot { attempt: attempt.clone(), failures, rest_until: None });
        let (dialler, own, slots) = (dialler.clone(), tasks.clone(), Arc::downgrade(&self.0));
        tasks.spawn(async move {
            let dialled = dialler.grpc(&key.0, key.1.as_ref(), &own).await;
            let failed = dialled.is_err();
            // In this order: whoever sees the failure finds the rest.
            if let Some(slots) = slots.upgrade() {
                let mut slots = slots.lock().unwrap_or_else(PoisonError::into_inner);
                let slot = slots
                    .get_mut(&key)
                    .filter(|slot| slot.attempt.same_channel(&result.subscribe()));
                if let Some(slot) = slot {
                    slot.ended(failed);
                }
            }
            result.send_replace(Some(dialled));
        });
        attempt
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn is_of_use(&self) -> bool {
        match &*self.attempt.borrow() {
            Some(Ok(connection)) => connection.is_alive(),
            Some(Err(_)) => self.rest_until.is_some_and(|until| Instant::now() < until),
            // Under way, unless its task was cut.
            None => self.attempt.has_changed().is_ok(),
        }
    }

    fn ended(&mut self, failed: bool) {
        if !failed {
            self.failures = 0;
            return;
        }
        let rest = FIRST_REST.saturating_mul(1 << self.failures.min(8)).min(LONGEST_REST);
        self.failures += 1;
        // Peers that lost the same node must not all come back at the same moment.
        self.rest_until = Some(Instant::now() + rest.mul_f64(0.5 + 0.5 * rand::random::<f64>()));
    }
}
