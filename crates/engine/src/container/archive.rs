//! Files in and out of a container (`docker cp`, `export`).
//!
//! The work is done on a thread of its own that has the container's root as its root directory
//! (`unshare(CLONE_FS)`, `chroot`): whatever a path or a symlink in the container says, it cannot lead out.
//! A running container is entered by its `/proc/<pid>/root`, so its volumes are there; a stopped one gets
//! them bind-mounted in a mount namespace that ends with the thread.

use super::options::ArchiveStat;
use super::record::{Container, MountRecord};
use crate::{Body, ByteStream, Engine, Error, Result};
use bytes::Bytes;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use types::Timestamp;

/// Bytes of tar that wait for a slow client: chunks of the size of tar's own buffer.
const QUEUED_CHUNKS: usize = 16;
const CHUNK: usize = 64 * 1024;
/// Bytes of a name, and of a link's target, in a tar's header.
const NAME_BYTES: usize = 100;
/// Bytes behind an archive that are read before the answer; as many as Go's server reads.
const REST: u64 = 256 * 1024;

impl Engine {
    /// `HEAD /containers/{id}/archive`.
    pub async fn container_archive_stat(&self, id: &str, path: &str) -> Result<ArchiveStat> {
        let container = self.0.containers.find(id)?;
        let wanted = absolute(path)?;
        let found = self.in_root(&container, move || stat(&wanted)).await?;
        found.map_err(|err| unreachable(&err, path, id))
    }

    /// `GET /containers/{id}/archive`: the tar of a file or directory, named by the path's last part.
    pub async fn container_archive_get(
        &self,
        id: &str,
        path: &str,
    ) -> Result<(ArchiveStat, ByteStream)> {
        let container = self.0.containers.find(id)?;
        let stat = self.container_archive_stat(id, path).await?;
        let wanted = absolute(path)?;
        let base = base_name(&wanted);
        let mounts = container.record().mounts.clone();
        let mounts: Vec<_> = mounts.into_iter().map(|mount| mount.point.destination).collect();
        let stream = self
            .stream_out(&container, move |out| Packer::new(out, &mounts)?.pack(&wanted, &base))
            .await?;
        Ok((stat, stream))
    }

    /// `GET /containers/{id}/export`: the file system without what is mounted on it.
    pub async fn container_export(&self, id: &str) -> Result<ByteStream> {
        let container = self.0.containers.find(id)?;
        let held = self.hold_rootfs(&container);
        let root = {
            let _one_at_a_time = container.op.lock().await;
            Root { dir: self.mount_rootfs(&container.id).await?, mounts: Vec::new() }
        };
        let (send, receive) = mpsc::channel(QUEUED_CHUNKS);
        spawn_in(root, move || {
            let out = Sender { channel: send.clone(), buffer: Vec::with_capacity(CHUNK) };
            let packed =
                Packer::new(out, &[]).and_then(|packer| packer.pack(Path::new("/"), Path::new("")));
            report(&send, packed);
            drop(held);
        });
        Ok(stream_of(receive))
    }

    /// `PUT /containers/{id}/archive`: unpacks `tar` into an existing directory.
    pub async fn container_archive_put(
        &self,
        id: &str,
        path: &str,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
        tar: Body,
    ) -> Result<()> {
        let container = self.0.containers.find(id)?;
        let target = absolute(path)?;
        refuse_read_only(&container, &target)?;
        // Owners are the archive's, but where the container has a user of its own and the client asks for it.
        let owned = copy_uid_gid && !container.record().config.user.is_empty();
        let owner = if owned { Some(self.user_ids(&container).await?) } else { None };
        let (shown, id) = (path.to_owned(), id.to_owned());
        let mut tar = tokio_util::io::SyncIoBridge::new(tar);
        let unpacked = self
            .in_root(&container, move || {
                let unpacked = match fs::metadata(&target) {
                    Err(err) => Err(unreachable(&err, &shown, &id)),
                    Ok(kind) if kind.is_dir() => {
                        unpack(&mut tar, &target, no_overwrite_dir_non_dir, owner)
                    }
                    Ok(_) => Err(Error::invalid("extraction point is not a directory")),
                };
                // Clients lose a connection that is answered before they have written all.
                let _read = io::copy(&mut tar.take(REST), &mut io::sink());
                unpacked
            })
            .await?;
        self.0.events.emit(
            "container",
            "extract-to-dir",
            container.id.as_str(),
            container.attributes(),
        );
        unpacked
    }

