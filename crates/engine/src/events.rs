//! What happened, for `GET /events` and for our own waiters: a bounded memory of the last events and a
//! live broadcast.

use crate::Filters;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::{broadcast, mpsc};
use types::Timestamp;
use types::event::Event;

/// dockerd keeps 256; a deploy of a large project makes more within a minute.
const REPLAYED_EVENTS: usize = 1024;

/// The events of one subscriber, oldest first; ends when `until` has passed or the engine closes.
pub type EventStream = mpsc::Receiver<Event>;

/// `GET /events`.
#[derive(Debug, Clone, Default)]
pub struct EventsOptions {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub filters: Filters,
}

#[derive(Debug)]
pub(crate) struct Events {
    past: Mutex<VecDeque<Event>>,
    live: broadcast::Sender<Event>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Events { past: Mutex::default(), live: broadcast::channel(REPLAYED_EVENTS).0 }
    }

    /// Records and announces one event.
    pub(crate) fn emit(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let event = Event::new(kind, action, id, attributes, std::time::SystemTime::now().into());
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if past.len() == REPLAYED_EVENTS {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Sent under the lock, so that a subscriber sees each event either replayed or live, never twice.
        let _no_subscribers = self.live.send(event);
    }

    /// The past events that `options` ask for, and the live ones from exactly there on.
    pub(crate) fn subscribe(
        &self,
        options: &EventsOptions,
    ) -> (Vec<Event>, broadcast::Receiver<Event>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let since = options.since.unwrap_or(Timestamp(i64::MAX));
        let wanted = |event: &&Event| {
            event.time_nano >= since.0
                && options.until.is_none_or(|until| event.time_nano <= until.0)
        };
        let replay = past.iter().filter(wanted).filter(|event| matches(&options.filters, event));
        (replay.cloned().collect(), self.live.subscribe())
    }
}

/// Whether `filters` let `event` through (Docker's `events` filter names).
pub fn matches(filters: &Filters, event: &Event) -> bool {
    let object = |kind: &str, value: &str| {
        let name = event.actor.attributes.get("name").map(String::as_str).unwrap_or_default();
        event.kind == kind && (event.actor.id.starts_with(value) || name == value)
    };
    filters.matches("type", |value| value == event.kind)
        && filters.matches("event", |value| {
            event.action == value
                || event.action.split_once(':').is_some_and(|(verb, _)| verb == value)
        })
        && filters.matches("scope", |value| value == event.scope)
        && filters.matches_labels("label", &event.actor.attributes)
        && [
            "container",
            "network",
            "volume",
            "daemon",
            "plugin",
            "service",
            "node",
            "secret",
            "config",
        ]
        .iter()
        .all(|kind| filters.matches(kind, |value| object(kind, value)))
        && filters.matches("image", |value| {
            let image = event.actor.attributes.get("image").or(event.actor.attributes.get("name"));
            image.is_some_and(|image| image == value || image.split(':').next() == Some(value))
                || (event.kind == "image" && event.actor.id == value)
        })
}
