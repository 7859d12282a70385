//! Secrets and configs as files that containers see: on a tmpfs of the agent's own, never on a disk.
//!
//! ```text
//! <root>/<task>/secrets/<name>       what goes below /run/secrets: that directory is mounted
//! <root>/<task>/<n>/current, v<k>    a file elsewhere: `current` is mounted, v<k> is mounted on `current`
//! ```
//!
//! A running container sees an update at once and whole. In the directory a new file is renamed over the
//! old one. A single file that is mounted cannot be renamed over, so the new one is mounted on top of the old
//! one: `current` is shared, the container's mount of it a slave, and the kernel passes the mount on.

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{Gid, Uid};
use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use types::mount::{BindOptions, Mount};

/// Where Docker puts secrets that name no absolute place.
const SECRETS: &str = "/run/secrets/";
const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// One file of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// In the container; absolute.
    pub(crate) target: String,
    pub(crate) data: Vec<u8>,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Permission bits.
    pub(crate) mode: u32,
}

/// The files of all tasks of this node.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    /// Mounts the tmpfs unless an agent before this one did.
    pub(crate) fn open(root: PathBuf) -> io::Result<Files> {
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        let parent = root.parent().unwrap_or(Path::new("/"));
        if std::fs::metadata(&root)?.dev() == std::fs::metadata(parent)?.dev() {
            let tmpfs = |options| mount(Some("tmpfs"), &root, Some("tmpfs"), FLAGS, Some(options));
            // Kernels before 6.4 cannot be told not to swap a tmpfs out.
            tmpfs("mode=0700,noswap").or_else(|_| tmpfs("mode=0700"))?;
        }
        // Files' own mounts decide what is passed on, not this one.
        mount(None::<&str>, &root, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?;
        Ok(Files { root })
    }

    /// Makes the files of a task, or brings them up to date, and answers what to mount in its container.
    pub(crate) fn put(&self, task: &str, wanted: &[Wanted]) -> io::Result<Vec<Mount>> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        self.update(task, wanted)?;
        let dir = self.root.join(task);
        let mut mounts = Vec::new();
        if wanted.iter().any(|file| below_secrets(&file.target).is_some()) {
            mounts.push(bind(&dir.join("secrets"), SECRETS.trim_end_matches('/'), ""));
        }
        for (number, file) in lone(wanted) {
            mounts.push(bind(
                &dir.join(number.to_string()).join("current"),
                &file.target,
                "rslave",
            ));
        }
        Ok(mounts)
    }

    /// Whether a file is another than before.
    pub(crate) fn update(&self, task: &str, wanted: &[Wanted]) -> io::Result<bool> {
        let dir = self.root.join(task);
        let mut changed = false;
        for file in wanted {
            if let Some(name) = below_secrets(&file.target) {
                let path = dir.join("secrets").join(name);
                changed |= replace(&path, file)?;
            }
        }
        for (number, file) in lone(wanted) {
            changed |= cover(&dir.join(number.to_string()), file)?;
        }
        Ok(changed)
    }

    /// Takes a task's files away. Safe as often as one likes.
    pub(crate) fn remove(&self, task: &str) -> io::Result<()> {
        let dir = self.root.join(task);
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            for name in ["current", "next"] {
                // One for each version that was mounted.
                while umount2(&entry.path().join(name), MntFlags::MNT_DETACH).is_ok() {}
            }
        }
        match std::fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    /// Tasks that have files.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Nothing is left.
    pub(crate) fn close(&self) -> io::Result<()> {
        for task in self.tasks() {
            self.remove(&task)?;
        }
        umount2(&self.root, MntFlags::MNT_DETACH)?;
        std::fs::remove_dir(&self.root)
    }
}

/// A target's name below `/run/secrets`, if it is there and leads nowhere else.
fn below_secrets(target: &str) -> Option<&str> {
    let name = target.strip_prefix(SECRETS)?;
    let plain = name.split('/').all(|part| !matches!(part, "" | "." | ".."));
    plain.then_some(name)
}

/// The files that are mounted one by one, with their numbers.
fn lone(wanted: &[Wanted]) -> impl Iterator<Item = (usize, &Wanted)> {
    wanted.iter().enumerate().filter(|(_, file)| below_secrets(&file.target).is_none())
}

/// `propagation` is `rslave` where what is mounted on the source later shall be seen, else empty.
fn bind(source: &Path, target: &str, propagation: &str) -> Mount {
    Mount {
        kind: "bind".to_owned(),
        source: source.to_string_lossy().into_owned(),
        target: target.to_owned(),
        read_only: true,
        bind_options: Some(BindOptions {
            propagation: propagation.to_owned(),
            ..BindOptions::default()
        }),
        ..Mount::default()
    }
}

