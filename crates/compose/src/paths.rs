//! Paths as text: joined and cleaned without asking the disk.

use std::path::{Component, Path, PathBuf};

/// `text` from `dir`, with `~` as `home`, without `.` and `..`.
pub(crate) fn absolute(dir: &Path, home: Option<&str>, text: &str) -> PathBuf {
    let expanded = match (text.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            format!("{home}{rest}")
        }
        _ if is_windows(text) => return PathBuf::from(text),
        _ => text.to_owned(),
    };
    clean(&dir.join(expanded))
}

/// True for `C:\data`, `C:/data` and `\\.\pipe\name`: places of another system, kept as they are.
pub(crate) fn is_windows(text: &str) -> bool {
    let drive = text.as_bytes();
    text.starts_with("\\\\")
        || matches!(drive, [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

/// Removes `.` and resolves `..` by the text alone.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// True for build contexts that are not on this disk: `https://…`, `git@…`, `docker-image://…`.
pub fn is_remote(context: &str) -> bool {
    context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/")
}
