//! A tar stream into a layer directory, as overlayfs wants it.
//!
//! Whiteouts become character devices 0:0, opaque markers the `trusted.overlay.opaque` attribute. Every
//! path is resolved by the kernel with the directory as its root (`openat2`, `RESOLVE_IN_ROOT`), so that
//! neither `..` nor symlinks lead outside. The directory must be new and ours alone.

use crate::error::LayerError;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, makedev,
    mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use tar::{Entry, EntryType};
use xattr::FileExt;

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
const PAX_XATTR: &str = "SCHILY.xattr.";
const COPY_BUFFER: usize = 128 * 1024;

/// Unpacks the whole of `tar` into `root` and returns the bytes of its files. Reads to the very end, so
/// that a hash over `tar` covers trailing padding too.
pub(crate) fn unpack(mut tar: impl Read, root: &Path) -> Result<u64, LayerError> {
    let dir = File::open(root).map_err(|source| entry_error("open", root)(source))?;
    let mut unpacker = Unpacker {
        root: dir.into(),
        parent: None,
        directories: Vec::new(),
        files_bytes: 0,
        buffer: vec![0; COPY_BUFFER],
    };
    let mut archive = tar::Archive::new(&mut tar);
    for entry in archive.entries().map_err(LayerError::Tar)? {
        unpacker.entry(entry.map_err(LayerError::Tar)?)?;
    }
    io::copy(&mut tar, &mut io::sink()).map_err(LayerError::Tar)?;
    unpacker.finish()
}

struct Unpacker {
    root: OwnedFd,
    /// The directory of the last entry: neighbours in a tar mostly share it.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Their times are set last, since every entry made inside changes them.
    directories: Vec<(PathBuf, TimeSpec)>,
    files_bytes: u64,
    buffer: Vec<u8>,
}

/// What a tar entry says of an inode, beside its content.
struct Meta {
    owner: (Option<Uid>, Option<Gid>),
    mode: Mode,
    mtime: TimeSpec,
    xattrs: Vec<(String, Vec<u8>)>,
}

fn entry_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> LayerError {
    let path = path.to_owned();
    move |cause| LayerError::Entry { action, path: path.clone(), cause }
}

