//! New layers and images made here: by the builder, commit and import.

use crate::layer::Layer;
use crate::store::gc::Lease;
use crate::store::layers::{MAX_DEPTH, Measured, Staged};
use crate::store::{Image, Inner, blocking};
use crate::stream::read_by;
use crate::{Digest, Error, Result, RwLayer, Store};
use std::fs;
use std::sync::Arc;
use tokio::io::AsyncRead;
use types::ImageId;
use types::container::Config;
use types::image::{History, ImageConfig};

/// An empty tar is two zero blocks; anything else is longer.
const EMPTY_TAR_BYTES: u64 = 1024;

/// A layer that stays in the store at least as long as this is held. Refer to it in an image soon.
pub struct NewLayer {
    layer: Arc<Layer>,
    _lease: Lease,
}

impl std::ops::Deref for NewLayer {
    type Target = Layer;
    fn deref(&self) -> &Layer {
        &self.layer
    }
}

impl NewLayer {
    /// Whether it changes nothing; such a layer never becomes part of an image.
    pub fn is_empty(&self) -> bool {
        self.layer.tar_bytes == EMPTY_TAR_BYTES
    }
}

/// What becomes of a writable layer that is made into a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerSource {
    /// It lives on: its files are copied.
    Keep,
    /// It ends: its directory is renamed into place, nothing is copied.
    Consume,
}

/// A new image.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The image below: its layers, history, platform and author are inherited.
    pub parent: Option<ImageId>,
    /// Replaces the parent's whole.
    pub config: Config,
    /// The step that made it. `created` is the image's time too; `empty_layer` is filled in.
    pub history: History,
    /// The container that was committed, if there was one.
    pub container: String,
    /// `os/arch[/variant]`; the parent's or this machine's when `None`.
    pub platform: Option<crate::Platform>,
}

impl Store {
    /// A layer on top of `parent` from a tar, compressed or not.
    pub async fn layer_from_tar(
        &self,
        parent: Option<&Digest>,
        tar: impl AsyncRead + Unpin,
    ) -> Result<NewLayer> {
        let (inner, parent, lease) = self.leased(parent);
        read_by(tar, move |tar| {
            let (staged, _, _) = inner.unpack(tar)?;
            inner.seal(parent, staged, lease)
        })
        .await
    }

    /// A layer from what a container wrote, on top of its image.
    pub async fn layer_from_rw(&self, rw: RwLayer, source: LayerSource) -> Result<NewLayer> {
        let (inner, parent, lease) = self.leased(rw.chain());
        if source == LayerSource::Consume {
            rw.unmount().await?;
        }
        let (upper, done) = (rw.upper(), inner.clone());
        let layer = blocking(move || {
            let staged = match source {
                LayerSource::Keep => done.copy_layer(&upper)?,
                LayerSource::Consume => {
                    let staged = done.stage()?;
                    fs::rename(&upper, staged.diff()).map_err(Error::io("rename", &upper))?;
                    staged
                }
            };
            done.seal(parent, staged, lease)
        })
        .await?;
        if source == LayerSource::Consume {
            rw.remove().await?;
        }
        Ok(layer)
    }

    /// An image of `commit.parent`'s layers and `layer` on top.
    pub async fn create_image(
        &self,
        commit: Commit,
        layer: Option<&NewLayer>,
    ) -> Result<Arc<Image>> {
        let parent = match &commit.parent {
            Some(id) => Some(self.get(id).ok_or_else(|| Error::NoSuchImage(id.to_string()))?),
            None => None,
        };
        let layer = layer.filter(|layer| !layer.is_empty());
        let below = parent.as_ref().and_then(|parent| parent.layers.last());
        if layer.is_some_and(|layer| layer.parent.as_ref() != below) {
            return Err(Error::LayerMismatch);
        }
        let diff_id = layer.map(|layer| layer.diff_id.clone());
        let document = document(&commit, parent.as_deref(), diff_id);
        if document.rootfs.diff_ids.len() > MAX_DEPTH {
            return Err(Error::MaxDepth);
        }
        let bytes = serde_json::to_vec(&document).map_err(Error::Config)?;
        let inner = self.0.clone();
        blocking(move || inner.put_image(&bytes, commit.parent)).await
    }

