//! What may be removed: layers and blobs that no image, no container and no running work needs.
//!
//! Work in progress (a pull, a load, a build step) pins what it is about to refer to *before* it looks
//! whether it is there, and the collector decides with the index and the pins locked, so nothing vanishes
//! between the look and the record.

use super::{Index, Inner, durable};
use crate::{Digest, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counts of holders, by blob digest or chain id.
#[derive(Default, Clone)]
pub(crate) struct Pins(Arc<Mutex<BTreeMap<Digest, usize>>>);

impl Pins {
    fn held(&self) -> MutexGuard<'_, BTreeMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// A new, empty lease.
    pub(crate) fn lease(&self) -> Lease {
        Lease { pins: self.clone(), held: Mutex::default() }
    }
}

/// Keeps blobs and layers from the collector until dropped.
pub(crate) struct Lease {
    pins: Pins,
    held: Mutex<Vec<Digest>>,
}

impl Lease {
    pub(crate) fn pin(&self, digest: &Digest) {
        *self.pins.held().entry(digest.clone()).or_default() += 1;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(digest.clone());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut pins = self.pins.held();
        for digest in self.held.get_mut().unwrap_or_else(PoisonError::into_inner) {
            if let Some(count) = pins.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(digest);
                }
            }
        }
    }
}

impl Inner {
    /// Removes what nothing needs. Returns the removed layers' chain ids, topmost first, and the bytes of
    /// their files. A failure to remove is logged and met again next time. Blocking; with the locks held it
    /// only renames, and syncs nothing: what a power cut brings back is needed by nothing as before, and the
    /// next open collects it.
    pub(crate) fn collect(&self) -> (Vec<Digest>, u64) {
        let below = self.manifests_below();
        let mut index = self.index();
        let pins = self.pins.held();
        let live = live_layers(&index, &pins);
        let mut dead: Vec<_> =
            index.layers.values().filter(|layer| !live.contains(&layer.chain)).cloned().collect();
        dead.sort_by_key(|layer| std::cmp::Reverse(index.depth(&layer.chain)));
        let mut trash = Vec::new();
        let mut removed = Vec::new();
        let mut freed = 0;
        for layer in dead {
            match self.unregister(&mut index, &layer) {
                Ok(dir) => trash.push(dir),
                Err(err) => {
                    tracing::warn!(layer = %layer.chain, error = errdefs::chain(&err), "layer not removed");
                    continue;
                }
            }
            removed.push(layer.chain.clone());
            freed += layer.size_bytes;
        }
        match self.set_blobs_aside(&index, &pins, &below) {
            Ok(dir) => trash.extend(dir),
            Err(err) => tracing::warn!(error = errdefs::chain(&err), "blobs not swept"),
        }
        drop((pins, index));
        self.neighbours.layouts.forget(&removed);
        for dir in trash {
            if let Err(error) = fs::remove_dir_all(&dir) {
                tracing::warn!(path = %dir.display(), %error, "removed layer's files are left");
            }
        }
        (removed, freed)
    }

    /// Moves dead blobs into a directory, which is the caller's to remove: a large file takes the disk a while.
    fn set_blobs_aside(
        &self,
        index: &Index,
        pins: &BTreeMap<Digest, usize>,
        below: &[Digest],
    ) -> Result<Option<PathBuf>> {
        let mut live: BTreeSet<&str> = pins.keys().map(Digest::hex).collect();
        live.extend(below.iter().map(Digest::hex));
        // Manifests, kept beside the names by their digests.
        live.extend(index.references.keys().filter_map(|name| name.digest()).map(Digest::hex));
        live.extend(index.images.keys().filter_map(|id| id.as_str().strip_prefix("sha256:")));
        live.extend(
            index
                .layers
                .values()
                .filter_map(|layer| layer.blob.as_ref())
                .map(|blob| blob.digest.hex()),
        );
        let mut trash: Option<PathBuf> = None;
        for path in durable::list(&self.root.join("blobs/sha256"))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if live.contains(name) {
                continue;
            }
            let to = match &trash {
                Some(dir) => dir.join(name),
                None => {
                    let to = self.trash_path(name)?;
                    trash = to.parent().map(Path::to_owned);
                    to
                }
            };
            if let Err(cause) = fs::rename(&path, &to) {
                // Those moved so far go with `tmp` at the next open.
                return Err(crate::Error::io("rename", &path)(cause));
            }
        }
        Ok(trash)
    }

    /// Empties `tmp`. A directory that is still mounted or busy is left with a warning.
    pub(crate) fn sweep_tmp(&self) -> Result<()> {
        for path in durable::list(&self.tmp())? {
            let removed = if path.is_dir() && !path.is_symlink() {
                crate::rw::remove_discarded(&path)
            } else {
                durable::remove(&path)
            };
            if let Err(err) = removed {
                tracing::warn!(path = %path.display(), error = errdefs::chain(&err), "left-over not removed");
            }
        }
        Ok(())
    }

    /// Forgets downloads that nobody has gone on with for a day.
    pub(crate) fn sweep_ingest(&self) -> Result<()> {
        const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
        for path in durable::list(&self.root.join("ingest"))? {
            let changed = fs::metadata(&path).and_then(|meta| meta.modified());
            let age = changed.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
            if age > KEPT {
                durable::remove(&path)?;
            }
        }
        Ok(())
    }

    /// A fresh path in `tmp` for something on its way out.
    pub(crate) fn trash_path(&self, name: &str) -> Result<PathBuf> {
        let dir = tempfile::Builder::new().prefix("trash-").tempdir_in(self.tmp());
        let dir = dir.map_err(crate::Error::io("create", &self.tmp()))?;
        Ok(dir.keep().join(name))
    }
}

fn live_layers(index: &Index, pins: &BTreeMap<Digest, usize>) -> BTreeSet<Digest> {
    let tops = index.images.values().flat_map(|image| image.layers.last());
    let held = index.rw.values().flat_map(|rw| rw.chain.as_ref());
    let mut live = BTreeSet::new();
    for top in tops.chain(held).chain(pins.keys()) {
        let mut next = Some(top.clone());
        while let Some(chain) = next.filter(|chain| !live.contains(chain)) {
            next = index.layers.get(&chain).and_then(|layer| layer.parent.clone());
            live.insert(chain);
        }
    }
    live
}

impl Index {
    /// How many layers lie below.
    fn depth(&self, chain: &Digest) -> usize {
        let below = |layer: &Arc<crate::Layer>| {
            layer.parent.as_ref().and_then(|parent| self.layers.get(parent)).cloned()
        };
        std::iter::successors(self.layers.get(chain).cloned(), below).count()
    }
}
