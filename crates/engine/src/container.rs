//! One container: its record, its lifecycle, its monitor.
//!
//! ```text
//!  create ──► created ──start──► running ──exit──► exited ──remove──►
//!                                   ▲                 │
//!                                   └─ restart policy ┘   (monitor)
//! ```

mod archive;
mod create;
mod image_mounts;
mod inspect;
mod link;
mod list;
mod logs;
mod merge;
mod monitor;
mod mounts;
mod names;
mod network;
pub(crate) mod options;
mod prune;
mod record;
mod remove;
mod restore;
mod signal;
mod start;
mod stats;
mod stop;
mod top;
mod update;
mod validate;
mod volumes;
mod wait;
pub(crate) mod watch;

pub(crate) use create::random_hex;
pub(crate) use image_mounts::owner;
pub(crate) use link::{add_link_variables, parse_link};
pub(crate) use merge::{command_line, environment, merge as merge_config, replace_or_append};
pub(crate) use mounts::clean;
pub(crate) use network::Sandbox;
pub(crate) use prune::until;
pub(crate) use record::{Container, MountRecord, Record, write_atomically};
