//! What a container can look up: the zones of its networks, the answer to a query, and the three
//! files (`resolv.conf`, `hosts`, `hostname`) that make its libc ask us.
//!
//! Pure: queries and host files come in as values, messages and texts go out. Sockets are `dnsd`'s.

mod answer;
mod cluster;
mod hosts;
mod resolv;
mod said;
mod zone;

pub use answer::{Reply, answer, refuse};
pub use cluster::ClusterZone;
pub use hosts::{Hosts, hostname};
pub use resolv::{DnsWishes, EMBEDDED, ResolvConf};
pub use zone::{Entry, Place, Zone};