    /// Runs `work` with the container's root as root directory.
    async fn in_root<T: Send + 'static>(
        &self,
        container: &Arc<Container>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let held = self.hold_rootfs(container);
        let root = self.root_of(container).await?;
        let (send, receive) = tokio::sync::oneshot::channel();
        spawn_in(root, move || {
            let _caller_gone = send.send(work());
            drop(held);
        });
        receive.await.map_err(|_| Error::system("failed to enter the container's file system"))
    }

    async fn stream_out(
        &self,
        container: &Arc<Container>,
        work: impl FnOnce(Sender) -> io::Result<()> + Send + 'static,
    ) -> Result<ByteStream> {
        let held = self.hold_rootfs(container);
        let root = self.root_of(container).await?;
        let (send, receive) = mpsc::channel(QUEUED_CHUNKS);
        spawn_in(root, move || {
            let out = Sender { channel: send.clone(), buffer: Vec::with_capacity(CHUNK) };
            report(&send, work(out));
            drop(held);
        });
        Ok(stream_of(receive))
    }

    async fn root_of(&self, container: &Arc<Container>) -> Result<Root> {
        // Who was here before may just be unmounting what this would find mounted.
        let mut _one_at_a_time = None;
        if container.record().state.pid == 0 {
            _one_at_a_time = Some(container.op.lock().await);
        }
        let (pid, mounts) = {
            let record = container.record();
            (record.state.pid, record.mounts.clone())
        };
        if pid > 0 {
            return Ok(Root {
                dir: PathBuf::from(format!("/proc/{pid}/root")),
                mounts: Vec::new(),
            });
        }
        for mount in mounts.iter().filter(|mount| mount.point.kind == "image") {
            self.mount_image(&container.id, mount).await?;
        }
        let mut mounts = mounts;
        for mount in &mut mounts {
            let source = crate::spec::mount_source(mount);
            mount.point.source = source.map(|path| path.display().to_string()).unwrap_or_default();
        }
        mounts.retain(|mount| Path::new(&mount.point.source).is_dir());
        Ok(Root { dir: self.mount_rootfs(&container.id).await?, mounts })
    }

    /// Keeps a stopped container's file system mounted while the returned guard lives.
    fn hold_rootfs(&self, container: &Arc<Container>) -> RootfsHold {
        container.rootfs_holds.fetch_add(1, Ordering::SeqCst);
        RootfsHold { engine: self.clone(), container: container.clone() }
    }
}

/// Unmounts a stopped container's file system when the work on it is done.
struct RootfsHold {
    engine: Engine,
    container: Arc<Container>,
}

impl Drop for RootfsHold {
    fn drop(&mut self) {
        let (engine, container) = (self.engine.clone(), self.container.clone());
        let tasks = engine.0.tasks.clone();
        let handle = engine.0.handle.clone();
        tasks.spawn_on(
            async move {
                let _one_at_a_time = container.op.lock().await;
                let last = container.rootfs_holds.fetch_sub(1, Ordering::SeqCst) == 1;
                if !last || container.record().state.running {
                    return;
                }
                engine.unmount_images(&container).await;
                if let Err(err) = engine.unmount_rootfs(&container.id).await {
                    tracing::debug!(container = container.id.short(), error = %err, "still in use");
                }
            },
            &handle,
        );
    }
}

struct Root {
    dir: PathBuf,
    mounts: Vec<MountRecord>,
}

/// A thread that sees `root` as `/`. Nothing runs when that cannot be had; the channels `work` holds close.
fn spawn_in(root: Root, work: impl FnOnce() + Send + 'static) {
    let body = move || match enter(&root) {
        Ok(()) => work(),
        Err(err) => {
            tracing::warn!(root = %root.dir.display(), error = %err, "failed to enter a root directory")
        }
    };
    if let Err(err) = std::thread::Builder::new().name("archive".to_owned()).spawn(body) {
        tracing::error!(error = %err, "failed to start a thread");
    }
}

