//! Blobs that come from a registry, for nodes that want them at the same time: what is there of one is its beginning.

use super::pieces::{PIECE, Pieces, count};
use crate::Digest;
use crate::registry::manifest::Descriptor;
use crate::store::Inner;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// What is being downloaded.
#[derive(Default)]
pub(crate) struct Growings(Mutex<HashMap<Digest, Weak<Growing>>>);

impl Growings {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Growing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).and_then(Weak::upgrade)
    }

    /// The blob is about to be downloaded; it is known to others until what is returned is dropped.
    pub(crate) fn begin(&self, store: &Inner, blob: &Descriptor) -> Arc<Growing> {
        let growing = Arc::new(Growing {
            size: blob.size,
            path: store.ingest_path(&blob.digest),
            file: OnceLock::new(),
            bytes: AtomicU64::new(0),
        });
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, growing| growing.strong_count() > 0);
        all.insert(blob.digest.clone(), Arc::downgrade(&growing));
        growing
    }
}

pub(crate) struct Growing {
    pub(crate) size: u64,
    path: PathBuf,
    /// Opened when the first piece is asked for: its name changes when it is whole.
    file: OnceLock<File>,
    /// From the beginning on.
    bytes: AtomicU64,
}

impl Growing {
    /// So many bytes are there; fewer than before when the download began anew.
    pub(crate) fn reached(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Release);
    }

    pub(crate) fn have(&self) -> Pieces {
        let bytes = self.bytes.load(Ordering::Acquire);
        let all = count(self.size);
        let whole = match bytes >= self.size {
            true => all,
            false => u32::try_from(bytes / PIECE).unwrap_or(all),
        };
        let mut have = Pieces::none(all);
        (0..whole).for_each(|piece| have.add(piece));
        have
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let opened = File::open(&self.path)?;
                self.file.get_or_init(|| opened)
            }
        };
        file.read_at(buffer, at)
    }
}
