//! What is known of the log without the disk: where every entry stands, and the newest payloads.

use super::frame::payload_bytes;
use super::writer::{Hard, Place};
use crate::kinds::{Id, Kinds, RaftEntry};
use openraft::EntryPayload;
use std::collections::VecDeque;
use std::ops::Range;

/// Payloads kept in memory, newest first. Older ones are read from the disk when a follower needs them.
const CACHE_BYTES: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) slots: VecDeque<Slot>,
    pub(super) hard: Hard,
    /// Written with the next frame: losing it costs nothing.
    pub(super) committed_since: Option<Id>,
    pub(super) cached: usize,
    /// Slots before this one have no payload in memory.
    pub(super) cached_from: usize,
    /// Bytes ever appended.
    pub(super) appended: u64,
}

pub(super) struct Slot {
    pub(super) id: Id,
    pub(super) bytes: usize,
    /// There once it is on the disk.
    pub(super) place: Option<Place>,
    pub(super) payload: Option<EntryPayload<Kinds>>,
}

impl Memory {
    pub(super) fn push(&mut self, entry: &RaftEntry) {
        let (_, payload) = payload_bytes(&entry.payload);
        let bytes = payload.len() + 64;
        let payload = Some(entry.payload.clone());
        self.slots.push_back(Slot { id: entry.log_id, bytes, place: None, payload });
        self.appended += bytes as u64;
        self.cached += bytes;
    }
    pub(super) fn placed(&mut self, range: Range<u64>, place: Place) {
        if let Some(first) = self.slots.front().map(|slot| slot.id.index) {
            for index in range {
                let at = index.checked_sub(first).map(|at| at as usize);
                if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
                    slot.place = Some(place);
                }
            }
        }
        self.evict();
    }
    pub(super) fn evict(&mut self) {
        while self.cached > CACHE_BYTES {
            match self.slots.get_mut(self.cached_from) {
                Some(slot) if slot.place.is_some() => {
                    slot.payload = None;
                    self.cached -= slot.bytes;
                    self.cached_from += 1;
                }
                _ => break,
            }
        }
    }
    pub(super) fn truncate(&mut self, since: u64) {
        while let Some(slot) = self.slots.pop_back_if(|slot| slot.id.index >= since) {
            if slot.payload.is_some() {
                self.cached -= slot.bytes;
            }
        }
        self.cached_from = self.cached_from.min(self.slots.len());
    }
    pub(super) fn purge(&mut self, upto: Id) {
        while let Some(slot) = self.slots.pop_front_if(|slot| slot.id.index <= upto.index) {
            match slot.payload {
                Some(_) => self.cached -= slot.bytes,
                None => self.cached_from -= 1,
            }
        }
        self.hard.purged = self.hard.purged.max(Some(upto));
    }
}
