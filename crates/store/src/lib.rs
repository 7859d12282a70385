//! The cluster's memory: tables, what may be written to them, and what has changed.
//!
//! Reads nothing but its arguments. The same entries in the same order give the same state on every
//! manager; the log that brings them (Raft) lies above.

mod change;
mod codec;
mod error;
mod index;
pub mod invariants;
mod object;
mod rules;
mod snapshot;
mod store;
mod table;
pub mod validate;

pub use change::{Applied, Change, Entry, Event, EventKind, Refusal, Transaction};
pub use codec::{FORMAT, Unreadable, decode, encode};
pub use error::StoreError;
pub use object::{Kind, Object, Record};
pub use snapshot::{RefKind, Snapshot};
pub use store::{Since, Store};
pub use table::Table;
