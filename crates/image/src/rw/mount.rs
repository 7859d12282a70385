//! The two mount calls.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::io;
use std::path::Path;

/// Mounts an overlay at `target`; it and the paths in `options` are relative to `root`.
///
/// Relative paths keep the options of 125 layers within the one page that mount(2) takes. The working
/// directory belongs to the process, so a short-lived thread gives itself one of its own first.
pub(crate) fn overlay(root: &Path, target: &str, options: &str) -> io::Result<()> {
    let work = || -> io::Result<()> {
        unshare(CloneFlags::CLONE_FS)?;
        std::env::set_current_dir(root)?;
        mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options))?;
        Ok(())
    };
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("mount".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes the mount out of the tree at once, even while it is in use.
pub(crate) fn detach(target: &Path) -> io::Result<()> {
    Ok(umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?)
}
