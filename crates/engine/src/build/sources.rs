//! What a `COPY` or `ADD` takes: paths and patterns resolved, and one hash over all of it.
//!
//! Names, kinds, modes, link targets and contents count; times and owners do not, so that a fresh checkout
//! hits the cache.

use super::output::Failure;
use super::scope;
use dockerfile::Ignore;
use sha2::{Digest, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const READ_BUFFER: usize = 128 * 1024;

/// One thing to copy.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Where it is on this machine.
    pub(super) path: PathBuf,
    /// What it is called in a destination directory.
    pub(super) name: PathBuf,
    /// Its place below its root, for `--parents`.
    pub(super) relative: PathBuf,
    /// It came from elsewhere than a directory tree: a heredoc, a download. `ADD` unpacks neither unless
    /// told to.
    pub(super) made: bool,
}

/// Finds `word` below `root`: a path, or a pattern that may stand for many.
pub(super) fn find(root: &Path, word: &str) -> Result<Vec<Source>, Failure> {
    let relative = word.trim_start_matches('/');
    if scope::escapes(Path::new(relative)) {
        return Err(Failure::new(format!("forbidden path outside the build context: {word} ()")));
    }
    if !word.contains(['*', '?', '[']) {
        return one(root, Path::new(relative)).map(|source| vec![source]);
    }
    let mut found = Vec::new();
    let pattern = relative.strip_prefix("./").unwrap_or(relative).trim_end_matches('/');
    matching(root, Path::new(""), pattern, &mut found)
        .map_err(|err| Failure::new(format!("{word}: {err}")))?;
    found.iter().map(|path| one(root, path)).collect()
}

fn one(root: &Path, relative: &Path) -> Result<Source, Failure> {
    let clean: PathBuf =
        relative.components().filter(|part| *part != std::path::Component::CurDir).collect();
    let missing = |why: &str| {
        let shown = clean.display();
        Failure::new(format!(
            "file not found in build context or excluded by .dockerignore: stat {shown}: {why}"
        ))
    };
    let path = scope::follow(root, &clean).map_err(|err| missing(&err.to_string()))?;
    if fs::symlink_metadata(&path).is_err() {
        return Err(missing("file does not exist"));
    }
    let name = clean.file_name().map(PathBuf::from).unwrap_or_default();
    Ok(Source { path, name, relative: clean, made: false })
}

/// Depth first and in order, as Go walks. A directory that matches is taken whole and still entered, for a
/// pattern never matches below its own depth.
fn matching(root: &Path, below: &Path, pattern: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for name in sorted(&root.join(below))? {
        let path = below.join(name);
        if dockerfile::glob_matches(pattern, &path.to_string_lossy()) {
            found.push(path.clone());
        }
        if fs::symlink_metadata(root.join(&path))?.is_dir() {
            matching(root, &path, pattern, found)?;
        }
    }
    Ok(())
}

