//! What one node's kernel must hold so that its sandboxes talk as the endpoint table says.
//!
//! ```text
//! Table { networks, sandboxes, endpoints } ──plan()──► NetPlan { bridges, veths, gateways, sysctls,
//!                                                                forwards, ruleset }
//! ```
//! [`overlay`] is the same for the cluster's networks.
//! A pure function of one table: the same table gives the same plan, byte for byte. `netdev` applies it.

pub mod overlay;
mod plan;
mod rules;
mod six;
mod table;

pub use plan::{BridgePlan, Forward, Gateway, NetPlan, VethPlan, mac_of, plan};
pub use rules::{Ruleset, USER_CHAIN};
pub use six::{SixBridge, SixEndpoint, SixPlan, SixPort};
pub use table::{Endpoint, Network, Published, Sandbox, Table, free_interface};