impl Unpacker {
    fn entry(&mut self, mut entry: Entry<'_, impl Read>) -> Result<(), LayerError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let shown = PathBuf::from(OsStr::from_bytes(&entry.path_bytes()));
        let path = inside(&shown)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            return self.root_entry(&mut entry);
        };
        let parent = path.parent().unwrap_or(Path::new("")).to_owned();
        let failed = |source: Errno| entry_error("unpack", &shown)(source.into());
        let bytes = name.as_bytes();
        if bytes.starts_with(WHITEOUT_META) {
            if bytes == OPAQUE {
                self.make_opaque(&parent).map_err(failed)?;
            }
            return Ok(());
        }
        self.enter(&parent).map_err(failed)?;
        if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
            return self.whiteout(OsStr::from_bytes(hidden), &shown);
        }
        let meta = meta(&mut entry).map_err(LayerError::Tar)?;
        match kind {
            EntryType::Directory => self.directory(path, &name, &meta).map_err(failed),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&mut entry, &name, &meta).map_err(entry_error("write", &shown))
            }
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = PathBuf::from(OsStr::from_bytes(&target));
                self.link(kind, &target, &name, &meta, &shown)
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                let device = if kind == EntryType::Fifo {
                    0
                } else {
                    device(entry.header()).map_err(LayerError::Tar)?
                };
                self.node(kind, device, &name, &meta).map_err(failed)
            }
            other => Err(LayerError::Unsupported { path: shown, kind: other.as_byte() }),
        }
    }

    /// `./`: the attributes of the layer's root.
    fn root_entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), LayerError> {
        if entry.header().entry_type() != EntryType::Directory {
            return Ok(());
        }
        let meta = meta(entry).map_err(LayerError::Tar)?;
        let set = fchown(&self.root, meta.owner.0, meta.owner.1)
            .and_then(|()| fchmod(&self.root, meta.mode));
        set.map_err(|source| entry_error("unpack", Path::new("/"))(source.into()))?;
        self.directories.push((PathBuf::new(), meta.mtime));
        Ok(())
    }

    /// The directory that holds the current entry.
    fn here(&self) -> &OwnedFd {
        self.parent.as_ref().map_or(&self.root, |(_, fd)| fd)
    }

    /// Makes `path` the current directory, creating what is missing of it.
    fn enter(&mut self, path: &Path) -> nix::Result<()> {
        if self.parent.as_ref().is_some_and(|(current, _)| current == path) {
            return Ok(());
        }
        let fd = match open_in_root(&self.root, path) {
            Err(Errno::ENOENT | Errno::ENOTDIR) => self.create_all(path)?,
            opened => opened?,
        };
        self.parent = Some((path.to_owned(), fd));
        Ok(())
    }

    /// Directories that the tar takes for granted: 0755, root's.
    fn create_all(&self, path: &Path) -> nix::Result<OwnedFd> {
        let mut made = PathBuf::new();
        let mut above = open_in_root(&self.root, &made)?;
        for name in path {
            made.push(name);
            above = match open_in_root(&self.root, &made) {
                Err(Errno::ENOENT | Errno::ENOTDIR) => {
                    let was_whiteout = clear_whiteout(&above, name)?;
                    mkdirat(&above, name, Mode::from_bits_truncate(0o755))?;
                    let fd = open_in_root(&self.root, &made)?;
                    if was_whiteout {
                        set_opaque(&File::from(fd.try_clone().map_err(|_| Errno::EMFILE)?))?;
                    }
                    fd
                }
                opened => opened?,
            };
        }
        Ok(above)
    }

    fn make_opaque(&mut self, dir: &Path) -> nix::Result<()> {
        self.enter(dir)?;
        set_opaque(&File::from(self.here().try_clone().map_err(|_| Errno::EMFILE)?))
    }

    /// Hides `name` of the layers below. A file of the same name in this layer stays (OCI image spec).
    fn whiteout(&mut self, name: &OsStr, shown: &Path) -> Result<(), LayerError> {
        if name.is_empty() || name == ".." || name == "." {
            return Err(LayerError::Escape(shown.to_owned()));
        }
        match mknodat(self.here(), name, SFlag::S_IFCHR, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(err) => Err(entry_error("mknod", shown)(err.into())),
        }
    }

    fn directory(&mut self, path: PathBuf, name: &OsStr, meta: &Meta) -> nix::Result<()> {
        let here = self.here();
        let mut opaque = false;
        match file_kind(here, name)? {
            Some(SFlag::S_IFDIR) => {}
            Some(_) => {
                opaque = clear_whiteout(here, name)?;
                if !opaque {
                    unlinkat(here, name, UnlinkatFlags::NoRemoveDir)?;
                }
                mkdirat(here, name, Mode::from_bits_truncate(0o755))?;
            }
            None => mkdirat(here, name, Mode::from_bits_truncate(0o755))?,
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let dir = File::from(openat(here, name, flags, Mode::empty())?);
        fchown(&dir, meta.owner.0, meta.owner.1)?;
        fchmod(&dir, meta.mode)?;
        if opaque {
            set_opaque(&dir)?;
        }
        set_xattrs(&dir, meta)?;
        self.directories.push((path, meta.mtime));
        Ok(())
    }

    fn file(&mut self, content: &mut impl Read, name: &OsStr, meta: &Meta) -> io::Result<()> {
        self.clear(name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file =
            File::from(openat(self.here(), name, flags, Mode::from_bits_truncate(0o600))?);
        self.files_bytes += copy(content, &mut file, &mut self.buffer)?;
        fchown(&file, meta.owner.0, meta.owner.1)?;
        fchmod(&file, meta.mode)?;
        set_xattrs(&file, meta)?;
        futimens(&file, &meta.mtime, &meta.mtime)?;
        Ok(())
    }

    fn link(
        &mut self,
        kind: EntryType,
        target: &Path,
        name: &OsStr,
        meta: &Meta,
        shown: &Path,
    ) -> Result<(), LayerError> {
        let failed = |source: Errno| entry_error("link", shown)(source.into());
        if kind == EntryType::Link {
            return self.hard_link(&inside(target)?, name).map_err(failed);
        }
        self.symlink(target, name, meta).map_err(failed)
    }

    fn hard_link(&mut self, target: &Path, name: &OsStr) -> nix::Result<()> {
        let file = target.file_name().ok_or(Errno::EINVAL)?;
        let from = open_in_root(&self.root, target.parent().unwrap_or(Path::new("")))?;
        if file_kind(&from, file)?.is_none() {
            return Err(Errno::ENOENT);
        }
        let itself =
            self.parent.as_ref().is_some_and(|(dir, _)| Some(dir.as_path()) == target.parent())
                && file == name;
        if itself {
            return Ok(());
        }
        self.clear(name)?;
        linkat(&from, file, self.here(), name, AtFlags::empty())
    }

    fn symlink(&mut self, target: &Path, name: &OsStr, meta: &Meta) -> nix::Result<()> {
        self.clear(name)?;
        symlinkat(target, self.here(), name)?;
        self.set_owner_and_time(name, meta)
    }

    fn node(&mut self, kind: EntryType, device: u64, name: &OsStr, meta: &Meta) -> nix::Result<()> {
        let (kind, device) = match kind {
            EntryType::Char => (SFlag::S_IFCHR, device),
            EntryType::Block => (SFlag::S_IFBLK, device),
            _ => (SFlag::S_IFIFO, 0),
        };
        self.clear(name)?;
        mknodat(self.here(), name, kind, Mode::empty(), device)?;
        fchownat(self.here(), name, meta.owner.0, meta.owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        // A node that we just made: there is no symlink to follow.
        fchmodat(self.here(), name, meta.mode, FchmodatFlags::FollowSymlink)?;
        utimensat(self.here(), name, &meta.mtime, &meta.mtime, UtimensatFlags::NoFollowSymlink)
    }

    fn set_owner_and_time(&self, name: &OsStr, meta: &Meta) -> nix::Result<()> {
        let nofollow = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(self.here(), name, meta.owner.0, meta.owner.1, nofollow)?;
        utimensat(self.here(), name, &meta.mtime, &meta.mtime, UtimensatFlags::NoFollowSymlink)
    }

    /// Removes what an earlier entry of this layer left under `name`.
    fn clear(&mut self, name: &OsStr) -> nix::Result<()> {
        match file_kind(self.here(), name)? {
            None => Ok(()),
            Some(SFlag::S_IFDIR) => {
                let here = self.here().try_clone().map_err(|_| Errno::EMFILE)?;
                // Below it may lie the cached directory; drop every doubt.
                let current = self.parent.take();
                remove_dir(&here, name)?;
                self.parent = current.map(|(path, _)| (path, here));
                Ok(())
            }
            Some(_) => unlinkat(self.here(), name, UnlinkatFlags::NoRemoveDir),
        }
    }

    fn finish(self) -> Result<u64, LayerError> {
        for (path, mtime) in self.directories.iter().rev() {
            let set = match open_in_root(&self.root, path) {
                Ok(dir) => futimens(&dir, mtime, mtime),
                // Replaced by a later entry of another kind.
                Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(()),
                Err(err) => Err(err),
            };
            set.map_err(|source| entry_error("set times of", path)(source.into()))?;
        }
        Ok(self.files_bytes)
    }
}

/// `path` without a leading slash, `.` and `..`; refused when it climbs out.
fn inside(path: &Path) -> Result<PathBuf, LayerError> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    return Err(LayerError::Escape(path.to_owned()));
                }
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(clean)
}

