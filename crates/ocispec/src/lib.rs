//! From what Docker's user asked for to what an OCI runtime reads: pure, one table or rule per module.
//!
//! | module | decides |
//! |---|---|
//! | `build` | the specification, put together from the others |
//! | `process` | what a process may do: container and exec alike |
//! | `caps` | capabilities, added and dropped |
//! | `seccomp` | the default profile, and Docker's profile files |
//! | `security` | `--security-opt` |
//! | `mounts` | the mounts every container has |
//! | `resources` | cgroup limits and device rules |
//! | `user` | `--user` against the image's passwd and group |
//!
//! Nothing here reads a file or asks the kernel: files' contents, resolved paths and [`Facts`] of the
//! machine are arguments. What the machine cannot give is left out and returned as a [`Warning`].

mod build;
mod caps;
mod error;
mod input;
mod mounts;
mod process;
mod resources;
mod seccomp;
mod security;
mod user;

pub use build::{INIT_ANNOTATION, build};
pub use caps::{ALL_CAPABILITIES, DEFAULT_CAPABILITIES};
pub use error::{SpecError, Warning};
pub use input::{BlockDevice, Controller, Device, Facts, Init, Input, Mount, Namespace, Shm};
pub use mounts::{MASKED_PATHS, READONLY_PATHS};
pub use oci_spec::runtime::{LinuxResources, Process, Spec};
pub use process::{ProcessInput, process};
pub use resources::resources;
pub use security::Security;
pub use user::{ExecUser, resolve_user};
