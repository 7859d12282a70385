//! Layers on their way in, from a registry or from other nodes: fetched three at a time, unpacked in order as they come.
//!
//! ```text
//! Pulling fs layer → Waiting → Downloading → Verifying Checksum → Download complete → Extracting → Pull complete
//! ```

use crate::layer::{Blob, Layer};
use crate::peers::Peers;
use crate::peers::fetch::{Elsewhere, gather};
use crate::peers::partial::Partial;
use crate::peers::pieces::PIECE;
use crate::registry::client::Client;
use crate::registry::download::download;
use crate::registry::manifest::Descriptor;
use crate::store::{Inner, blocking};
use crate::{Digest, Error, Progress, ProgressSender, Result};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;
use types::image::ImageConfig;

/// As dockerd's `max-concurrent-downloads`.
const PARALLEL: usize = 3;
/// Bytes between two progress messages of a layer.
const TELL_EVERY: u64 = 512 * 1024;

pub(crate) async fn send(progress: &ProgressSender, message: Progress) {
    // A closed channel: the client is gone; whoever owns the work decides whether it goes on.
    let _nobody_listens = progress.send(message).await;
}

/// A layer as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Travelling {
    pub(crate) content: Descriptor,
    /// Its canonical tar: it can be made again from what is unpacked. Else a blob, which is kept.
    pub(crate) canonical: bool,
}

impl Travelling {
    pub(crate) fn blob(content: Descriptor) -> Self {
        Travelling { content, canonical: false }
    }
}

/// Where layers come from.
pub(crate) enum Origin<'a> {
    /// Other nodes are asked first.
    Registry {
        client: &'a Client,
        repository: String,
    },
    Nodes(&'a Arc<dyn Peers>),
    /// All blobs are here already.
    Here,
}

/// The layers of an image on their way, lowest first. Whoever makes it has pinned chains and blobs.
pub(crate) struct Layers<'a> {
    pub(crate) store: &'a Arc<Inner>,
    pub(crate) origin: Origin<'a>,
    pub(crate) chains: &'a [Digest],
    pub(crate) blobs: &'a [Travelling],
    pub(crate) progress: &'a ProgressSender,
}

/// What has come of a layer: a blob in its place, or a tar that is gone once it is unpacked.
type Arrived = Option<Arc<Partial>>;

