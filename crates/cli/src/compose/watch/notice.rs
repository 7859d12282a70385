//! The kernel's word that something below watched directories changed (inotify). It says that, not what.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe::Receiver;

/// Editors write a file in several steps: this long after the last one a change counts as done.
const QUIET: Duration = Duration::from_millis(100);
/// A directory that changes all the time is looked at this often nevertheless.
const AT_MOST: Duration = Duration::from_secs(1);

/// Notices of directories.
pub(super) struct Notice {
    inotify: Inotify,
    /// The same descriptor: bytes are there when something changed. Which they are does not matter.
    bytes: Receiver,
}

impl Notice {
    /// Watches nothing yet.
    pub(super) fn new() -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("the kernel gives no file notices")?;
        let bytes = Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)?;
        Ok(Notice { inotify, bytes })
    }

    /// Adds a directory; one that is watched already, or gone, is fine.
    pub(super) fn add(&mut self, dir: &Path) {
        let flags = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_ATTRIB
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_ONLYDIR;
        if let Err(errno) = self.inotify.add_watch(dir, flags)
            && errno == Errno::ENOSPC
        {
            eprintln!("WARN: too many directories to watch: raise fs.inotify.max_user_watches");
        }
    }

    /// Until something changed and it is quiet again.
    pub(super) async fn wait(&mut self) -> Result<()> {
        self.drain().await?;
        let settle = async { while tokio::time::timeout(QUIET, self.drain()).await.is_ok() {} };
        // past the limit one looks anyway
        let _ = tokio::time::timeout(AT_MOST, settle).await;
        Ok(())
    }

    /// Until there is a notice; takes all there are.
    async fn drain(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            self.bytes.readable().await?;
            let mut any = false;
            loop {
                match self.bytes.try_read(&mut buffer) {
                    Ok(_) => any = true,
                    Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                    Err(err) => return Err(err).context("failed to read file notices"),
                }
            }
            if any {
                return Ok(());
            }
        }
    }
}