/// The names in a directory.
pub(super) fn sorted(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names: io::Result<Vec<_>> =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// `file:<hex>`, `dir:<hex>` or `multi:<hex>`, as dockerd labels them.
pub(super) fn hash(sources: &[Source], exclude: &Ignore) -> io::Result<String> {
    let mut hasher = Hasher { sum: Sha256::new(), buffer: vec![0; READ_BUFFER] };
    for source in sources {
        hasher.text(b"source", source.name.as_os_str().as_bytes());
        hasher.tree(&source.path, Path::new(""), exclude)?;
    }
    let kind = match sources {
        [one] if one.path.is_dir() => "dir",
        [_] => "file",
        _ => "multi",
    };
    Ok(format!("{kind}:{}", hex::encode(hasher.sum.finalize())))
}

struct Hasher {
    sum: Sha256,
    buffer: Vec<u8>,
}

impl Hasher {
    /// With its length, so that no two lists of texts look alike.
    fn text(&mut self, kind: &[u8], text: &[u8]) {
        self.sum.update(kind);
        self.sum.update((text.len() as u64).to_le_bytes());
        self.sum.update(text);
    }

    fn tree(&mut self, path: &Path, relative: &Path, exclude: &Ignore) -> io::Result<()> {
        let meta = fs::symlink_metadata(path)?;
        let kind = meta.file_type();
        if kind.is_symlink() {
            self.text(b"link", fs::read_link(path)?.as_os_str().as_bytes());
        } else if kind.is_dir() {
            self.sum.update(b"dir");
            self.sum.update((meta.mode() & 0o7777).to_le_bytes());
            for name in sorted(path)? {
                let relative = relative.join(&name);
                if is_left_out(exclude, &relative, path.join(&name).is_dir()) {
                    continue;
                }
                self.text(b"name", name.as_bytes());
                self.tree(&path.join(&name), &relative, exclude)?;
            }
            self.sum.update(b"end");
        } else {
            self.file(path, &meta)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, meta: &Metadata) -> io::Result<()> {
        self.sum.update(b"file");
        self.sum.update(meta.mode().to_le_bytes());
        self.sum.update(meta.len().to_le_bytes());
        if !meta.is_file() {
            self.sum.update(meta.rdev().to_le_bytes());
            return Ok(());
        }
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut self.buffer)? {
                0 => return Ok(()),
                count => self.sum.update(&self.buffer[..count]),
            }
        }
    }
}

/// `--exclude`: a left-out directory is still entered when an exception may be below it.
pub(super) fn is_left_out(exclude: &Ignore, relative: &Path, is_dir: bool) -> bool {
    let path = relative.to_string_lossy();
    exclude.matches(&path) && (!is_dir || exclude.prunes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("src/deep")).unwrap();
        for name in ["a.txt", "b.txt", "src/c.txt", "src/deep/d.md"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("src/c.txt", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
        dir
    }

    fn names(dir: &Path, word: &str) -> Result<Vec<String>, String> {
        let found = find(dir, word).map_err(|failure| failure.message)?;
        Ok(found.iter().map(|source| source.relative.display().to_string()).collect())
    }

    #[test]
    fn patterns_stand_for_what_is_there_and_paths_must_be() {
        let dir = tree();
        assert_eq!(names(dir.path(), "*.txt").unwrap(), ["a.txt", "b.txt"]);
        assert_eq!(names(dir.path(), "src/*").unwrap(), ["src/c.txt", "src/deep"]);
        assert_eq!(names(dir.path(), "nope*").unwrap(), Vec::<String>::new());
        assert_eq!(names(dir.path(), "./src/").unwrap(), ["src"]);
        assert_eq!(find(dir.path(), "link").unwrap()[0].path, dir.path().join("src/c.txt"));
        assert_eq!(
            names(dir.path(), "nope").unwrap_err(),
            "file not found in build context or excluded by .dockerignore: stat nope: file does not exist"
        );
        assert_eq!(
            names(dir.path(), "../x").unwrap_err(),
            "forbidden path outside the build context: ../x ()"
        );
        // Absolute inside the context, where it does not exist.
        assert!(names(dir.path(), "out").is_err());
    }

    #[test]
    fn the_hash_sees_content_names_and_modes_but_no_times() {
        let dir = tree();
        let all = || hash(&find(dir.path(), "src").unwrap(), &Ignore::default()).unwrap();
        let first = all();
        assert!(first.starts_with("dir:"));
        let file = File::open(dir.path().join("src/c.txt")).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(all(), first);
        fs::write(dir.path().join("src/c.txt"), "C").unwrap();
        let changed = all();
        assert_ne!(changed, first);
        fs::rename(dir.path().join("src/c.txt"), dir.path().join("src/e.txt")).unwrap();
        assert_ne!(all(), changed);
        let exclude = Ignore::from_patterns(["e.txt"]).unwrap();
        let without = || hash(&find(dir.path(), "src").unwrap(), &exclude).unwrap();
        let before = without();
        fs::write(dir.path().join("src/e.txt"), "other").unwrap();
        assert_eq!(without(), before);
    }
}
