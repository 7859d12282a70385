//! The writable layer of a container: an overlay of its image's layers and a directory of its own.
//!
//! All calls may be repeated; each brings about its state from whatever a crash left. What containers
//! expect to find and images often lack (`/proc`, `/etc/hosts`, …) comes from one shared directory *below*
//! the image's layers: it fills gaps, hides nothing and never shows up as a change.

pub(crate) mod changes;
mod mount;

use crate::layer::pack;
use crate::store::{Inner, blocking, durable};
use crate::stream::{ByteStream, written_by};
use crate::{Digest, Error, Result, Store};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use types::ImageId;
use types::container::Change;

/// `rw.json`, written once at creation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RwRecord {
    pub(crate) image: Option<ImageId>,
    /// Topmost layer of the image; `None` for an image without layers.
    pub(crate) chain: Option<Digest>,
}

/// A container's writable layer. A handle: dropping it changes nothing.
#[derive(Clone)]
pub struct RwLayer {
    store: Store,
    container: String,
    record: RwRecord,
}

/// The files of a writable layer that is none any more, its mount among them: see [`RwLayer::discard`].
#[must_use = "the files stay until the next open"]
#[derive(Debug)]
pub struct Discarded {
    /// In `tmp`; holds the layer's directory as `rw`.
    dir: PathBuf,
}

impl Discarded {
    /// Unmounts and removes them. Unmounting an overlay writes its files back first, which takes tens of
    /// milliseconds on an idle disk.
    pub async fn removed(self) -> Result<()> {
        blocking(move || self.remove()).await
    }

    fn remove(&self) -> Result<()> {
        remove_discarded(&self.dir)
    }
}

/// Also for what an earlier daemon has left of one: a tree is never removed through its mount.
pub(crate) fn remove_discarded(dir: &Path) -> Result<()> {
    unmount(&dir.join("rw/merged"))?;
    fs::remove_dir_all(dir).map_err(Error::io("remove", dir))
}

impl Store {
    /// The writable layer of `container` on `image`, made if it is missing. An existing one keeps its
    /// content and its image.
    pub async fn create_rw(&self, container: &str, image: &ImageId) -> Result<RwLayer> {
        let image = self.get(image).ok_or_else(|| Error::NoSuchImage(image.to_string()))?;
        let record =
            RwRecord { image: Some(image.id.clone()), chain: image.layers.last().cloned() };
        self.ensure_rw(container, record).await
    }

    /// The same on nothing at all: for `FROM scratch`.
    pub async fn create_rw_from_scratch(&self, container: &str) -> Result<RwLayer> {
        self.ensure_rw(container, RwRecord { image: None, chain: None }).await
    }

    /// The writable layer of `container`, if it has one.
    pub fn rw(&self, container: &str) -> Option<RwLayer> {
        let record = self.0.index().rw.get(container)?.clone();
        Some(RwLayer { store: self.clone(), container: container.to_owned(), record })
    }

    /// The containers that have a writable layer here.
    pub fn rw_ids(&self) -> Vec<String> {
        self.0.index().rw.keys().cloned().collect()
    }

    /// Unmounts every writable layer but those of `running`: what a crash left. Returns what it could
    /// not unmount; goes on after a failure.
    pub async fn unmount_all_but(&self, running: &[&str]) -> Vec<Error> {
        let mut failures = Vec::new();
        for id in self.rw_ids().iter().filter(|id| !running.contains(&id.as_str())) {
            if let Some(rw) = self.rw(id)
                && let Err(err) = rw.unmount().await
            {
                failures.push(err);
            }
        }
        failures
    }

    async fn ensure_rw(&self, container: &str, record: RwRecord) -> Result<RwLayer> {
        let (inner, id) = (self.0.clone(), container.to_owned());
        blocking(move || inner.make_rw(&id, record)).await?;
        self.rw(container).ok_or_else(|| Error::NoRwLayer(container.to_owned()))
    }
}

impl RwLayer {
    /// The container it belongs to.
    pub fn container(&self) -> &str {
        &self.container
    }
    /// The image it was made from.
    pub fn image(&self) -> Option<&ImageId> {
        self.record.image.as_ref()
    }
    /// Chain id of the layer directly below.
    pub fn chain(&self) -> Option<&Digest> {
        self.record.chain.as_ref()
    }
    /// Where the root file system appears when mounted.
    pub fn merged(&self) -> PathBuf {
        self.dir().join("merged")
    }
    /// What the container has written so far.
    pub fn upper(&self) -> PathBuf {
        self.dir().join("upper")
    }
    /// Docker's `GraphDriver.Data` of a container.
    pub fn graph_data(&self) -> BTreeMap<String, String> {
        let mut lower: Vec<String> =
            self.lower_dirs().iter().map(|dir| dir.display().to_string()).collect();
        lower.dedup();
        BTreeMap::from([
            ("LowerDir".to_owned(), lower.join(":")),
            ("MergedDir".to_owned(), self.merged().display().to_string()),
            ("UpperDir".to_owned(), self.upper().display().to_string()),
            ("WorkDir".to_owned(), self.dir().join("work").display().to_string()),
        ])
    }

