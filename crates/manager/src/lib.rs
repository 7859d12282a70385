//! The control plane of a cluster, on every manager; most of it works only while this one leads.
//!
//! ```text
//!              ┌ leader: observe ► decide ► propose ► wait    services, networks, tasks, nodes' ends
//!  store ◄─log─┤ dispatcher: one session per agent            assignments out; statuses and beats in
//!              ├ leases, roles                                who is up, who is a manager
//!              └ certificates, membership                     who may come in, and as what
//! ```
//!
//! Every decision is a function of a snapshot and the time (`leader::Desk`, `dispatcher::Share`, `lease`, `roles`);
//! around them are loops that wait. It never touches a disk or a socket: the log (`Log`, which is Raft) and the wire
//! (`rpc`) are others' work. Losing the leadership ends every session; the next leader rebuilds all of it from the
//! store.

mod certificates;
mod clock;
pub mod control;
mod dispatcher;
mod found;
mod leader;
mod lease;
mod log;
mod manager;
mod membership;
mod memory;
pub mod plan;
mod roles;
pub mod why;

pub use certificates::Certificates;
pub use clock::Clock;
pub use dispatcher::{Dispatcher, Need, Share, Touch, Touched, route};
pub use found::{first_node, found, left_behind};
pub use lease::{HEARTBEAT_PERIOD, Leases, Periods};
pub use log::{Log, Results};
pub use manager::Manager;
pub use membership::Membership;
pub use memory::Memory;
pub use raft::{Leadership, Member, ProposeError};
pub use why::Why;