    /// The image as it was after entry `at` of `source`'s history, below `parent` in the tree of builds and with
    /// `config`: what a build that finds its step there goes on from.
    pub async fn restore_step(
        &self,
        parent: Option<ImageId>,
        source: &Image,
        at: usize,
        config: Config,
    ) -> Result<Arc<Image>> {
        let lease = self.0.pins.lease();
        source.layers.iter().for_each(|layer| lease.pin(layer));
        let mut document = source.config.clone();
        document.history.truncate(at + 1);
        let layers = document.history.iter().filter(|step| !step.empty_layer).count();
        document.rootfs.diff_ids.truncate(layers);
        document.created = document.history.last().map(|step| step.created).unwrap_or_default();
        document.config = config;
        let bytes = serde_json::to_vec(&document).map_err(Error::Config)?;
        let inner = self.0.clone();
        let image = blocking(move || inner.put_image(&bytes, parent)).await;
        drop(lease);
        image
    }

    fn leased(&self, parent: Option<&Digest>) -> (Arc<Inner>, Option<Digest>, Lease) {
        let lease = self.0.pins.lease();
        if let Some(parent) = parent {
            lease.pin(parent);
        }
        (self.0.clone(), parent.cloned(), lease)
    }
}

impl Inner {
    /// Registers a layer of our own, known by its canonical tar: no second copy is kept of it.
    fn seal(&self, parent: Option<Digest>, staged: Staged, lease: Lease) -> Result<NewLayer> {
        let measured: Measured = Inner::measure(&staged.diff())?;
        let diff_id = &measured.diff_id;
        lease.pin(&parent.as_ref().map_or_else(|| diff_id.clone(), |below| below.chain(diff_id)));
        let layer = self.register(parent.as_ref(), staged, measured, None)?;
        Ok(NewLayer { layer, _lease: lease })
    }

    /// A staged copy of a layer directory in use, by way of its tar.
    fn copy_layer(&self, dir: &std::path::Path) -> Result<Staged> {
        let (reader, writer) = std::io::pipe().map_err(Error::io("copy", dir))?;
        std::thread::scope(|scope| {
            let pack = scope.spawn(move || {
                let out = std::io::BufWriter::with_capacity(64 * 1024, writer);
                crate::layer::pack::pack(dir, crate::layer::pack::Marks::Whiteouts, out)
            });
            let unpacked = self.unpack(reader);
            let packed = pack.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let (staged, _, _) = unpacked?;
            packed.map_err(Error::io("copy", dir))?;
            Ok(staged)
        })
    }
}

fn document(commit: &Commit, parent: Option<&Image>, diff_id: Option<Digest>) -> ImageConfig {
    let inherited = parent.map(|parent| parent.config.clone()).unwrap_or_default();
    let here = crate::Platform::host();
    let platform = commit.platform.clone().unwrap_or(match parent {
        Some(_) => crate::Platform {
            os: inherited.os.clone(),
            architecture: inherited.architecture.clone(),
            variant: inherited.variant.clone(),
        },
        None => here,
    });
    let mut history = inherited.history;
    history.push(History { empty_layer: diff_id.is_none(), ..commit.history.clone() });
    let mut rootfs = inherited.rootfs;
    rootfs.diff_ids.extend(diff_id.map(String::from));
    ImageConfig {
        architecture: platform.architecture,
        variant: platform.variant,
        author: match commit.history.author.as_str() {
            "" => inherited.author,
            author => author.to_owned(),
        },
        comment: commit.history.comment.clone(),
        container: commit.container.clone(),
        config: commit.config.clone(),
        container_config: None,
        created: commit.history.created,
        docker_version: String::new(),
        history,
        os: platform.os,
        os_version: String::new(),
        rootfs,
    }
}