    /// Mounts it, unless it is mounted. Returns the root file system's path.
    pub async fn mount(&self) -> Result<PathBuf> {
        let rw = self.clone();
        blocking(move || {
            let merged = rw.merged();
            if !is_mounted(&merged)? {
                rw.mount_overlay()?;
            }
            Ok(merged)
        })
        .await
    }

    /// Unmounts it, however often it was mounted. Open files inside stay usable (lazy).
    pub async fn unmount(&self) -> Result<()> {
        let merged = self.merged();
        blocking(move || unmount(&merged)).await
    }

    /// Whether it is mounted now.
    pub fn is_mounted(&self) -> Result<bool> {
        is_mounted(&self.merged())
    }

    /// Unmounts it and removes all that the container wrote.
    pub async fn remove(self) -> Result<()> {
        blocking(move || {
            unmount(&self.merged())?;
            self.set_aside()?.remove()
        })
        .await
    }

    /// Forgets it, mounted or not: nobody finds it by its container's name any more, and it keeps no image.
    /// What it leaves is for the caller to remove when there is time; the next open removes what is not.
    pub async fn discard(self) -> Result<Discarded> {
        blocking(move || self.set_aside()).await
    }

    /// A crash may undo this, for nothing is synced: then it is there once more, without a container.
    fn set_aside(&self) -> Result<Discarded> {
        let inner = &self.store.0;
        let trash = inner.trash_path("rw")?;
        let mut index = inner.index();
        match fs::rename(self.dir(), &trash) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(Error::io("rename", &self.dir()))?,
        }
        index.rw.remove(&self.container);
        drop(index);
        Ok(Discarded { dir: trash.parent().map_or_else(|| trash.clone(), Path::to_owned) })
    }

    /// What differs from the image, sorted by path.
    pub async fn changes(&self) -> Result<Vec<Change>> {
        let rw = self.clone();
        blocking(move || {
            let upper = rw.upper();
            changes::changes(&upper, rw.lower_dirs()).map_err(Error::io("read", &upper))
        })
        .await
    }

    /// What differs from the image as a layer's tar.
    pub fn diff_tar(&self) -> ByteStream {
        let upper = self.upper();
        written_by(move |out| pack::pack(&upper, pack::Marks::Whiteouts, out).map(drop))
    }

    /// The whole root file system as a tar. It must be mounted.
    pub fn export_tar(&self) -> ByteStream {
        let merged = self.merged();
        written_by(move |out| pack::pack(&merged, pack::Marks::Plain, out).map(drop))
    }

    /// Bytes of the files that the container wrote.
    pub async fn size_bytes(&self) -> Result<u64> {
        let upper = self.upper();
        blocking(move || changes::size_bytes(&upper).map_err(Error::io("read", &upper))).await
    }

    /// Bytes of the image's layers below.
    pub fn image_size_bytes(&self) -> u64 {
        let index = self.store.0.index();
        let below = |layer: &Arc<crate::Layer>| {
            layer.parent.as_ref().and_then(|parent| index.layers.get(parent)).cloned()
        };
        let top = self.record.chain.as_ref().and_then(|chain| index.layers.get(chain)).cloned();
        std::iter::successors(top, below).map(|layer| layer.size_bytes).sum()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.store.0.rw_dir(&self.container)
    }

    /// Topmost first; the shared directory of mount points last.
    pub(crate) fn lower_dirs(&self) -> Vec<PathBuf> {
        let inner = &self.store.0;
        self.lower_layers()
            .iter()
            .map(|layer| inner.layer_dir(&layer.chain))
            .chain([inner.init_dir()])
            .collect()
    }

    fn lower_layers(&self) -> Vec<Arc<crate::Layer>> {
        let index = self.store.0.index();
        let below = |layer: &Arc<crate::Layer>| {
            layer.parent.as_ref().and_then(|parent| index.layers.get(parent)).cloned()
        };
        let top = self.record.chain.as_ref().and_then(|chain| index.layers.get(chain)).cloned();
        std::iter::successors(top, below).collect()
    }

    fn mount_overlay(&self) -> Result<()> {
        let links = self
            .lower_layers()
            .iter()
            .map(|layer| format!("l/{}:", layer.link))
            .collect::<String>();
        let rw = format!("rw/{}", self.container);
        let options = format!(
            "lowerdir={links}init,upperdir={rw}/upper,workdir={rw}/work,index=off,redirect_dir=off,metacopy=off"
        );
        mount::overlay(self.store.root(), &format!("{rw}/merged"), &options)
            .map_err(|source| Error::Mount { path: self.merged(), source })
    }
}

