//! Disks under a daemon's data root: a small one that fills up, and one that loses its power.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::client;

/// A tmpfs of so many bytes at `at`.
pub(crate) fn small(at: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(at)?;
    let size = format!("size={bytes}");
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
        .with_context(|| format!("mounting a small disk on {}", at.display()))
}

/// An ext4 of so many bytes in the file `image`, mounted at `at`. Takes only the room that is used.
pub(crate) fn own(image: &Path, at: &Path, bytes: u64) -> Result<()> {
    fs::create_dir_all(at)?;
    File::create(image)?.set_len(bytes)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(image))?;
    attach(image, at)
}

/// Everything that was not made durable is gone, as if the machine's power had failed at this moment: until
/// [`after_power_loss`] every write fails.
pub(crate) fn lose_power(at: &Path) -> Result<()> {
    let root = File::open(at)?;
    sys::filesystem::lose_power(&root)
        .with_context(|| format!("taking the power of {}", at.display()))
}

/// What the disk holds after it lost its power. All processes that used it have ended.
///
/// The image is copied: other mount namespaces (of anybody's containers) may hold the old filesystem for a while, and
/// mounting its device again would give the one that fails.
pub(crate) fn after_power_loss(image: &Path, at: &Path) -> Result<()> {
    let copy = image.with_extension("new");
    run(Command::new("cp").arg("--sparse=always").arg(image).arg(&copy))?;
    umount2(at, MntFlags::MNT_DETACH).with_context(|| format!("detaching {}", at.display()))?;
    fs::rename(&copy, image)?;
    attach(image, at)
}

fn attach(image: &Path, at: &Path) -> Result<()> {
    run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at))
}

fn run(command: &mut Command) -> Result<()> {
    client::run(command, b"")?.checked().map(drop)
}
