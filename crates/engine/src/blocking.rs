//! Disk work in the middle of asynchronous code: short enough not to be worth a task of its own, long enough
//! (an fsync on a busy disk, a directory with many files) not to hold up the others of a worker thread.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs `work` here; a worker thread's other tasks go on elsewhere meanwhile.
pub(crate) fn run<T>(work: impl FnOnce() -> T) -> T {
    let has_workers = Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if has_workers { tokio::task::block_in_place(work) } else { work() }
}
