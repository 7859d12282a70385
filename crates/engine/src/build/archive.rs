//! Archives: the context as it arrives, and what `ADD` unpacks.

use super::scope;
use crate::archive::plain;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

const READ_BUFFER: usize = 256 * 1024;
/// Where `ustar` stands in a tar's first block.
const MAGIC_AT: usize = 257;

/// Unpacks a context, compressed or not, into an empty directory. Files belong to root, whoever they
/// belonged to at the client; no entry leaves the directory.
pub(super) fn unpack_context(from: impl Read + Send, to: &Path) -> io::Result<()> {
    let plain = plain(from)?;
    let mut plain = BufReader::with_capacity(READ_BUFFER, plain);
    if plain.fill_buf()?.is_empty() {
        return Ok(());
    }
    unpack(&mut plain, to, Path::new(""), Some((0, 0)))?;
    // The client must be read to its end, or it sees a broken connection instead of our answer.
    io::copy(&mut plain, &mut io::sink()).map(drop)
}

/// If `file` is a tar, compressed in any way that Docker knows, unpacks it below `to` (in `root`) and
/// returns true. Owners are the archive's unless `owner` says otherwise.
pub(super) fn add(
    file: &Path,
    root: &Path,
    to: &Path,
    owner: Option<(u32, u32)>,
) -> io::Result<bool> {
    let mut head = Vec::with_capacity(512);
    let opened = plain(File::open(file)?)
        .and_then(|mut plain| plain.by_ref().take(512).read_to_end(&mut head).map(|_| plain));
    // What only begins like an archive is a file as others.
    let Ok(mut plain) = opened else { return Ok(false) };
    if head.get(MAGIC_AT..MAGIC_AT + 5) != Some(b"ustar") {
        return Ok(false);
    }
    unpack(&mut io::Cursor::new(head).chain(&mut plain), root, to, owner)?;
    Ok(true)
}

/// Unpacks a tar below `to` in `root`; every path is resolved with `root` as `/`.
fn unpack(
    from: &mut dyn Read,
    root: &Path,
    to: &Path,
    owner: Option<(u32, u32)>,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(from);
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.into_owned();
        if scope::escapes(&name) {
            return Err(io::Error::other(format!(
                "invalid path {}: it leads outside",
                name.display()
            )));
        }
        let place = scope::follow_parent(root, &to.join(&name))?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        let made = unpack_entry(&mut entry, root, to, &place)?;
        if let Some(kind) = made {
            let header = entry.header();
            let ids = owner.unwrap_or((header.uid()? as u32, header.gid()? as u32));
            finish(&place, kind, ids, header.mode()?)?;
            match kind {
                Made::Directory => directories.push((place, header.mtime()?)),
                Made::File => set_time(&place, header.mtime()?),
                Made::Link => {}
            }
        }
    }
    // What was put inside changed their times.
    directories.iter().rev().for_each(|(place, mtime)| set_time(place, *mtime));
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Directory,
    File,
    /// Has neither mode nor time of its own.
    Link,
}

fn unpack_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    root: &Path,
    to: &Path,
    place: &Path,
) -> io::Result<Option<Made>> {
    use tar::EntryType;
    let kind = entry.header().entry_type();
    if kind == EntryType::Directory {
        if !place.is_dir() {
            remove(place)?;
            fs::create_dir(place)?;
        }
        return Ok(Some(Made::Directory));
    }
    if kind.is_pax_global_extensions() {
        return Ok(None);
    }
    remove(place)?;
    match kind {
        EntryType::Symlink => {
            symlink(link_name(entry)?, place)?;
            Ok(Some(Made::Link))
        }
        EntryType::Link => {
            let target = scope::follow_parent(root, &to.join(link_name(entry)?))?;
            fs::hard_link(target, place)?;
            Ok(None)
        }
        EntryType::Fifo | EntryType::Char | EntryType::Block => {
            make_node(entry.header(), place)?;
            Ok(Some(Made::File))
        }
        _ => {
            let mut file = File::create_new(place)?;
            io::copy(entry, &mut file)?;
            Ok(Some(Made::File))
        }
    }
}

