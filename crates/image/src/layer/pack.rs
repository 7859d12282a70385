//! A layer directory as the canonical tar of itself: sorted, whole seconds, no names of users.
//!
//! The same directory always gives the same bytes, so layers of our own need no second copy on disk.
//! overlayfs' whiteouts become `.wh.` files again; sockets are left out, as Docker leaves them out.

use super::unpack::OPAQUE_XATTR;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Attributes that travel with a layer (Docker keeps this one only).
const CAPABILITY: &str = "security.capability";
/// What fits into the name and link fields of a header; longer ones take a PAX record.
const SHORT_NAME: usize = 100;
/// A tar's unit.
const BLOCK: usize = 512;

/// How overlayfs' own marks are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Marks {
    /// As `.wh.` files: the directory is a layer.
    Whiteouts,
    /// Not looked for: the directory is a whole root file system.
    Plain,
}

/// Writes the tar of `root` with its two closing blocks, and returns the bytes of the files in it.
pub(crate) fn pack(root: &Path, marks: Marks, out: impl Write) -> io::Result<u64> {
    pack_into(root, marks, Copying(out)).map(|(_, files_bytes)| files_bytes)
}

/// As [`pack`], for whoever wants to know where the bytes come from.
pub(crate) fn pack_into<S: Sink>(root: &Path, marks: Marks, sink: S) -> io::Result<(S, u64)> {
    let mut packer =
        Packer { tar: Builder::new(sink), links: HashMap::new(), marks, files_bytes: 0 };
    packer.directory(root, Path::new(""))?;
    let mut sink = packer.tar.into_inner()?;
    sink.flush()?;
    Ok((sink, packer.files_bytes))
}

/// Takes a tar: what is written is its headers, the files' content comes apart.
pub(crate) trait Sink: Write {
    /// The `size` bytes of the file `real`, which come next.
    fn content(&mut self, real: &Path, size: u64) -> io::Result<()>;
}

/// Everything, one after the other.
struct Copying<W>(W);

impl<W: Write> Write for Copying<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Sink for Copying<W> {
    fn content(&mut self, real: &Path, size: u64) -> io::Result<()> {
        // A file that grows or shrinks while it is read still fills exactly its place.
        let mut content = open(real)?.chain(io::repeat(0)).take(size);
        io::copy(&mut content, &mut self.0).map(drop)
    }
}

/// Never through a symlink that a running container puts in its place meanwhile.
pub(crate) fn open(real: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    options.open(real)
}

struct Packer<W: Sink> {
    tar: Builder<W>,
    /// First path of each inode that has several.
    links: HashMap<(u64, u64), PathBuf>,
    marks: Marks,
    files_bytes: u64,
}

impl<W: Sink> Packer<W> {
    fn directory(&mut self, dir: &Path, path: &Path) -> io::Result<()> {
        let mut names = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        for name in names {
            self.entry(&dir.join(&name), &path.join(&name))?;
        }
        Ok(())
    }

    fn entry(&mut self, real: &Path, path: &Path) -> io::Result<()> {
        let meta = match fs::symlink_metadata(real) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()), // a live upper moves on
            meta => meta?,
        };
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        if self.marks == Marks::Whiteouts && kind.is_char_device() && meta.rdev() == 0 {
            return self.mark(
                path.parent().unwrap_or(Path::new("")),
                path.file_name().unwrap_or_default(),
            );
        }
        if kind.is_dir() {
            let mut name = path.as_os_str().to_owned();
            name.push("/");
            self.append(header(&meta, EntryType::Directory), name.as_bytes(), &[], real)?;
            if self.marks == Marks::Whiteouts && is_opaque(real) {
                self.mark(path, OsStr::new(".wh..opq"))?;
            }
            return self.directory(real, path);
        }
        let name = path.as_os_str().as_bytes();
        if meta.nlink() > 1 {
            let inode = (meta.dev(), meta.ino());
            if let Some(first) = self.links.get(&inode).cloned() {
                let header = header(&meta, EntryType::Link);
                return self.append(header, name, first.as_os_str().as_bytes(), real);
            }
            self.links.insert(inode, path.to_owned());
        }
        if kind.is_symlink() {
            let target = fs::read_link(real)?;
            let header = header(&meta, EntryType::Symlink);
            return self.append(header, name, target.as_os_str().as_bytes(), real);
        }
        if kind.is_file() {
            return self.file(&meta, real, name);
        }
        self.append(header(&meta, node_kind(&meta)), name, &[], real)
    }

    fn file(&mut self, meta: &Metadata, real: &Path, name: &[u8]) -> io::Result<()> {
        let size = meta.len();
        let mut header = header(meta, EntryType::Regular);
        header.set_size(size);
        self.files_bytes += size;
        self.append(header, name, &[], real)?;
        let sink = self.tar.get_mut();
        sink.content(real, size)?;
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        sink.write_all(&[0; BLOCK][..padding])
    }

    /// `.wh.<name>` in `dir`, always the same bytes.
    fn mark(&mut self, dir: &Path, name: &OsStr) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(0);
        let mut marked = std::ffi::OsString::from(".wh.");
        marked.push(name);
        self.write(header, dir.join(marked).as_os_str().as_bytes(), &[], Vec::new())
    }

    fn append(&mut self, header: Header, name: &[u8], link: &[u8], real: &Path) -> io::Result<()> {
        let mut extensions = Vec::new();
        let carries = matches!(header.entry_type(), EntryType::Regular | EntryType::Directory);
        if carries && let Ok(Some(value)) = xattr::get(real, CAPABILITY) {
            extensions.push((format!("SCHILY.xattr.{CAPABILITY}"), value));
        }
        self.write(header, name, link, extensions)
    }

    fn write(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        mut extensions: Vec<(String, Vec<u8>)>,
    ) -> io::Result<()> {
        if name.len() > SHORT_NAME {
            extensions.push(("path".to_owned(), name.to_vec()));
        }
        if link.len() > SHORT_NAME {
            extensions.push(("linkpath".to_owned(), link.to_vec()));
        }
        if !extensions.is_empty() {
            let pairs = extensions.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(pairs)?;
        }
        let fields = header.as_old_mut();
        let fill = |field: &mut [u8; SHORT_NAME], value: &[u8]| {
            let n = value.len().min(SHORT_NAME);
            field[..n].copy_from_slice(&value[..n]);
        };
        fill(&mut fields.name, name);
        fill(&mut fields.linkname, link);
        header.set_cksum();
        self.tar.append(&header, io::empty())
    }
}

fn header(meta: &Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(meta.mode() & 0o7777);
    header.set_uid(meta.uid().into());
    header.set_gid(meta.gid().into());
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_size(0);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        let device = meta.rdev();
        let major = u32::try_from(nix::sys::stat::major(device)).unwrap_or(0);
        let minor = u32::try_from(nix::sys::stat::minor(device)).unwrap_or(0);
        // A ustar header always has these fields.
        let _always = header.set_device_major(major).and_then(|()| header.set_device_minor(minor));
    }
    header
}

fn node_kind(meta: &Metadata) -> EntryType {
    let kind = meta.file_type();
    if kind.is_char_device() {
        EntryType::Char
    } else if kind.is_block_device() {
        EntryType::Block
    } else {
        EntryType::Fifo
    }
}

/// Whether overlayfs hides what lies below this directory.
pub(crate) fn is_opaque(dir: &Path) -> bool {
    matches!(xattr::get(dir, OPAQUE_XATTR), Ok(Some(value)) if value == b"y")
}
