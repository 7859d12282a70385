//! What a writable layer changes, in Docker's terms (moby `archive.OverlayChanges`).
//!
//! Both sides are walked name by name, so no symlink of either is ever followed.

use crate::layer::pack::is_opaque;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use types::container::Change;

const MODIFIED: u8 = 0;
const ADDED: u8 = 1;
const DELETED: u8 = 2;

/// All changes of `upper` against `lower` (topmost first), sorted by path.
pub(crate) fn changes(upper: &Path, lower: Vec<PathBuf>) -> io::Result<Vec<Change>> {
    let mut found = Vec::new();
    walk(upper, &lower, "", &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Returns whether anything below was added or deleted directly in this directory.
fn walk(dir: &Path, lower: &[PathBuf], shown: &str, found: &mut Vec<Change>) -> io::Result<bool> {
    let mut touched = false;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let real = dir.join(&name);
        let meta = match fs::symlink_metadata(&real) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        let path = format!("{shown}/{}", name.to_string_lossy());
        let below = find_below(lower, &name)?;
        let kind = kind_of(&meta, below.as_ref().map(|(meta, _)| meta));
        touched |= matches!(kind, Some(ADDED | DELETED));
        let mut listed = kind.is_some();
        if meta.is_dir() {
            let dirs = match below {
                Some((_, dirs)) if !is_opaque(&real) => dirs,
                _ => Vec::new(),
            };
            listed |= walk(&real, &dirs, &path, found)?;
        }
        if listed {
            found.push(Change { path, kind: kind.unwrap_or(MODIFIED) });
        }
    }
    Ok(touched)
}

/// `None`: a directory that was only passed through.
fn kind_of(upper: &Metadata, lower: Option<&Metadata>) -> Option<u8> {
    if is_whiteout(upper) {
        return Some(DELETED);
    }
    let Some(lower) = lower else { return Some(ADDED) };
    let same = upper.is_dir()
        && lower.is_dir()
        && upper.mode() == lower.mode()
        && upper.uid() == lower.uid()
        && upper.gid() == lower.gid()
        && upper.mtime() == lower.mtime();
    (!same).then_some(MODIFIED)
}

fn is_whiteout(meta: &Metadata) -> bool {
    meta.file_type().is_char_device() && meta.rdev() == 0
}

/// What overlayfs would show as `name` of these merged directories, and what it merges below that.
fn find_below(lower: &[PathBuf], name: &OsStr) -> io::Result<Option<(Metadata, Vec<PathBuf>)>> {
    let mut found: Option<Metadata> = None;
    let mut dirs = Vec::new();
    for dir in lower {
        let path = dir.join(name);
        let meta = match fs::symlink_metadata(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        if is_whiteout(&meta) || (found.is_some() && !meta.is_dir()) {
            break;
        }
        let is_dir = meta.is_dir();
        found.get_or_insert(meta);
        if !is_dir {
            break;
        }
        let last = is_opaque(&path);
        dirs.push(path);
        if last {
            break;
        }
    }
    Ok(found.map(|meta| (meta, dirs)))
}

/// Bytes of the regular files below `dir`, each inode once.
pub(crate) fn size_bytes(dir: &Path) -> io::Result<u64> {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let meta = match fs::symlink_metadata(&path) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                meta => meta?,
            };
            if meta.is_dir() {
                pending.push(path);
            } else if meta.nlink() == 1 || seen.insert(meta.ino()) {
                total += meta.len();
            }
        }
    }
    Ok(total)
}
