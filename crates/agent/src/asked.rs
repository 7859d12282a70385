//! When other nodes, or a registry, are asked what a tag means now that an image is here under it. Decides; asks nobody.
//!
//! A service asks once, and once more for each forced update: its next tasks, and those that replace them, run what
//! the first one was told. What was asked a moment ago for another service is not asked again.

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How long an answer holds for services that begin at the same time.
const FRESH: Duration = Duration::from_secs(2);

/// Whether to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It was asked; the answer may still be on its way.
    Nobody,
    /// Whether another node was given a newer image of that name.
    Nodes,
    /// The update was forced: the registry, too.
    Registry,
}

/// What was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// By service and image the forced update for which it was.
    services: BTreeMap<(String, String), u64>,
    /// By image when the nodes were.
    nodes: BTreeMap<String, Instant>,
}

impl Asked {
    /// Decides for a task of the service, whose update was forced so often, and takes it that what is decided is done.
    pub(crate) fn decide(&mut self, service: &str, image: &str, forced: u64, now: Instant) -> Ask {
        let key = (service.to_owned(), image.to_owned());
        let known = self.services.get(&key).copied();
        self.services.insert(key, known.unwrap_or(0).max(forced));
        let ask = match known {
            Some(before) if before < forced => Ask::Registry,
            Some(_) => return Ask::Nobody,
            // An agent that has just begun asks no registry for what was forced before it.
            None => Ask::Nodes,
        };
        self.nodes.retain(|_, at| now.duration_since(*at) < FRESH);
        if ask == Ask::Nodes && self.nodes.contains_key(image) {
            return Ask::Nobody;
        }
        self.nodes.insert(image.to_owned(), now);
        ask
    }

    /// Forgets services that this node has nothing of any more.
    pub(crate) fn keep(&mut self, has: impl Fn(&str) -> bool) {
        self.services.retain(|(service, _), _| has(service));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_asks_once_and_again_for_each_forced_update() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        let later = now + FRESH;
        assert_eq!(asked.decide("web", "app:v1", 3, now), Ask::Nodes);
        assert_eq!(asked.decide("web", "app:v1", 3, later), Ask::Nobody, "its next task");
        assert_eq!(asked.decide("web", "app:v1", 4, later), Ask::Registry);
        assert_eq!(asked.decide("web", "app:v1", 4, later), Ask::Nobody, "a task beside it");
        assert_eq!(asked.decide("web", "app:v1", 3, later), Ask::Nobody, "a task of before");
        assert_eq!(asked.decide("web", "app:v1", 4, later), Ask::Nobody);
        assert_eq!(asked.decide("web", "app:v2", 4, later), Ask::Nodes, "another image");
    }

    #[test]
    fn services_that_begin_together_ask_together() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        assert_eq!(asked.decide("one", "app", 0, now), Ask::Nodes);
        assert_eq!(asked.decide("two", "app", 0, now), Ask::Nobody);
        assert_eq!(asked.decide("two", "app", 1, now), Ask::Registry, "forced is forced");
        assert_eq!(asked.decide("three", "app", 0, now + FRESH), Ask::Nodes);
    }

    #[test]
    fn what_a_node_has_nothing_of_is_forgotten() {
        let (mut asked, now) = (Asked::default(), Instant::now());
        for service in ["one", "two"] {
            asked.decide(service, "app", 0, now);
        }
        asked.keep(|service| service == "two");
        assert_eq!(asked.services.len(), 1);
        assert_eq!(asked.decide("one", "app", 0, now + FRESH), Ask::Nodes);
    }
}