fn enter(root: &Root) -> io::Result<()> {
    if root.mounts.is_empty() {
        unshare(CloneFlags::CLONE_FS)?;
    } else {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )?;
        let targets = make_mount_points(root)?;
        for (mounted, target) in root.mounts.iter().zip(targets) {
            let target = root.dir.join(target.strip_prefix("/").unwrap_or(&target));
            let source = mounted.point.source.as_str();
            mount(
                Some(source),
                &target,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )?;
        }
    }
    nix::unistd::chroot(&root.dir)?;
    nix::unistd::chdir("/")?;
    Ok(())
}

/// Where the mounts of a container that does not run go: made if missing, as its start would, and resolved
/// by a thread that has the container's root as its own. Without symlinks, so that they can be joined to it.
fn make_mount_points(root: &Root) -> io::Result<Vec<PathBuf>> {
    let dir = &root.dir;
    let resolve = move || -> io::Result<Vec<PathBuf>> {
        unshare(CloneFlags::CLONE_FS)?;
        nix::unistd::chroot(dir)?;
        nix::unistd::chdir("/")?;
        root.mounts
            .iter()
            .map(|mounted| {
                let target = Path::new(&mounted.point.destination);
                if !target.exists() {
                    fs::create_dir_all(target)?;
                }
                fs::canonicalize(target)
            })
            .collect()
    };
    std::thread::scope(|scope| scope.spawn(resolve).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the container's root panicked")))
}

fn absolute(path: &str) -> Result<PathBuf> {
    if path.is_empty() {
        return Err(Error::invalid("bad parameter: path cannot be empty"));
    }
    // `dir/./` is `dir/.`: both mean what is in it.
    let bare = path.trim_end_matches('/');
    let path = if bare == "." || bare.ends_with("/.") { bare } else { path };
    Ok(Path::new("/").join(path.trim_start_matches('/')))
}

/// What a path that could not be followed is told as.
fn unreachable(err: &io::Error, path: &str, id: &str) -> Error {
    match err.kind() {
        io::ErrorKind::NotADirectory => Error::system(format!("lstat {path}: not a directory")),
        _ => not_found(path, id),
    }
}

fn not_found(path: &str, id: &str) -> Error {
    Error::not_found(format!("Could not find the file {path} in container {id}"))
}

/// The name under which a resource travels: `.` for `dir/.`, `/` for the root.
fn base_name(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    if text.ends_with("/.") {
        return PathBuf::from(".");
    }
    path.file_name().map_or_else(|| PathBuf::from("/"), PathBuf::from)
}

fn refuse_read_only(container: &Container, target: &Path) -> Result<()> {
    let record = container.record();
    let below = record.mounts.iter().filter(|mount| target.starts_with(&mount.point.destination));
    match below.max_by_key(|mount| mount.point.destination.len()) {
        Some(mount) if !mount.point.rw => {
            Err(Error::forbidden("mounted volume is marked read-only"))
        }
        None if record.host_config.readonly_rootfs => {
            Err(Error::forbidden("container rootfs is marked read-only"))
        }
        _ => Ok(()),
    }
}

fn stat(path: &Path) -> io::Result<ArchiveStat> {
    let asserted_dir = path.to_string_lossy().ends_with(['/', '.']) && path.as_os_str().len() > 1;
    let meta = if asserted_dir { fs::metadata(path)? } else { fs::symlink_metadata(path)? };
    let link_target = if meta.is_symlink() { resolved_link(path) } else { String::new() };
    Ok(ArchiveStat {
        name: base_name(path).to_string_lossy().into_owned(),
        size: i64::try_from(meta.len()).unwrap_or(i64::MAX),
        mode: go_mode(&meta),
        mtime: Timestamp(
            meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
        ),
        link_target,
    })
}

fn resolved_link(path: &Path) -> String {
    let target = fs::canonicalize(path).or_else(|_| fs::read_link(path)).unwrap_or_default();
    target.to_string_lossy().into_owned()
}

/// Go's `os.FileMode`.
fn go_mode(meta: &Metadata) -> u32 {
    let kind = meta.file_type();
    let flags = [
        (kind.is_dir(), 1 << 31),
        (kind.is_symlink(), 1 << 27),
        (kind.is_block_device() || kind.is_char_device(), 1 << 26),
        (kind.is_fifo(), 1 << 25),
        (kind.is_socket(), 1 << 24),
        (meta.mode() & 0o4000 != 0, 1 << 23),
        (meta.mode() & 0o2000 != 0, 1 << 22),
        (kind.is_char_device(), 1 << 21),
        (meta.mode() & 0o1000 != 0, 1 << 20),
    ];
    flags.iter().filter(|(set, _)| *set).fold(meta.mode() & 0o777, |mode, (_, bit)| mode | bit)
}

fn unpack(
    tar: impl Read + Send,
    target: &Path,
    keep_dirs: bool,
    owner: Option<(u32, u32)>,
) -> Result<()> {
    let failed = |err: io::Error| Error::caused("Error processing tar file", err);
    let mut archive = tar::Archive::new(crate::archive::plain(tar).map_err(failed)?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_overwrite(true);
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = entry.path().map_err(failed)?.into_owned();
        let place = inside(target, &path).map_err(failed)?;
        let is_dir = entry.header().entry_type().is_dir();
        let existing = fs::symlink_metadata(&place).ok();
        if let Some(existing) = existing.filter(|existing| existing.is_dir() != is_dir) {
            if keep_dirs {
                let (kept, new) = if existing.is_dir() {
                    ("directory", "non-directory")
                } else {
                    ("non-directory", "directory")
                };
                return Err(Error::invalid(format!(
                    "cannot overwrite {kept} {:?} with {new} {:?}",
                    place, target
                )));
            }
            let removed = if existing.is_dir() {
                fs::remove_dir_all(&place)
            } else {
                fs::remove_file(&place)
            };
            removed.map_err(failed)?;
        }
        unpack_entry(&mut entry, target, &place).map_err(failed)?;
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::lchown(&place, Some(uid), Some(gid)).map_err(failed)?;
        }
        if is_dir && let Ok(mtime) = entry.header().mtime() {
            directories.push((place, mtime));
        }
    }
    // What was put inside changed their times.
    for (place, mtime) in directories.into_iter().rev() {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime);
        if let Ok(dir) = fs::File::open(&place) {
            dir.set_modified(at)
                .unwrap_or_else(|err| tracing::debug!(error = %err, "directory time not set"));
        }
    }
    Ok(())
}