fn open_in_root(root: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root, path, how)
}

/// Opens a regular file below `root` for reading; no path leads outside.
pub(crate) fn open_file(root: &Path, path: &Path) -> io::Result<File> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(File::open(root)?, path, how)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn file_kind(dir: &OwnedFd, name: &OsStr) -> nix::Result<Option<SFlag>> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)),
        Err(Errno::ENOENT) => Ok(None),
        Err(err) => Err(err),
    }
}

/// Removes a whiteout called `name`; whether there was one.
fn clear_whiteout(dir: &OwnedFd, name: &OsStr) -> nix::Result<bool> {
    let stat = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => return Ok(false),
        stat => stat?,
    };
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFCHR || stat.st_rdev != 0 {
        return Ok(false);
    }
    unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?;
    Ok(true)
}

/// Removes a directory tree without ever following a symlink.
fn remove_dir(parent: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty())?;
    let mut listing = nix::dir::Dir::from_fd(dir.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let names: Vec<OsString> = listing
        .iter()
        .map(|entry| entry.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned()))
        .collect::<nix::Result<_>>()?;
    for child in names.iter().filter(|child| *child != "." && *child != "..") {
        match file_kind(&dir, child)? {
            Some(SFlag::S_IFDIR) => remove_dir(&dir, child)?,
            _ => unlinkat(&dir, child.as_os_str(), UnlinkatFlags::NoRemoveDir)?,
        }
    }
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

