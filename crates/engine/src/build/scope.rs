//! Paths inside a directory that is another system's root: symlinks are followed as that system would.
//!
//! Nothing else may change the tree meanwhile: contexts and half-built layers are the builder's alone.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The kernel's own limit is 40; moby's is 255.
const MAX_LINKS: usize = 255;

/// Where `path` leads when `root` is `/`. Never outside of `root`; parts that do not exist stay as they are.
pub(super) fn follow(root: &Path, path: &Path) -> io::Result<PathBuf> {
    let mut todo: VecDeque<OsString> = parts(path);
    let mut at = PathBuf::new();
    let mut links = 0;
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let Ok(target) = std::fs::read_link(root.join(&next)) else {
            at = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::other("too many levels of symbolic links"));
        }
        if target.is_absolute() {
            at = PathBuf::new();
        }
        let mut ahead = parts(&target);
        ahead.append(&mut todo);
        todo = ahead;
    }
    Ok(root.join(at))
}

/// The same, but a symlink at the end stays one.
pub(super) fn follow_parent(root: &Path, path: &Path) -> io::Result<PathBuf> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(follow(root, parent)?.join(name)),
        _ => follow(root, path),
    }
}

/// Whether `path`, relative to a directory, names something above it.
pub(super) fn escapes(path: &Path) -> bool {
    let mut depth = 0i32;
    path.components().any(|part| {
        match part {
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            _ => {}
        }
        depth < 0
    })
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_inside_whatever_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("real/sub")).unwrap();
        symlink("/real", root.join("abs")).unwrap();
        symlink("../../../../etc/passwd", root.join("up")).unwrap();
        symlink("abs/sub", root.join("twice")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let go = |path: &str| {
            follow(root, Path::new(path)).map(|path| path.strip_prefix(root).unwrap().to_owned())
        };
        assert_eq!(go("/abs/sub/x").unwrap(), Path::new("real/sub/x"));
        assert_eq!(go("up").unwrap(), Path::new("etc/passwd"));
        assert_eq!(go("twice/../y").unwrap(), Path::new("real/y"));
        assert_eq!(go("../../a").unwrap(), Path::new("a"));
        assert!(go("loop").is_err());
        assert_eq!(follow_parent(root, Path::new("abs/sub")).unwrap(), root.join("real/sub"));
        assert_eq!(follow_parent(root, Path::new("abs")).unwrap(), root.join("abs"));
    }

    #[test]
    fn only_paths_above_the_root_escape() {
        assert!(escapes(Path::new("../x")) && escapes(Path::new("a/../../x")));
        assert!(!escapes(Path::new("a/../x")) && !escapes(Path::new("/a")));
    }
}