/// Whether the file is as wanted already.
fn is_there(path: &Path, file: &Wanted) -> bool {
    let same = |meta: std::fs::Metadata| {
        (meta.uid(), meta.gid(), meta.mode() & 0o7777) == (file.uid, file.gid, file.mode)
    };
    std::fs::metadata(path).is_ok_and(same)
        && std::fs::read(path).is_ok_and(|data| data == file.data)
}

/// Writes `file` to `path` by a rename. Whether it is another than before.
fn replace(path: &Path, file: &Wanted) -> io::Result<bool> {
    if is_there(path, file) {
        return Ok(false);
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    // Whoever the container runs as may look for its file.
    DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    let fresh =
        parent.join(format!(".{}.tmp", path.file_name().unwrap_or_default().to_string_lossy()));
    write(&fresh, file)?;
    std::fs::rename(&fresh, path)?;
    Ok(true)
}

fn write(path: &Path, file: &Wanted) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    out.write_all(&file.data)?;
    nix::unistd::fchown(&out, Some(Uid::from_raw(file.uid)), Some(Gid::from_raw(file.gid)))?;
    // After the owner: a change of owner drops bits.
    out.set_permissions(Permissions::from_mode(file.mode))
}

/// Mounts a new version of `file` on `dir/current`. Whether it is another than before. Older versions stay
/// below it until the task goes: the kernel unlinks no file that is mounted on.
fn cover(dir: &Path, file: &Wanted) -> io::Result<bool> {
    let current = dir.join("current");
    if is_there(&current, file) {
        return Ok(false);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !current.exists() {
        std::fs::File::create(&current)?;
    }
    let version = |entry: std::fs::DirEntry| -> Option<u64> {
        entry.file_name().to_str()?.strip_prefix('v')?.parse().ok()
    };
    let last = std::fs::read_dir(dir)?.flatten().filter_map(version).max();
    let path = dir.join(format!("v{}", last.map_or(0, |last| last + 1)));
    write(&path, file)?;
    let none = None::<&str>;
    // Made read-only before it is seen: that a mount is read-only is not passed on later.
    let next = dir.join("next");
    while umount2(&next, MntFlags::MNT_DETACH).is_ok() {}
    std::fs::File::create(&next)?;
    mount(Some(&path), &next, none, MsFlags::MS_BIND, none)?;
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | FLAGS;
    mount(none, &next, none, read_only, none)?;
    // A peer group of its own for each, so that a later version reaches those who look at this one.
    mount(none, &next, none, MsFlags::MS_PRIVATE, none)?;
    mount(none, &next, none, MsFlags::MS_SHARED, none)?;
    mount(Some(&next), &current, none, MsFlags::MS_MOVE, none)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(target: &str, text: &str) -> Wanted {
        Wanted { target: target.to_owned(), data: text.into(), uid: 7, gid: 8, mode: 0o440 }
    }

    #[test]
    fn files_are_made_changed_in_place_and_taken_away() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: mounts need root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path().join("files")).unwrap();
        let first = [file("/run/secrets/a", "one"), file("/etc/b.conf", "one")];
        let mounts = files.put("t", &first).unwrap();
        let targets: Vec<_> = mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets", "/etc/b.conf"]);
        let secret = Path::new(&mounts[0].source).join("a");
        let meta = std::fs::metadata(&secret).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (7, 8, 0o440));
        assert!(!files.update("t", &first).unwrap());
        for text in ["two", "three"] {
            let next = [file("/run/secrets/a", text), file("/etc/b.conf", text)];
            assert!(files.update("t", &next).unwrap());
            assert_eq!(std::fs::read_to_string(&secret).unwrap(), text);
            assert_eq!(std::fs::read_to_string(&mounts[1].source).unwrap(), text);
        }
        let table = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = dir.path().to_string_lossy().into_owned();
        assert!(table().contains(&own));
        // A second agent finds them again.
        assert_eq!(Files::open(dir.path().join("files")).unwrap().tasks(), ["t"]);
        files.close().unwrap();
        assert!(!table().contains(&own));
    }

    #[test]
    fn a_target_does_not_lead_out_of_the_secrets() {
        assert_eq!(below_secrets("/run/secrets/a/b"), Some("a/b"));
        for target in ["/run/secrets/../x", "/run/secrets/", "/etc/x"] {
            assert_eq!(below_secrets(target), None, "{target}");
        }
    }
}
