//! The store: one directory, one owner, one index in memory.
//!
//! Every change is first made durable (temporary file, fsync, rename, fsync of the directory), then shown
//! in the index. Records point only to what is already complete, so a crash at any line leaves at most
//! things that nothing points to; opening sweeps those.
//!
//! ```text
//! blob, layer  ──►  image record  ──►  reference         (made in this order, removed in the reverse)
//! ```

pub(crate) mod blobs;
pub(crate) mod durable;
pub(crate) mod gc;
pub(crate) mod layers;
pub(crate) mod references;

use crate::registry::RegistryConfig;
use crate::rw::RwRecord;
use crate::{Digest, Error, Layer, Reference, Result};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::image::ImageConfig;
use types::{ImageId, Timestamp};

/// A handle to the image store. Cheap to clone.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) registry: RegistryConfig,
    pub(crate) index: Mutex<Index>,
    pub(crate) pins: gc::Pins,
    pub(crate) flights: crate::registry::flight::Flights,
    pub(crate) neighbours: crate::peers::Neighbours,
    pub(crate) pushed: crate::hosted::Pushed,
    _owner: Flock<File>,
}

/// All records, as they are on disk.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) images: BTreeMap<ImageId, Arc<Image>>,
    pub(crate) references: BTreeMap<Reference, ImageId>,
    /// By chain id.
    pub(crate) layers: BTreeMap<Digest, Arc<Layer>>,
    /// By container id.
    pub(crate) rw: BTreeMap<String, RwRecord>,
}

/// An image of the store. Never changes, but for `tagged` and the references to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    pub id: ImageId,
    /// The document whose digest is the id.
    pub config: ImageConfig,
    /// Chain ids, lowest first.
    pub layers: Vec<Digest>,
    /// The image it was built from here, for the build cache.
    pub parent: Option<ImageId>,
    /// When a reference to it was last made; never if none was.
    pub tagged: Timestamp,
    /// Bytes of all layers, unpacked.
    pub size_bytes: u64,
}

/// What is kept of an image beside its configuration.
#[derive(Serialize, Deserialize)]
struct ImageRecord {
    id: ImageId,
    parent: Option<ImageId>,
    tagged: Timestamp,
    layers: Vec<Digest>,
}

impl Store {
    /// Opens or makes the store in `root`, and removes what a crash left half-made. Fails when another
    /// process has it open.
    pub async fn open(root: impl Into<PathBuf>, registry: RegistryConfig) -> Result<Store> {
        let root = root.into();
        blocking(move || open(root, registry)).await.map(|inner| Store(Arc::new(inner)))
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// All images, by id.
    pub fn images(&self) -> Vec<Arc<Image>> {
        self.0.index().images.values().cloned().collect()
    }

    /// The image called `name`: a reference, an id, or an unambiguous start of one.
    pub fn resolve(&self, name: &str) -> Result<Arc<Image>> {
        self.0.index().resolve(name)
    }

    /// The image with exactly this id.
    pub fn get(&self, id: &ImageId) -> Option<Arc<Image>> {
        self.0.index().images.get(id).cloned()
    }

    /// Images built here on top of `id`: the candidates of the build cache.
    pub fn children(&self, id: &ImageId) -> Vec<Arc<Image>> {
        self.0.index().children(Some(id))
    }

    /// Images built here from nothing.
    pub fn roots(&self) -> Vec<Arc<Image>> {
        self.0.index().children(None)
    }

    /// The layer with this chain id.
    pub fn layer(&self, chain: &Digest) -> Option<Arc<Layer>> {
        self.0.index().layers.get(chain).cloned()
    }

    /// The directories of an image's layers, lowest first.
    pub fn layer_dirs(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().map(|chain| self.0.layer_dir(chain)).collect()
    }
}

impl Inner {
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    fn image_path(&self, id: &ImageId) -> PathBuf {
        let hex = id.as_str().trim_start_matches("sha256:");
        self.root.join("images").join(hex).with_extension("json")
    }

    /// Makes the image whose configuration is `document`. Its layers must be there already. An image that
    /// is there already is returned as it is.
    pub(crate) fn put_image(&self, document: &[u8], parent: Option<ImageId>) -> Result<Arc<Image>> {
        let config: ImageConfig = serde_json::from_slice(document).map_err(Error::Config)?;
        let layers = chains(&config)?;
        let id = ImageId::new(Digest::of(document).as_str());
        let adds_files = {
            let index = self.index();
            let below = parent.as_ref().and_then(|parent| index.images.get(parent));
            below.is_none_or(|below| below.layers != layers) && !index.images.contains_key(&id)
        };
        if adds_files {
            // May take long on a busy disk: never with the index locked.
            self.sync_files()?;
        }
        let mut index = self.index();
        if let Some(image) = index.images.get(&id) {
            return Ok(image.clone());
        }
        let size_bytes = index.size_of(&layers).ok_or(Error::LayerMismatch)?;
        let image = Image { id, config, layers, parent, tagged: Timestamp::ZERO, size_bytes };
        self.put_blob(document)?;
        self.write_image(&image)?;
        let image = Arc::new(image);
        index.images.insert(image.id.clone(), image.clone());
        Ok(image)
    }

    pub(crate) fn write_image(&self, image: &Image) -> Result<()> {
        let record = ImageRecord {
            id: image.id.clone(),
            parent: image.parent.clone(),
            tagged: image.tagged,
            layers: image.layers.clone(),
        };
        durable::write_json(&self.tmp(), &self.image_path(&image.id), &record)
    }

