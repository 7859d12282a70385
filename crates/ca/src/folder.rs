//! A few small files that change together.
//!
//! ```text
//! write next.tmp/* ─ sync ─ rename next.tmp → next (from here the change counts) ─ rename next/x → x … ─ remove next
//! ```
//!
//! Killed before the first rename, nothing changed; killed after it, [`settle`] ends the work.

use crate::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

const NEXT: &str = "next";
const DRAFT: &str = "next.tmp";

/// Puts `files` (name, text) in place of what `dir` has under these names. Only the owner may read them.
pub(crate) fn replace(dir: &Path, files: &[(&str, &str)]) -> Result<(), Error> {
    make(dir)?;
    settle(dir)?;
    let draft = dir.join(DRAFT);
    make(&draft)?;
    for (name, text) in files {
        let path = draft.join(name);
        write(&path, text).map_err(at("write", &path))?;
    }
    sync(&draft)?;
    let next = dir.join(NEXT);
    fs::rename(&draft, &next).map_err(at("rename", &draft))?;
    sync(dir)?;
    settle(dir)
}

/// Ends a replacement that was under way when the daemon was killed.
pub(crate) fn settle(dir: &Path) -> Result<(), Error> {
    let draft = dir.join(DRAFT);
    absent_is_fine(fs::remove_dir_all(&draft)).map_err(at("remove", &draft))?;
    let next = dir.join(NEXT);
    let entries = match fs::read_dir(&next) {
        Ok(entries) => entries,
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(at("read", &next)(err)),
    };
    for entry in entries {
        let from = entry.map_err(at("read", &next))?;
        let to = dir.join(from.file_name());
        fs::rename(from.path(), &to).map_err(at("replace", &to))?;
    }
    sync(dir)?;
    fs::remove_dir(&next).map_err(at("remove", &next))
}

/// None when there is no such file.
pub(crate) fn read(dir: &Path, name: &str) -> Result<Option<String>, Error> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(at("read", &path)(err)),
    }
}

fn make(dir: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at("create", dir))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at("sync", dir))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Disk { action, path, source }
}
