//! What a container uses, read from its cgroup and from `/proc` in one pass: processor, memory, block
//! devices, processes, network.
//!
//! Both cgroup layouts are read: v1 (with its controllers in directories of their own) and v2. A file that
//! is not there counts as zero: which of them exist depends on the kernel and on the layout.

mod files;
mod sampler;
mod v1;
mod v2;

pub use sampler::{Sampler, group, sample};
