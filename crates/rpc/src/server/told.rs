//! What many agents are told is written down once for all of them.

use crate::{Error, frame};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use types::swarm::endpoint::EndpointUpdate;
use types::swarm::session::ManagerMessage;

/// Most agents are told the newest or the one before.
const RECENT: usize = 8;

/// Messages by what they say; clones are the same. What nobody else has any more is forgotten with the next message.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<VecDeque<Written>>>);

#[derive(Debug)]
struct Written {
    update: Weak<EndpointUpdate>,
    payload: Bytes,
}

impl Told {
    /// As [`frame::encode`]. Of several that come with the same update at once all but one wait for the first.
    pub(super) fn encode(&self, message: &ManagerMessage) -> Result<Bytes, Error> {
        let ManagerMessage::Endpoints(update) = message else { return frame::encode(message) };
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|known| known.update.strong_count() > 0);
        let same = |known: &&Written| known.update.as_ptr() == Arc::as_ptr(update);
        if let Some(known) = recent.iter().find(same) {
            return Ok(known.payload.clone());
        }
        let payload = frame::encode(message)?;
        recent.truncate(RECENT - 1);
        let update = Arc::downgrade(update);
        recent.push_front(Written { update, payload: payload.clone() });
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(to: u64) -> ManagerMessage {
        ManagerMessage::Endpoints(Arc::new(EndpointUpdate { to, ..EndpointUpdate::default() }))
    }

    #[test]
    fn an_update_is_written_down_once_and_forgotten_with_the_last_who_has_it() {
        let told = Told::default();
        let messages: Vec<ManagerMessage> = (0..20).map(update).collect();
        for message in &messages {
            let payload = told.encode(message).unwrap();
            assert_eq!(payload, frame::encode(message).unwrap());
            let again = told.encode(&message.clone()).unwrap();
            assert_eq!(again.as_ptr(), payload.as_ptr(), "the same bytes");
        }
        assert_eq!(told.0.lock().unwrap().len(), RECENT);
        drop(messages);
        let other = update(7);
        assert_eq!(told.encode(&other).unwrap(), frame::encode(&other).unwrap());
        assert_eq!(told.0.lock().unwrap().len(), 1);
    }
}