/// Puts an entry at `place`. What leads there may be links: this thread's root is the container's, none leads out.
fn unpack_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    target: &Path,
    place: &Path,
) -> io::Result<()> {
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    let kind = entry.header().entry_type();
    if place == target && kind.is_dir() {
        return Ok(());
    }
    if let Some(linked) = entry.link_name()?.filter(|_| kind.is_hard_link()) {
        let linked = inside(target, &linked)?;
        if fs::symlink_metadata(place).is_ok() {
            fs::remove_file(place)?;
        }
        return fs::hard_link(linked, place);
    }
    entry.unpack(place).map(drop)
}

/// Where an entry goes. One whose name leads above `target` is refused, as by dockerd.
fn inside(target: &Path, name: &Path) -> io::Result<PathBuf> {
    let mut place = target.to_owned();
    let mut depth = 0_usize;
    for part in name.components() {
        match part {
            Component::Normal(part) => {
                place.push(part);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                place.pop();
                depth -= 1;
            }
            Component::ParentDir => {
                return Err(io::Error::other(format!("{name:?} is outside of {target:?}")));
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(place)
}

/// Writes a tar of what it walks over; symlinks as such, further names of one file as hard links. Of what is mounted on the
/// container's root only its own mounts: `/proc`, `/sys` and `/dev` are empty, as they are in its image.
struct Packer {
    tar: tar::Builder<Sender>,
    links: HashMap<(u64, u64), PathBuf>,
    /// The root's device.
    root: u64,
    mounts: Vec<PathBuf>,
}

impl Packer {
    /// `mounts`: where the container has its own.
    fn new(out: Sender, mounts: &[String]) -> io::Result<Self> {
        let tar = tar::Builder::new(out);
        let mounts = mounts.iter().filter_map(|mount| fs::canonicalize(mount).ok()).collect();
        Ok(Packer { tar, links: HashMap::new(), root: fs::metadata("/")?.dev(), mounts })
    }

    fn pack(mut self, from: &Path, name: &Path) -> io::Result<()> {
        let follow = name == Path::new(".") || from.to_string_lossy().ends_with('/');
        let meta = if follow { fs::metadata(from)? } else { fs::symlink_metadata(from)? };
        self.entry(from, name, &meta)?;
        self.tar.into_inner()?.flush()
    }

    /// Whether `child`, a directory found in one of `parent`'s device, is walked.
    fn is_walked(&self, child: &Path, device: u64, parent: u64) -> bool {
        parent != self.root || device == self.root || self.mounts.iter().any(|at| at == child)
    }

    fn entry(&mut self, real: &Path, name: &Path, meta: &Metadata) -> io::Result<()> {
        let kind = meta.file_type();
        if kind.is_socket() {
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        header.set_metadata(meta);
        if kind.is_dir() {
            if !name.as_os_str().is_empty() {
                self.append(header, &name.join(""), None, io::empty())?;
            }
            return self.children(real, name, meta.dev());
        }
        if kind.is_symlink() {
            header.set_size(0);
            return self.append(header, name, Some(&fs::read_link(real)?), io::empty());
        }
        if meta.nlink() > 1
            && let Some(first) = self.links.get(&(meta.dev(), meta.ino()))
        {
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            let first = first.clone();
            return self.append(header, name, Some(&first), io::empty());
        }
        self.links.insert((meta.dev(), meta.ino()), name.to_owned());
        if !kind.is_file() {
            header.set_size(0);
            header
                .set_device_major(u32::try_from(nix::sys::stat::major(meta.rdev())).unwrap_or(0))?;
            header
                .set_device_minor(u32::try_from(nix::sys::stat::minor(meta.rdev())).unwrap_or(0))?;
            return self.append(header, name, None, io::empty());
        }
        // A file that grows or shrinks while it is read must still fill what the header says.
        let content = fs::File::open(real)?.chain(io::repeat(0)).take(meta.len());
        self.append(header, name, None, content)
    }

    /// Names go out as they are. `docker cp` puts another name where the first `.` or `/` of what it copies stands, and the
    /// tar crate would take these away.
    fn append(
        &mut self,
        mut header: tar::Header,
        name: &Path,
        link: Option<&Path>,
        content: impl Read,
    ) -> io::Result<()> {
        let name = name.as_os_str().as_bytes();
        let link = link.map_or(&b""[..], |link| link.as_os_str().as_bytes());
        self.long(tar::EntryType::GNULongName, name)?;
        self.long(tar::EntryType::GNULongLink, link)?;
        let old = header.as_old_mut();
        write_field(&mut old.name, name);
        write_field(&mut old.linkname, link);
        header.set_cksum();
        self.tar.append(&header, content)
    }

    /// GNU's entry before one whose name or link is too long for its header.
    fn long(&mut self, kind: tar::EntryType, text: &[u8]) -> io::Result<()> {
        if text.len() <= NAME_BYTES {
            return Ok(());
        }
        let mut header = tar::Header::new_gnu();
        write_field(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        self.tar.append(&header, text.chain(&b"\0"[..]))
    }

    fn children(&mut self, dir: &Path, name: &Path, device: u64) -> io::Result<()> {
        let mut names: Vec<_> = fs::read_dir(dir)?
            .collect::<io::Result<Vec<_>>>()?
            .iter()
            .map(fs::DirEntry::file_name)
            .collect();
        names.sort();
        for child in names {
            let real = dir.join(&child);
            match fs::symlink_metadata(&real) {
                Ok(meta) if meta.is_dir() && !self.is_walked(&real, meta.dev(), device) => {
                    let mut header = tar::Header::new_gnu();
                    header.set_metadata(&meta);
                    self.append(header, &name.join(child).join(""), None, io::empty())?;
                }
                Ok(meta) => self.entry(&real, &name.join(&child), &meta)?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// As much of `text` as a header's field holds.
fn write_field(field: &mut [u8; NAME_BYTES], text: &[u8]) {
    let count = text.len().min(NAME_BYTES);
    field.fill(0);
    field[..count].copy_from_slice(&text[..count]);
}

/// The writing half of a byte stream; a client that is gone ends the writing.
struct Sender {
    channel: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl Write for Sender {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.buffer);
        if chunk.is_empty() {
            return Ok(());
        }
        self.channel.blocking_send(Ok(chunk.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

fn report(channel: &mpsc::Sender<io::Result<Bytes>>, ended: io::Result<()>) {
    if let Err(err) = ended {
        let _client_gone = channel.blocking_send(Err(err));
    }
}

fn stream_of(receive: mpsc::Receiver<io::Result<Bytes>>) -> ByteStream {
    Box::pin(futures_util::stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|chunk| (chunk, receive))
    }))
}
