//! A whole cluster in one thread and in virtual time, made and broken by one seed.
//!
//! The store, and the decisions, are the product's own; managers' loops, agents, network, disks and users
//! are modelled here, hostile on purpose. After every committed entry `store::invariants` is asked; once
//! faults stop, every service must come to its spec within a bounded time.
//!
//! ```text
//! users ─► leader: intake, decide ─► log ─► committed store ─► assignments ─► agents ─► reports ─┐
//!            ▲   (its tail is lost with the leader)     (lost, late, twice, one way)             │
//!            └───────────────────────────────────────────────────────────────────────────────────┘
//! ```

mod agent;
mod converge;
mod decide;
mod fault;
mod leader;
mod real;
mod rng;
#[cfg(test)]
mod script;
mod user;
mod world;

pub use decide::{Decide, Decided};
pub use real::{Fault, Real};
pub use rng::Rng;
pub use world::{Report, World, run};
