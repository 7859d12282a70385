//! Wakes a follower when something in the log's directory changes.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::net::unix::pipe;

/// How often a follower looks when the kernel gives no more inotify instances (128 per user by default).
const POLL: Duration = Duration::from_millis(100);

/// A subscription; a change between its creation and [`Watch::changed`] is not lost.
#[derive(Debug)]
pub(crate) enum Watch {
    /// The inotify descriptor. tokio's pipe serves: it asks for no more than something that can be
    /// polled and read, and unlike `AsyncFd` it needs no `unsafe`.
    Inotify(pipe::Receiver),
    Poll,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> Self {
        match subscribe(directory) {
            Ok(events) => Watch::Inotify(events),
            Err(_) => Watch::Poll,
        }
    }

    /// Resolves after something has changed. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> io::Result<()> {
        let Watch::Inotify(events) = self else {
            tokio::time::sleep(POLL).await;
            return Ok(());
        };
        events.readable().await?;
        // What exactly changed does not matter: the follower looks at the files themselves.
        let mut dropped = [0; 4096];
        while events.try_read(&mut dropped).is_ok_and(|count| count > 0) {}
        Ok(())
    }
}

fn subscribe(directory: &Path) -> io::Result<pipe::Receiver> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let what = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO;
    inotify.add_watch(directory, what)?;
    pipe::Receiver::from_owned_fd_unchecked(inotify.into())
}
