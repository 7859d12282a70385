//! Files into a half-built layer: what `COPY` and `ADD` write.

use super::sources::{self, Source, is_left_out};
use super::{archive, scope};
use dockerfile::Ignore;
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// How files are written.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// The layer's file system.
    pub(super) root: &'a Path,
    pub(super) owner: (u32, u32),
    /// Whether `owner` was asked for: else an archive keeps its own.
    pub(super) owner_given: bool,
    pub(super) mode: Option<u32>,
    pub(super) exclude: &'a Ignore,
    /// Keep the sources' own directories below the destination.
    pub(super) parents: bool,
    /// Unpack archives: `ADD`'s default for files of the context.
    pub(super) unpack: Option<bool>,
}

impl Target<'_> {
    /// Copies everything to `destination`, an absolute path; with a slash at its end it is a directory.
    pub(super) fn copy(&self, sources: &[Source], destination: &str) -> io::Result<()> {
        let place = scope::follow(self.root, Path::new(destination))?;
        let is_dir = destination.ends_with('/')
            || destination.ends_with("/.")
            || place.is_dir()
            || self.parents;
        for source in sources {
            let below = if self.parents { &source.relative } else { &source.name };
            if source.path.is_dir() {
                let to = if self.parents { self.inside(&place, below)? } else { place.clone() };
                self.directory(source, &to)?;
            } else if self.wants_unpacking(source) && self.unpack(source, &place)? {
                continue;
            } else {
                let to = if is_dir { self.inside(&place, below)? } else { place.clone() };
                self.make_parents(&to)?;
                self.entry(&source.path, &to)?;
            }
        }
        Ok(())
    }

    fn wants_unpacking(&self, source: &Source) -> bool {
        self.unpack.is_some_and(|unpack| unpack && !source.made)
    }

    fn unpack(&self, source: &Source, place: &Path) -> io::Result<bool> {
        let to = place.strip_prefix(self.root).unwrap_or(place);
        archive::add(&source.path, self.root, to, self.owner_given.then_some(self.owner))
    }

    fn inside(&self, place: &Path, below: &Path) -> io::Result<PathBuf> {
        let place = place.strip_prefix(self.root).unwrap_or(place);
        scope::follow_parent(self.root, &place.join(below))
    }

    /// The source's content into `to`, which is made like the source when it is missing.
    fn directory(&self, source: &Source, to: &Path) -> io::Result<()> {
        if !to.is_dir() {
            self.make_parents(to)?;
            archive::remove(to)?;
            fs::create_dir(to)?;
            self.finish(to, &fs::metadata(&source.path)?)?;
        }
        self.children(&source.path, to, Path::new(""))
    }

    fn children(&self, from: &Path, to: &Path, relative: &Path) -> io::Result<()> {
        for name in sources::sorted(from)? {
            let (from, relative) = (from.join(&name), relative.join(&name));
            let is_dir = fs::symlink_metadata(&from)?.is_dir();
            if is_left_out(self.exclude, &relative, is_dir) {
                continue;
            }
            let to = to.join(&name);
            if is_dir {
                self.merge_directory(&from, &to, &relative)?;
            } else {
                self.entry(&from, &to)?;
            }
        }
        Ok(())
    }

    /// Into what is there: a directory, or a link to one (`/lib` of a merged `/usr`).
    fn merge_directory(&self, from: &Path, to: &Path, relative: &Path) -> io::Result<()> {
        let inside = to.strip_prefix(self.root).unwrap_or(to);
        let real = scope::follow(self.root, inside)?;
        if !real.is_dir() {
            archive::remove(to)?;
            fs::create_dir(to)?;
        }
        let real = if real.is_dir() { real } else { to.to_owned() };
        self.children(from, &real, relative)?;
        self.finish(&real, &fs::metadata(from)?)
    }

    /// One file, link or node, in place of whatever is there.
    fn entry(&self, from: &Path, to: &Path) -> io::Result<()> {
        let meta = fs::symlink_metadata(from)?;
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        archive::remove(to)?;
        if kind.is_symlink() {
            symlink(fs::read_link(from)?, to)?;
            return lchown(to, Some(self.owner.0), Some(self.owner.1));
        }
        if kind.is_file() {
            let mut target = File::create_new(to)?;
            io::copy(&mut File::open(from)?, &mut target)?;
            copy_capabilities(from, to);
        } else {
            use nix::sys::stat::{Mode, SFlag, mknod};
            let kind = SFlag::from_bits_truncate(meta.mode() & libc_file_type());
            mknod(to, kind, Mode::empty(), meta.rdev())?;
        }
        self.finish(to, &meta)
    }

    /// Owner, mode, times. The owner first: changing it clears the set-user-id bits.
    fn finish(&self, place: &Path, like: &Metadata) -> io::Result<()> {
        chown(place, Some(self.owner.0), Some(self.owner.1))?;
        let mode = self.mode.unwrap_or(like.mode() & 0o7777);
        fs::set_permissions(place, Permissions::from_mode(mode))?;
        set_times(place, like)
    }

    /// Missing directories above `place`, with the owner that was asked for.
    fn make_parents(&self, place: &Path) -> io::Result<()> {
        let missing = place.ancestors().skip(1).take_while(|dir| !dir.is_dir());
        let missing: Vec<&Path> = missing.collect();
        for dir in missing.into_iter().rev() {
            fs::create_dir(dir)?;
            fs::set_permissions(dir, Permissions::from_mode(0o755))?;
            chown(dir, Some(self.owner.0), Some(self.owner.1))?;
        }
        Ok(())
    }
}