fn link_name(entry: &tar::Entry<'_, impl Read>) -> io::Result<std::path::PathBuf> {
    let missing = || io::Error::other("link without a target");
    Ok(entry.link_name()?.ok_or_else(missing)?.into_owned())
}

fn make_node(header: &tar::Header, place: &Path) -> io::Result<()> {
    use nix::sys::stat::{Mode, SFlag, makedev, mknod};
    let kind = match header.entry_type() {
        tar::EntryType::Char => SFlag::S_IFCHR,
        tar::EntryType::Block => SFlag::S_IFBLK,
        _ => SFlag::S_IFIFO,
    };
    let major = header.device_major()?.unwrap_or(0).into();
    let minor = header.device_minor()?.unwrap_or(0).into();
    Ok(mknod(place, kind, Mode::empty(), makedev(major, minor))?)
}

/// Removes what is there, a whole directory too; nothing is fine.
pub(super) fn remove(place: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(place) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(place),
        Ok(_) => fs::remove_file(place),
        Err(err) => Err(err),
    };
    match removed {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn finish(place: &Path, kind: Made, (uid, gid): (u32, u32), mode: u32) -> io::Result<()> {
    if kind == Made::Link {
        return lchown(place, Some(uid), Some(gid));
    }
    chown(place, Some(uid), Some(gid))?;
    fs::set_permissions(place, fs::Permissions::from_mode(mode & 0o7777))
}

fn set_time(place: &Path, mtime: u64) {
    use nix::sys::time::TimeSpec;
    let at = TimeSpec::new(i64::try_from(mtime).unwrap_or(0), 0);
    let flags = nix::sys::stat::UtimensatFlags::NoFollowSymlink;
    // A time that cannot be set is no reason to fail a build.
    let _kept = nix::sys::stat::utimensat(nix::fcntl::AT_FDCWD, place, &at, &at, flags);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o640);
            header.set_uid(5);
            header.set_gid(6);
            header.set_mtime(1_000_000_000);
            // Names that a careful library would not write.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name(content).unwrap();
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, content.as_bytes()).unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    use tar::EntryType::{Directory, Regular, Symlink};

    #[test]
    fn a_context_stays_inside_whatever_its_links_say() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("context");
        fs::create_dir(&root).unwrap();
        let bytes = tar(&[
            ("dir", Directory, ""),
            ("up", Symlink, "../.."),
            ("abs", Symlink, "/"),
            ("up/a", Regular, "1"),
            ("abs/b", Regular, "2"),
        ]);
        unpack_context(&bytes[..], &root).unwrap();
        assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(root.join("b")).unwrap(), "2");
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
        let escaping = tar(&[("../x", Regular, "3")]);
        assert!(unpack_context(&escaping[..], &root).is_err());
        assert!(!outer.path().join("x").exists());
    }

    #[test]
    fn an_archive_is_unpacked_with_its_owners_and_another_file_is_not() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        let packed = dir.path().join("x.tar.gz");
        let bytes = tar(&[("sub/file", Regular, "text")]);
        let mut gz = flate2::write::GzEncoder::new(
            File::create(&packed).unwrap(),
            flate2::Compression::fast(),
        );
        io::copy(&mut &bytes[..], &mut gz).unwrap();
        gz.finish().unwrap();
        assert!(add(&packed, &root, Path::new("opt"), None).unwrap());
        let meta = fs::metadata(root.join("opt/sub/file")).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (5, 6, 0o640));
        assert_eq!(meta.mtime(), 1_000_000_000);
        let plain = dir.path().join("plain");
        fs::write(&plain, "no archive").unwrap();
        assert!(!add(&plain, &root, Path::new("opt"), None).unwrap());
    }
}