fn set_opaque(dir: &File) -> nix::Result<()> {
    dir.set_xattr(OPAQUE_XATTR, b"y").map_err(errno)
}

/// Capabilities and user attributes. Never `trusted.overlay.*`, which would steer the mount, and nothing
/// that the file system does not keep.
fn set_xattrs(file: &File, meta: &Meta) -> nix::Result<()> {
    for (name, value) in &meta.xattrs {
        match file.set_xattr(name, value).map_err(errno) {
            Ok(()) | Err(Errno::EOPNOTSUPP | Errno::EPERM) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn errno(err: io::Error) -> Errno {
    Errno::from_raw(err.raw_os_error().unwrap_or(nix::libc::EIO))
}

fn meta(entry: &mut Entry<'_, impl Read>) -> io::Result<Meta> {
    let mut mtime = None;
    let mut xattrs = Vec::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            let Ok(key) = extension.key() else { continue };
            if key == "mtime" {
                mtime = extension.value().ok().and_then(parse_time);
            } else if let Some(name) = key.strip_prefix(PAX_XATTR)
                && !name.starts_with("trusted.")
            {
                xattrs.push((name.to_owned(), extension.value_bytes().to_vec()));
            }
        }
    }
    let header = entry.header();
    let old = header.as_old();
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
    let uid = if is_blank(&old.uid) { 0 } else { id(header.uid()?)? };
    let gid = if is_blank(&old.gid) { 0 } else { id(header.gid()?)? };
    let mode = if is_blank(&old.mode) { 0 } else { header.mode()? };
    let seconds = if is_blank(&old.mtime) { 0 } else { header.mtime()? };
    let seconds = i64::try_from(seconds).unwrap_or(0);
    Ok(Meta {
        owner: (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))),
        mode: Mode::from_bits_truncate(mode & 0o7777),
        mtime: mtime.unwrap_or(TimeSpec::new(seconds, 0)),
        xattrs,
    })
}

fn device(header: &tar::Header) -> io::Result<u64> {
    let major = header.device_major()?.unwrap_or(0);
    let minor = header.device_minor()?.unwrap_or(0);
    Ok(makedev(major.into(), minor.into()))
}

/// Some writers leave numbers out; Go reads those as zero.
fn is_blank(field: &[u8]) -> bool {
    field.iter().all(|byte| matches!(byte, 0 | b' '))
}

/// PAX writes times as decimal seconds, `1700000000.123456789`.
fn parse_time(text: &str) -> Option<TimeSpec> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some(TimeSpec::new(seconds.parse().ok()?, digits.parse().ok()?))
}

fn copy(from: &mut impl Read, to: &mut File, buffer: &mut [u8]) -> io::Result<u64> {
    let mut total = 0;
    loop {
        let n = match from.read(buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        };
        to.write_all(&buffer[..n])?;
        total += n as u64;
    }
}
