//! Files that are there whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file beside its place, makes sure of it on the disk, and moves it there.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// An empty file that only we may read, whatever was there before.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).read(true).truncate(true).mode(0o600).open(path)
}

/// Writes so many zeros, to learn whether they find room.
pub(crate) fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = create(path)?;
    io::copy(&mut io::repeat(0).take(bytes), &mut file)?;
    file.sync_all()
}

/// Makes names in the directory of `path` survive a power cut.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Whether the disk, or what we may use of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
