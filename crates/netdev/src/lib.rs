//! Makes the kernel hold what a [`netplan::NetPlan`] or [`netplan::overlay::OverlayPlan`] says: bridges, tunnels, veth pairs, addresses, routes,
//! sysctls, nftables rules; and the network namespaces ("sandboxes") that containers live in.
//!
//! Everything here is synchronous (a call is a few netlink messages; callers on an async runtime use a
//! blocking thread) and acts in the network namespace of the calling thread. Nothing here decides.
//!
//! | module | touches |
//! |---|---|
//! | `netlink` | sockets and attributes of any netlink family |
//! | `link` | rtnetlink: links, addresses, routes |
//! | `netdev` | applies plans, audits |
//! | `overlay` | applies and audits the cluster's networks on this node |
//! | `tunnel` | rtnetlink: the tunnel between nodes, tasks' pairs |
//! | `fib` | rtnetlink: an overlay's routes, routing rules, neighbours, forwarding entries |
//! | `nft` | the ruleset: whole through `nft -f -`, small changes of the cluster's as netlink messages |
//! | `expression` | words of nf_tables' rules in such messages |
//! | `conntrack` | forgets UDP flows of ports that came or went |
//! | `door` | a sandbox's way to its resolver, in nf_tables by netlink |
//! | `path` | ICMP: how large packets pass to another node |
//! | `refused` | what policies refused of late, as the rules remember it |
//! | `beside` | another firewall's chain, where it would drop what we forward |
//! | `sandbox` | network namespaces pinned below the exec root |
//! | `ports` | reserves ports on the host |

mod beside;
mod conntrack;
mod door;
mod error;
mod expression;
mod fib;
mod link;
mod netdev;
mod netlink;
mod nft;
mod overlay;
mod path;
mod ports;
mod refused;
mod sandbox;
mod six;
mod tunnel;

pub use door::lead_to_resolver;
pub use error::{ApplyError, Failure, PortError, SandboxError};
pub use netdev::{NetDev, Note};
pub use overlay::Overlay;
pub use path::{Passes, link_mtu, probe_path};
pub use ports::{PortRange, Reservation, reserve};
pub use refused::Refused;
pub use sandbox::{Sandboxes, run_in};
pub use six::Six;
