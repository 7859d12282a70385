//! Serves DNS inside sandboxes, from the daemon's runtime.
//!
//! The sockets are bound to 127.0.0.11:53 in the sandbox's namespace, so that no rule has to redirect
//! anything; the container's shim keeps duplicates of them. While no daemon runs, queries wait in the
//! sockets' queues, and [`serve`] on the same sockets answers them.
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
pub use sockets::Sockets;
pub use upstream::host_resolv_conf;