impl Inner {
    pub(crate) fn rw_dir(&self, container: &str) -> PathBuf {
        self.root.join("rw").join(container)
    }
    pub(crate) fn init_dir(&self) -> PathBuf {
        self.root.join("init")
    }

    /// Made and synced beside its place, so that the index is locked for a rename only.
    fn make_rw(&self, container: &str, record: RwRecord) -> Result<()> {
        if self.index().rw.contains_key(container) {
            return Ok(());
        }
        let staged = self.trash_path("rw")?;
        let parent = staged.parent().map(Path::to_owned).unwrap_or_default();
        let made = self.stage_rw(&staged, &record);
        let placed = made.and_then(|()| self.place_rw(&staged, container, record));
        let removed = fs::remove_dir_all(&parent).map_err(Error::io("remove", &parent));
        placed?;
        let home = self.rw_dir(container);
        durable::sync_parent(&home).map_err(Error::io("create", &home))?;
        removed
    }

    fn stage_rw(&self, staged: &Path, record: &RwRecord) -> Result<()> {
        let make = || -> io::Result<()> {
            fs::DirBuilder::new().mode(0o710).create(staged)?;
            for dir in ["upper", "merged"] {
                fs::DirBuilder::new().mode(0o755).create(staged.join(dir))?;
            }
            fs::DirBuilder::new().mode(0o700).create(staged.join("work"))
        };
        make().map_err(Error::io("create", staged))?;
        durable::write_json(&self.tmp(), &staged.join("rw.json"), record)
    }

    fn place_rw(&self, staged: &Path, container: &str, record: RwRecord) -> Result<()> {
        let mut index = self.index();
        if index.rw.contains_key(container) {
            return Ok(());
        }
        if let Some(missing) =
            record.chain.as_ref().filter(|chain| !index.layers.contains_key(chain))
        {
            return Err(Error::MissingBlob(missing.clone()));
        }
        let home = self.rw_dir(container);
        fs::rename(staged, &home).map_err(Error::io("rename", &home))?;
        index.rw.insert(container.to_owned(), record);
        Ok(())
    }

    pub(crate) fn read_rw(&self) -> Result<BTreeMap<String, RwRecord>> {
        let mut all = BTreeMap::new();
        for dir in durable::list(&self.root.join("rw"))? {
            let Some(id) = dir.file_name().and_then(|name| name.to_str()) else { continue };
            match durable::read_json(&dir.join("rw.json")) {
                Ok(record) => {
                    all.insert(id.to_owned(), record);
                }
                Err(err) => {
                    let error = errdefs::chain(&err);
                    tracing::warn!(
                        container = id,
                        error,
                        "writable layer is damaged and left alone"
                    );
                }
            }
        }
        Ok(all)
    }

    /// The mount points that dockerd's init layer has (moby `initlayer.Setup`).
    pub(crate) fn ensure_init_layer(&self) -> Result<()> {
        let root = self.init_dir();
        let make = || -> io::Result<()> {
            for dir in ["dev/pts", "dev/shm", "proc", "sys", "etc"] {
                fs::DirBuilder::new().recursive(true).mode(0o755).create(root.join(dir))?;
            }
            for file in
                [".dockerenv", "dev/console", "etc/hosts", "etc/hostname", "etc/resolv.conf"]
            {
                fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .mode(0o755)
                    .open(root.join(file))?;
            }
            match std::os::unix::fs::symlink("/proc/mounts", root.join("etc/mtab")) {
                Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                made => made,
            }
        };
        make().map_err(Error::io("create", &root))
    }
}

/// A mount point has another device than the directory around it.
fn is_mounted(merged: &Path) -> Result<bool> {
    let device = |path: &Path| match fs::symlink_metadata(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        meta => meta.map(|meta| Some(meta.dev())).map_err(Error::io("stat", path)),
    };
    let around = merged.parent().unwrap_or(Path::new("/"));
    Ok(device(merged)? != device(around)?)
}

fn unmount(merged: &Path) -> Result<()> {
    while merged.exists() && is_mounted(merged)? {
        mount::detach(merged).map_err(Error::io("unmount", merged))?;
    }
    Ok(())
}
