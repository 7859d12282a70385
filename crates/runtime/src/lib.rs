//! Containers below the engine: one shim process per container, which drives an OCI runtime.
//!
//! ```text
//!   daemon: Runtime, Shim ──── shim.sock (frames, streams) ───▶ shim: poll loop, one per container
//!                                                                 │ fork per OCI operation
//!                                                                 ▼
//!                                              libcontainer (Embedded) or runc's command line (Binary)
//! ```
//! The daemon's side is async and holds no state that a restart could not read back from the run
//! directory; the shim's side ([`shim`]) is single-threaded and synchronous. Spawned tasks: one monitor
//! per [`Shim`], which reads the shim's first connection until the exit is known.

mod adopt;
mod bundle;
pub mod cgroup;
mod client;
mod error;
mod facts;
mod oci;
mod program;
mod protocol;
mod runtime;
mod seccomp;
pub mod shim;
mod wire;

pub use adopt::Adopted;
pub use bundle::{Io, Launch, LogTarget};
pub use client::{Attach, ExecEnd, ExecHandle, ExecRequest, Shim};
pub use error::RuntimeError;
pub use facts::observe_facts;
pub use protocol::ExitStatus;
pub use runtime::{Kind, Runtime, RuntimeConfig};