    /// Forgets the record; layers and blobs are left to the collector.
    pub(crate) fn forget_image(&self, index: &mut Index, id: &ImageId) -> Result<()> {
        durable::remove(&self.image_path(id))?;
        index.images.remove(id);
        Ok(())
    }
}

impl Index {
    /// See [`Store::resolve`].
    pub(crate) fn resolve(&self, name: &str) -> Result<Arc<Image>> {
        if Digest::parse(name).is_some() || (name.len() == 64 && is_hex(name)) {
            let id = format!("sha256:{}", name.trim_start_matches("sha256:"));
            let image = self.images.get(id.as_str()).cloned();
            return image.ok_or_else(|| Error::NoSuchImage(name.to_owned()));
        }
        let reference = Reference::parse(name)?.or_latest();
        let by_name = self.meant(&reference).and_then(|id| self.images.get(id));
        match by_name {
            Some(image) => Ok(image.clone()),
            None => self.by_prefix(name)?.ok_or_else(|| Error::NoSuchImage(reference.familiar())),
        }
    }

    /// The image that `reference` names. With a digest, the tag does not matter.
    pub(crate) fn lookup(&self, reference: &Reference) -> Option<&ImageId> {
        match reference.digest() {
            Some(digest) => self.references.get(&reference.with_digest(digest)),
            None => self.references.get(reference),
        }
    }

    /// As [`lookup`](Index::lookup); a digest may also be the image's id, as services pin what no registry has.
    pub(crate) fn meant(&self, reference: &Reference) -> Option<&ImageId> {
        let by_id = || self.images.get_key_value(reference.digest()?.as_str()).map(|(id, _)| id);
        self.lookup(reference).or_else(by_id)
    }

    fn by_prefix(&self, name: &str) -> Result<Option<Arc<Image>>> {
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if hex.is_empty() || !is_hex(hex) {
            return Ok(None);
        }
        let start = format!("sha256:{hex}");
        let mut found = self
            .images
            .range::<str, _>((
                std::ops::Bound::Included(start.as_str()),
                std::ops::Bound::Unbounded,
            ))
            .take_while(|(id, _)| id.as_str().starts_with(&start))
            .map(|(_, image)| image);
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(Some(image.clone())),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Error::AmbiguousPrefix(name.to_owned())),
        }
    }

    pub(crate) fn references_to<'a>(
        &'a self,
        id: &'a ImageId,
    ) -> impl Iterator<Item = &'a Reference> {
        self.references.iter().filter(move |(_, to)| *to == id).map(|(reference, _)| reference)
    }

    pub(crate) fn children(&self, id: Option<&ImageId>) -> Vec<Arc<Image>> {
        self.images.values().filter(|image| image.parent.as_ref() == id).cloned().collect()
    }

    /// Bytes of these layers; `None` when one is missing.
    pub(crate) fn size_of(&self, layers: &[Digest]) -> Option<u64> {
        layers.iter().map(|chain| self.layers.get(chain).map(|layer| layer.size_bytes)).sum()
    }
}

/// The chain ids of an image's layers, lowest first.
pub(crate) fn chains(config: &ImageConfig) -> Result<Vec<Digest>> {
    let mut chains: Vec<Digest> = Vec::with_capacity(config.rootfs.diff_ids.len());
    for diff_id in &config.rootfs.diff_ids {
        let diff_id = Digest::parse(diff_id).ok_or(Error::LayerMismatch)?;
        chains.push(chains.last().map_or_else(|| diff_id.clone(), |below| below.chain(&diff_id)));
    }
    Ok(chains)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn open(root: PathBuf, registry: RegistryConfig) -> Result<Inner> {
    for dir in ["blobs/sha256", "layers", "l", "images", "rw", "tmp", "ingest"] {
        let path = root.join(dir);
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    let lock = root.join("lock");
    let file = File::create(&lock).map_err(Error::io("create", &lock))?;
    let owner = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| Error::InUse(root.clone()))?;
    let inner = Inner {
        registry,
        index: Mutex::default(),
        pins: gc::Pins::default(),
        flights: crate::registry::flight::Flights::default(),
        neighbours: crate::peers::Neighbours::default(),
        pushed: crate::hosted::Pushed::default(),
        root,
        _owner: owner,
    };
    let mut index = Index::default();
    inner.sweep_tmp()?;
    inner.sweep_ingest()?;
    inner.ensure_init_layer()?;
    index.layers = inner.read_layers()?;
    index.images = inner.read_images(&index)?;
    index.references = inner.read_references(&index)?;
    index.rw = inner.read_rw()?;
    *inner.index() = index;
    inner.collect();
    Ok(inner)
}

impl Inner {
    fn read_images(&self, index: &Index) -> Result<BTreeMap<ImageId, Arc<Image>>> {
        let mut images = BTreeMap::new();
        for path in durable::list(&self.root.join("images"))? {
            match self.read_image(&path, index) {
                Ok(image) => {
                    images.insert(image.id.clone(), Arc::new(image));
                }
                Err(err) => {
                    let error = errdefs::chain(&err);
                    tracing::warn!(path = %path.display(), error, "image is damaged and left out");
                }
            }
        }
        Ok(images)
    }

    fn read_image(&self, path: &Path, index: &Index) -> Result<Image> {
        let ImageRecord { id, parent, tagged, layers } = durable::read_json(path)?;
        let digest = Digest::parse(id.as_str()).ok_or(Error::LayerMismatch)?;
        let document = self.read_blob(&digest)?;
        let config: ImageConfig = serde_json::from_slice(&document).map_err(Error::Config)?;
        let size_bytes = index.size_of(&layers).ok_or(Error::LayerMismatch)?;
        Ok(Image { id, config, layers, parent, tagged, size_bytes })
    }
}

/// Runs blocking work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(err) => match err.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down; nobody will look at a result.
            Err(_) => std::future::pending().await,
        },
    }
}
