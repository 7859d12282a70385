//! What the end-to-end tests, the benchmarks and the demo share: base images without a registry, a private daemon in
//! its own network namespace, and the search for what it left behind. Never shipped.
//!
//! | module | gives |
//! |---|---|
//! | `binary` | where the `sampan` under test is |
//! | `churn` | [`Churn`]: a cluster's networks under random changes, and whether everything is told as it should be |
//! | `client` | running a program to its end |
//! | `images` | stand-in base images made of Debian packages |
//! | `daemon` | [`Daemon`]: a private `sampan daemon` or `dockerd`, driven through the real clients |
//! | `disk` | disks of a daemon's own: small ones, and ones that lose power |
//! | `fuzz` | generated input, by seed |
//! | `hosts` | [`Hosts`]: several daemons, each on a host of its own, and the faults between them |
//! | `http` | requests over the daemon's socket, and to published ports |
//! | `namespace` | network namespaces named `smp-*` |
//! | `leaks` | processes, mounts, links, rules, cgroups and descriptors that should be gone |
//! | `memory` | what the processes of a daemon weigh |
//! | `recorded` | requests with dockerd's answers, and how ours differ |
//!
//! Everything made here carries one token, `smp-<pid of its maker>-<n>`, in its name or path; [`sweep`] ends and removes
//! what belongs to makers that are dead.

mod binary;
mod churn;
mod client;
mod daemon;
mod disk;
mod hosts;
mod http;
mod leaks;
mod memory;
mod namespace;
mod sweep;

pub mod fuzz;
pub mod images;
pub mod recorded;

use std::path::PathBuf;

pub use binary::sampan_binary;
pub use churn::{Churn, Right, Step};
pub use client::Output;
pub use daemon::{Daemon, Engine, Options, eventually};
pub use hosts::{Host, Hosts, Hub, host_address, host_token};
pub use http::{Response, Unsent, load_archive, request};
pub use memory::Weight;
pub use namespace::Namespace;
pub use sweep::{clear, end_processes, sweep};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).map_or(manifest.clone(), PathBuf::from)
}
