//! When to look at which service again.

use std::collections::{BTreeMap, BTreeSet};
use types::{ServiceId, Timestamp};

/// One time for each service that has one.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<ServiceId, Timestamp>,
    queue: BTreeSet<(Timestamp, ServiceId)>,
}

impl Timers {
    /// The service's next time, in place of the one before.
    pub(crate) fn set(&mut self, service: &ServiceId, at: Option<Timestamp>) {
        if let Some(before) = self.at.remove(service) {
            self.queue.remove(&(before, service.clone()));
        }
        if let Some(at) = at {
            self.at.insert(service.clone(), at);
            self.queue.insert((at, service.clone()));
        }
    }

    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out the services whose time has come.
    pub(crate) fn due(&mut self, now: Timestamp) -> Vec<ServiceId> {
        let mut due = Vec::new();
        while let Some((at, service)) = self.queue.first().cloned().filter(|(at, _)| *at <= now) {
            self.queue.remove(&(at, service.clone()));
            self.at.remove(&service);
            due.push(service);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_wakes_once_at_its_newest_time() {
        let mut timers = Timers::default();
        let (a, b) = (ServiceId::new("a"), ServiceId::new("b"));
        timers.set(&a, Some(Timestamp(5)));
        timers.set(&a, Some(Timestamp(9)));
        timers.set(&b, Some(Timestamp(7)));
        assert_eq!(timers.first(), Some(Timestamp(7)));
        assert_eq!(timers.due(Timestamp(8)), vec![b]);
        assert_eq!(timers.due(Timestamp(9)), vec![a.clone()]);
        assert_eq!(timers.first(), None);
        timers.set(&a, Some(Timestamp(1)));
        timers.set(&a, None);
        assert_eq!(timers.due(Timestamp(9)), vec![]);
    }
}
