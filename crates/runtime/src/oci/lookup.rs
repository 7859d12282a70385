//! Finding the command as Go's `exec.LookPath` does, with its texts: clients match on them.

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, faccessat};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The file to execute for `name`, looked up in `env`'s PATH with the current process's rights, or
/// `exec: "…": …`.
pub(crate) fn look_path(name: &str, env: &[String]) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ENOENT) => {
                Err(format!("exec: {name:?}: stat {name}: no such file or directory"))
            }
            Err(Errno::ENOTDIR) => Err(format!("exec: {name:?}: stat {name}: not a directory")),
            Err(Errno::EISDIR) => Err(format!("exec: {name:?}: is a directory")),
            Err(_) => Err(format!("exec: {name:?}: permission denied")),
        };
    }
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or("");
    path.split(':')
        .map(|dir| Path::new(if dir.is_empty() { "." } else { dir }).join(name))
        .find(|file| executable(file).is_ok())
        .ok_or_else(|| format!("exec: {name:?}: executable file not found in $PATH"))
}

fn executable(file: &Path) -> Result<(), Errno> {
    let meta = std::fs::metadata(file)
        .map_err(|err| err.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    if meta.is_dir() {
        return Err(Errno::EISDIR);
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    faccessat(nix::fcntl::AT_FDCWD, file, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str) -> Result<PathBuf, String> {
        look_path(name, &["PATH=/nonexistent:/bin".to_owned()])
    }

    #[test]
    fn refusals_read_as_gos() {
        assert_eq!(find("sh"), Ok(PathBuf::from("/bin/sh")));
        assert_eq!(
            find("nope"),
            Err("exec: \"nope\": executable file not found in $PATH".to_owned())
        );
        assert_eq!(
            find("/nope"),
            Err("exec: \"/nope\": stat /nope: no such file or directory".to_owned())
        );
        assert_eq!(find("/etc"), Err("exec: \"/etc\": is a directory".to_owned()));
        assert_eq!(find("/etc/passwd"), Err("exec: \"/etc/passwd\": permission denied".to_owned()));
    }
}