const fn libc_file_type() -> u32 {
    nix::sys::stat::SFlag::S_IFMT.bits()
}

/// File capabilities travel with a program (`COPY --from`); other attributes belong to where it was.
fn copy_capabilities(from: &Path, to: &Path) {
    const NAME: &str = "security.capability";
    if let Ok(Some(value)) = xattr::get(from, NAME) {
        let _unsupported = xattr::set(to, NAME, &value);
    }
}

fn set_times(place: &Path, like: &Metadata) -> io::Result<()> {
    use nix::sys::time::TimeSpec;
    let mtime = TimeSpec::new(like.mtime(), like.mtime_nsec());
    let flags = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
    Ok(nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, place, &mtime, &mtime, flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trees {
        dir: tempfile::TempDir,
    }

    impl Trees {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            for path in ["src/bin", "src/lib", "root/usr/lib", "root/etc"] {
                fs::create_dir_all(dir.path().join(path)).unwrap();
            }
            fs::write(dir.path().join("src/bin/tool"), "tool").unwrap();
            fs::write(dir.path().join("src/lib/x.so"), "x").unwrap();
            fs::write(dir.path().join("src/a.txt"), "a").unwrap();
            fs::set_permissions(dir.path().join("src/bin/tool"), Permissions::from_mode(0o4755))
                .unwrap();
            symlink("usr/lib", dir.path().join("root/lib")).unwrap();
            symlink("/etc", dir.path().join("root/config")).unwrap();
            Trees { dir }
        }
        fn root(&self) -> PathBuf {
            self.dir.path().join("root")
        }
        fn copy(&self, words: &[&str], destination: &str, change: impl FnOnce(&mut Target<'_>)) {
            let (root, exclude) = (self.root(), Ignore::default());
            let mut target = Target {
                root: &root,
                owner: (0, 0),
                owner_given: false,
                mode: None,
                exclude: &exclude,
                parents: false,
                unpack: None,
            };
            change(&mut target);
            let found = words
                .iter()
                .flat_map(|word| sources::find(&self.dir.path().join("src"), word).unwrap());
            target.copy(&found.collect::<Vec<_>>(), destination).unwrap();
        }
        fn text(&self, path: &str) -> String {
            fs::read_to_string(self.root().join(path)).unwrap()
        }
    }

    #[test]
    fn a_file_goes_to_a_name_or_into_a_directory() {
        let trees = Trees::new();
        trees.copy(&["a.txt"], "/new/name", |_| ());
        assert_eq!(trees.text("new/name"), "a");
        trees.copy(&["a.txt"], "/new/dir/", |_| ());
        assert_eq!(trees.text("new/dir/a.txt"), "a");
        // Through a link that means the image's own /etc.
        trees.copy(&["a.txt"], "/config", |_| ());
        assert_eq!(trees.text("etc/a.txt"), "a");
    }

    #[test]
    fn a_directorys_content_is_merged_and_links_to_directories_stay() {
        let trees = Trees::new();
        trees.copy(&["."], "/", |_| ());
        assert_eq!(trees.text("usr/lib/x.so"), "x");
        assert!(fs::symlink_metadata(trees.root().join("lib")).unwrap().is_symlink());
        let tool = fs::metadata(trees.root().join("bin/tool")).unwrap();
        assert_eq!(tool.mode() & 0o7777, 0o4755);
    }

    #[test]
    fn owner_mode_exclusions_and_parents_are_honoured() {
        let trees = Trees::new();
        let exclude = Ignore::from_patterns(["*.txt"]).unwrap();
        let change = |target: &mut Target<'_>| {
            target.owner = (7, 8);
            target.mode = Some(0o600);
        };
        trees.copy(&["a.txt"], "/own/file", change);
        let meta = fs::metadata(trees.root().join("own/file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (7, 8, 0o600));
        assert_eq!(fs::metadata(trees.root().join("own")).unwrap().uid(), 7);
        trees.copy(&["bin/tool"], "/keep", |target| target.parents = true);
        assert_eq!(trees.text("keep/bin/tool"), "tool");
        let root = trees.root();
        let target = Target {
            root: &root,
            owner: (0, 0),
            owner_given: false,
            mode: None,
            exclude: &exclude,
            parents: false,
            unpack: None,
        };
        let all = sources::find(&trees.dir.path().join("src"), ".").unwrap();
        target.copy(&all, "/some").unwrap();
        assert!(!root.join("some/a.txt").exists() && root.join("some/bin/tool").exists());
    }
}
