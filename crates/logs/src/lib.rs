//! Container logs on disk, in Docker's json-file format: one writer in each container's shim, any number
//! of readers in the daemon.
//!
//! | module | what it is |
//! |---|---|
//! | `entry` | one line of the file: written and read without a JSON library |
//! | `writer` | the shim's side: splits output into entries, batches, rotates |
//! | `files` | the rotated set of one log: opened in order, searched backwards for `tail`, followed |
//! | `reader` | the daemon's side: an asynchronous stream of Docker's frames |
//! | `watch` | wakes a follower when its directory changes |
//! | `options` | `--log-opt`, checked with Docker's sentences |
//!
//! The writer never fails its caller: what the disk refuses is dropped and counted, and writing goes on as
//! soon as there is room. Readers skip what they cannot read: a line torn by a crash is no reason to show
//! nothing.

mod entry;
mod files;
mod options;
mod reader;
mod watch;
mod writer;

pub use entry::Stream;
pub use options::{Driver, LogOptions, OptionError, TagInfo};
pub use reader::{Framing, ReadOptions, read};
pub use writer::{Rotation, Writer};
