//! What one node's kernel must hold for the cluster's networks.
//!
//! ```text
//! store's objects ──rows()──► EndpointTable ──plan(table, me, here)──► OverlayPlan { tunnel, routes, neighbours,
//!                             (streamed)                          locals, returns, sysctls, rules }
//! ```
//! The data path is routed: a task is a veth with a /32 and a host route, other nodes' blocks are one route each
//! over one tunnel, VIPs and published ports are DNAT through verdict maps. No bridge, no ARP between tasks, no
//! entry for a task on another node.

mod elements;
mod external;
mod plan;
mod planner;
mod rows;
mod rules;
mod sixes;

pub use elements::{Chain, Choice, Datum, Elements, Key};
pub use plan::{
    FORWARDING_SIX, Here, Hop, LocalPlan, Me, OverlayPlan, ReturnPath, SANDBOX_GATEWAY,
    TUNNEL_PORT, TUNNEL_VNI, TunnelPlan, WirePlan, tunnel_mac, wire_mac,
};
pub use planner::{Planner, plan};
pub use rows::{container_name, rows};
pub use rules::{Changes, Differences, OverlayRules, REFUSED, REFUSED_KEPT};
pub use sixes::{LocalSix, SANDBOX_GATEWAY_SIX, SixPaths, six_neighbour};
