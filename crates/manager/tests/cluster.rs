//! Managers and agents together, as they are in a cluster, but for the wire, the disk and the containers.

#![allow(clippy::unwrap_used, reason = "a test ends where something is not there")]

#[path = "support/hollow.rs"]
mod hollow;
#[path = "support/world.rs"]
mod world;

mod cluster {
    mod failover;
    mod networks;
    mod nodes;
    mod services;
    mod sessions;
    mod trust;
}
