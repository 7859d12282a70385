//! A file that appears whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempPath;

/// Takes its name at [`WholeFile::finish`]; dropped before, nothing is left and what had the name keeps it.
/// Only the user may read it, as with `docker save`.
///
/// A device or a pipe is written to as it stands: a rename would put a plain file in its place, for everybody
/// on the machine (`-o /dev/null`). A symbolic link stays; the file that it names is replaced.
pub(crate) struct WholeFile {
    file: File,
    /// The draft and the name that it is to take; none when what is there is written to directly.
    draft: Option<(TempPath, PathBuf)>,
}

impl WholeFile {
    /// Fails when `path` is a directory or its folder cannot be written to.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if !there.is_file() => {
                Ok(WholeFile { file: File::options().write(true).open(path)?, draft: None })
            }
            Ok(_) => Self::draft(path.canonicalize()?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Self::draft(path.to_owned()),
            Err(err) => Err(err),
        }
    }

    fn draft(path: PathBuf) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let draft = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        let (file, draft) = draft.into_parts();
        Ok(WholeFile { file, draft: Some((draft, path)) })
    }

    /// The file is on the disk and has its name.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Some((draft, path)) = self.draft else { return Ok(()) };
        self.file.sync_all()?;
        draft.persist(path).map_err(|err| err.error)
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileTypeExt;

    use super::*;

    fn written(path: &Path, text: &str) -> io::Result<()> {
        let mut file = WholeFile::create(path)?;
        file.write_all(text.as_bytes())?;
        file.finish()
    }

    #[test]
    fn a_name_is_taken_at_the_end_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "before").unwrap();
        let mut unfinished = WholeFile::create(&path).unwrap();
        unfinished.write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "before");
        written(&path, "after").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "after");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(WholeFile::create(dir.path()).is_err());
        assert!(WholeFile::create(&dir.path().join("no/such")).is_err());
    }

    #[test]
    fn a_pipe_stays_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let other = path.clone();
        let reader = std::thread::spawn(move || std::fs::read_to_string(other).unwrap());
        written(&path, "through").unwrap();
        assert_eq!(reader.join().unwrap(), "through");
        assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_link_stays_and_what_it_names_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "before").unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        written(&link, "after").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "after");
    }
}