impl Layers<'_> {
    /// Downloads what is missing and unpacks it in order.
    pub(crate) async fn fetch(&self, config: &ImageConfig) -> Result<()> {
        let mut missing = Vec::new();
        for (n, blob) in self.blobs.iter().enumerate() {
            let short = blob.content.digest.short();
            if self.store.index().layers.contains_key(&self.chains[n]) {
                send(self.progress, Progress::layer(short, "Already exists")).await;
            } else {
                send(self.progress, Progress::layer(short, "Pulling fs layer")).await;
                missing.push(n);
            }
        }
        for n in missing.iter().skip(PARALLEL) {
            send(self.progress, Progress::layer(self.blobs[*n].content.digest.short(), "Waiting"))
                .await;
        }
        let (ready, arrived): (Vec<_>, Vec<_>) = missing
            .iter()
            .map(|n| {
                let (ready, arrived) = oneshot::channel::<Arrived>();
                ((*n, ready), (*n, arrived))
            })
            .unzip();
        let downloads = async {
            let mut running = futures_util::stream::iter(ready)
                .map(|(n, ready)| async move {
                    let arrived = self.download(n).await?;
                    let _extraction_failed = ready.send(arrived);
                    Ok::<_, Error>(())
                })
                .buffer_unordered(PARALLEL);
            while let Some(done) = running.next().await {
                done?;
            }
            Ok(())
        };
        let unpacking = async {
            for (n, arrived) in arrived {
                if let Ok(arrived) = arrived.await {
                    let diff_id =
                        Digest::parse(&config.rootfs.diff_ids[n]).ok_or(Error::LayerMismatch)?;
                    self.unpack(n, diff_id, arrived).await?;
                }
            }
            Ok(())
        };
        tokio::try_join!(downloads, unpacking).map(|_| ())
    }

    async fn download(&self, n: usize) -> Result<Arrived> {
        let blob = &self.blobs[n].content;
        let short = blob.digest.short();
        let told = AtomicU64::new(0);
        let tell = |current: u64| {
            if current >= told.load(Ordering::Relaxed) + TELL_EVERY || current == blob.size {
                told.store(current, Ordering::Relaxed);
                // A slow client misses figures, not states.
                let _full = self.progress.try_send(Progress::bytes(
                    short,
                    "Downloading",
                    current,
                    blob.size,
                ));
            }
        };
        let arrived = self.obtain(n, tell).await?;
        send(self.progress, Progress::layer(short, "Verifying Checksum")).await;
        send(self.progress, Progress::layer(short, "Download complete")).await;
        Ok(arrived)
    }

    async fn obtain(&self, n: usize, tell: impl Fn(u64)) -> Result<Arrived> {
        let Travelling { content: blob, canonical } = &self.blobs[n];
        // From here on, so that there is no moment at which other nodes find nobody who fetches: what comes from a registry
        // they get from here as it comes.
        let growing = match &self.origin {
            Origin::Registry { .. } => Some(self.store.neighbours.growings.begin(self.store, blob)),
            Origin::Nodes(_) | Origin::Here => None,
        };
        let peers = match &self.origin {
            Origin::Nodes(peers) => Some(*peers),
            // A small one is here before it is known who has it.
            Origin::Registry { .. } => self.store.neighbours.peers().filter(|_| blob.size >= PIECE),
            Origin::Here => None,
        };
        if let Some(peers) = peers {
            let _turn = self.store.flights.enter(&blob.digest).await;
            let is_here = self.store.index().layers.contains_key(&self.chains[n]);
            if is_here || (!canonical && self.store.has_blob(&blob.digest)) {
                return Ok(None);
            }
            let elsewhere = match &self.origin {
                Origin::Registry { .. } => Elsewhere::Registry,
                _ => Elsewhere::Nowhere,
            };
            let gathered =
                gather(self.store, peers, &blob.digest, blob.size, elsewhere, &tell).await?;
            if let Some(partial) = gathered {
                return if *canonical { Ok(Some(partial)) } else { self.keep(partial).await };
            }
        }
        match &self.origin {
            Origin::Registry { client, .. } => {
                let tell = |bytes| {
                    if let Some(growing) = &growing {
                        growing.reached(bytes);
                    }
                    tell(bytes);
                };
                download(self.store, client, blob, tell).await?;
            }
            Origin::Here if self.store.has_blob(&blob.digest) => {}
            Origin::Here | Origin::Nodes(_) => {
                return Err(Error::MissingBlob(blob.digest.clone()));
            }
        }
        Ok(None)
    }

    async fn keep(&self, partial: Arc<Partial>) -> Result<Arrived> {
        let store = self.store.clone();
        blocking(move || partial.keep(&store)).await.map(|()| None)
    }

    async fn unpack(&self, n: usize, diff_id: Digest, arrived: Arrived) -> Result<()> {
        let chain = self.chains[n].clone();
        let _turn = self.store.flights.enter(&chain).await;
        let below = n.checked_sub(1).map(|below| self.chains[below].clone());
        let (store, layer, progress) =
            (self.store.clone(), self.blobs[n].clone(), self.progress.clone());
        let repository = match &self.origin {
            Origin::Registry { repository, .. } => Some(repository.clone()),
            Origin::Nodes(_) | Origin::Here => None,
        };
        blocking(move || {
            if !store.index().layers.contains_key(&chain) {
                unpack(&store, &layer, arrived.as_deref(), below.as_ref(), &diff_id, progress)?;
            }
            // Others find the tar here until they find the layer.
            arrived.map_or(Ok(()), |partial| partial.discard())?;
            let Some(repository) = repository else { return Ok(()) };
            store.update_layer(&chain, |layer| note_source(layer, &repository))
        })
        .await?;
        let done = Progress::layer(self.blobs[n].content.digest.short(), "Pull complete");
        send(self.progress, done).await;
        Ok(())
    }
}

/// Remembers that `repository` holds the layer's blob.
pub(crate) fn note_source(layer: &mut Layer, repository: &str) {
    /// Enough to mount from; a layer of a base image would gather every repository otherwise.
    const SOURCES: usize = 8;
    if !layer.sources.iter().any(|known| known == repository) {
        layer.sources.push(repository.to_owned());
        let surplus = layer.sources.len().saturating_sub(SOURCES);
        layer.sources.drain(..surplus);
    }
}

/// From the tar that arrived, or from the blob.
fn unpack(
    store: &Inner,
    layer: &Travelling,
    arrived: Option<&Partial>,
    below: Option<&Digest>,
    diff_id: &Digest,
    progress: ProgressSender,
) -> Result<()> {
    let blob = &layer.content;
    let from: Box<dyn Read + Send + '_> = match arrived {
        Some(partial) => Box::new(partial.reader()),
        None => Box::new(store.open_blob(&blob.digest)?),
    };
    let counted = Counted { from, blob, done: 0, told: 0, progress };
    let (staged, measured, _) = store.unpack(counted)?;
    if measured.diff_id != *diff_id {
        return Err(Error::LayerMismatch);
    }
    let kept = Blob {
        digest: blob.digest.clone(),
        size_bytes: blob.size,
        media_type: blob.media_type.clone(),
    };
    store.register(below, staged, measured, (!layer.canonical).then_some(kept)).map(drop)
}

/// Reports how much of the blob is unpacked.
struct Counted<'a> {
    from: Box<dyn Read + Send + 'a>,
    blob: &'a Descriptor,
    done: u64,
    told: u64,
    progress: ProgressSender,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.done += n as u64;
        if self.done >= self.told + TELL_EVERY || (n > 0 && self.done == self.blob.size) {
            self.told = self.done;
            let message =
                Progress::bytes(self.blob.digest.short(), "Extracting", self.done, self.blob.size);
            let _full = self.progress.try_send(message);
        }
        Ok(n)
    }
}
