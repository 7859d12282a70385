//! What is there and what it is: list, inspect, history; and taking away: remove, prune.

pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod remove;
