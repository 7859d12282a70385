//! Serves DNS inside sandboxes, from the daemon's runtime.
//!
//! The sockets are bound to 127.0.0.11 in the sandbox's namespace, at a port of their own ([`OWN_PORT`]) to which rules
//! lead from port 53; the container's shim keeps duplicates of them. While no daemon runs, queries wait in the sockets'
//! queues, and [`serve`] on the same sockets answers them.
//!
//! | task | reads | emits |
//! |---|---|---|
//! | UDP, one for each sandbox | queries | answers from the zone; hands others to a forwarding task |
//! | TCP, one for each sandbox | connections | one task each, which serves its queries in order |
//! | forwarding, at most [`MAX_FORWARDS`] each | an upstream's reply | it, or SERVFAIL |

mod server;
mod sockets;
mod upstream;

pub use server::{MAX_FORWARDS, Server, View, serve};
pub use sockets::{OWN_PORT, Sockets};
pub use upstream::host_resolv_conf;
