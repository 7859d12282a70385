//! The single-node engine: Docker's objects (containers, images, networks, volumes) over the effects of
//! floor 2. The edge calls [`Engine`]; nothing here knows HTTP.
//!
//! | module | owns |
//! |---|---|
//! | `engine` | opening, restoring after a crash, the registry of containers |
//! | `container` | one container's record, its lifecycle, its monitor |
//! | `exec`, `attach`, `health` | processes and streams inside a running container |
//! | `images`, `build`, `archive` | image operations, the classic builder, archives of clients |
//! | `networks`, `volumes` | those objects and what containers hold of them |
//! | `events`, `filters`, `system` | what happened, what is asked for, what this machine is |

mod archive;
mod attach;
mod blocking;
mod build;
mod config;
mod container;
mod engine;
mod error;
mod events;
mod exec;
mod fetch;
mod filters;
mod health;
mod housekeeping;
mod images;
mod networks;
mod registry;
mod rootfs;
mod runtimes;
mod spec;
mod system;
mod volumes;

pub use attach::{AttachOptions, Session};
pub use build::BuildOptions;
pub use config::{AddressPool, EngineConfig};
pub use container::options::{
    ArchiveStat, CommitOptions, ListOptions, LogsOptions, RemoveOptions, StatsOptions, StopOptions,
    UpdateRequest, UpdateResponse, WaitCondition, WaitHandle,
};
pub use container::watch::{Sight, Watch};
pub use engine::Engine;
pub use error::Error;
pub use events::{EventStream, EventsOptions, matches as event_matches};
pub use exec::ExecStart;
pub use filters::Filters;
pub use housekeeping::Housekeeping;
pub use images::{
    ImageListOptions, ImportRequest, ImportSource, PullRequest, Renew, read_platform,
};
pub use networks::{ClusterNetworks, Neighbours, NetworkCreated, Passes, PathReport};
pub use system::{API_VERSION, DiskUsageOptions, MIN_API_VERSION};

/// Bytes on their way to a client: a tar archive, framed output, JSON lines.
pub type ByteStream =
    std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + Send>>;
/// A request's body on its way in.
pub type Body = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;
/// How an engine call ends.
pub type Result<T, E = Error> = std::result::Result<T, E>;
