//! A blob in the making from pieces in any order. What is there outlives the daemon, and is served to others meanwhile.
//!
//! ```text
//! ingest/<hex>.pieces   the blob, with holes
//! ingest/<hex>.have     a byte for each piece, 1 once it is written
//! ```
//!
//! Neither is synced: after a power cut the digest tells, and the blob is fetched anew.

use super::pieces::{Pieces, count, span};
use crate::store::{Inner, durable};
use crate::{Digest, Error, Result};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Blobs that are being fetched, for those that ask for them.
#[derive(Default)]
pub(crate) struct Partials(Mutex<HashMap<Digest, Weak<Partial>>>);

impl Partials {
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<Partial>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest).and_then(Weak::upgrade)
    }

    fn add(&self, partial: &Arc<Partial>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, partial| partial.strong_count() > 0);
        all.insert(partial.digest.clone(), Arc::downgrade(partial));
    }
}

pub(crate) struct Partial {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    path: PathBuf,
    data: File,
    map: File,
    have: Mutex<Pieces>,
}

impl Partial {
    /// What an earlier fetch left of the blob, or nothing of it yet. One at a time: the caller has its turn. Blocking.
    pub(crate) fn open(store: &Inner, digest: &Digest, size: u64) -> Result<Arc<Partial>> {
        let path = store.ingest_path(digest).with_extension("pieces");
        let map = path.with_extension("have");
        let open = || -> io::Result<Partial> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let (data, mut map) = (options.open(&path)?, options.open(&map)?);
            let mut have = Pieces::none(count(size));
            let mut written = Vec::new();
            map.read_to_end(&mut written)?;
            if data.metadata()?.len() == size && written.len() == have.count() as usize {
                let held = (0..have.count()).zip(&written).filter(|(_, there)| **there == 1);
                held.for_each(|(n, _)| have.add(n));
            } else {
                map.set_len(0)?;
                data.set_len(0)?;
                data.set_len(size)?;
                map.set_len(have.count().into())?;
            }
            let (digest, path) = (digest.clone(), path.clone());
            Ok(Partial { digest, size, path, data, map, have: Mutex::new(have) })
        };
        let partial = Arc::new(open().map_err(Error::io("open", &path))?);
        store.neighbours.partials.add(&partial);
        Ok(partial)
    }

    pub(crate) fn have(&self) -> Pieces {
        self.have.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn has(&self, piece: u32) -> bool {
        self.have.lock().unwrap_or_else(PoisonError::into_inner).has(piece)
    }

    /// Into the page cache: not worth a thread hop.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.data.write_all_at(bytes, at)
    }

    /// All of a piece is written.
    pub(crate) fn add(&self, piece: u32) -> io::Result<()> {
        self.map.write_all_at(&[1], piece.into())?;
        self.have.lock().unwrap_or_else(PoisonError::into_inner).add(piece);
        Ok(())
    }

    /// Bytes that are here.
    pub(crate) fn bytes(&self) -> u64 {
        let have = self.have.lock().unwrap_or_else(PoisonError::into_inner);
        match have.is_complete() {
            true => self.size,
            false => (u64::from(have.held()) * super::pieces::PIECE).min(self.size),
        }
    }

    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.data.read_at(buffer, at)
    }

    /// Whether the whole is what its digest says. Blocking.
    pub(crate) fn verify(&self) -> Result<bool> {
        let mut hasher = crate::digest::Hasher::default();
        let mut buffer = vec![0; 256 * 1024];
        let mut at = 0;
        while at < self.size {
            let n = self.data.read_at(&mut buffer, at).map_err(Error::io("read", &self.path))?;
            if n == 0 {
                return Ok(false);
            }
            hasher.update(&buffer[..n]);
            at += n as u64;
        }
        Ok(hasher.digest() == self.digest)
    }

    /// The whole from its begin.
    pub(crate) fn reader(&self) -> impl Read + Send + '_ {
        Reader { partial: self, at: 0 }
    }

    /// Puts the whole in its place among the blobs. Blocking.
    pub(crate) fn keep(&self, store: &Inner) -> Result<()> {
        self.data.sync_all().map_err(Error::io("write", &self.path))?;
        durable::rename(&self.path, &store.blob_path(&self.digest))?;
        durable::remove(&self.path.with_extension("have"))
    }

    /// Takes it from the disk. Blocking.
    pub(crate) fn discard(&self) -> Result<()> {
        // In this order: without its map it counts for nothing.
        durable::remove(&self.path.with_extension("have"))?;
        durable::remove(&self.path)
    }

    /// Bytes of a piece.
    pub(crate) fn span(&self, piece: u32) -> (u64, u64) {
        span(piece, self.size)
    }
}

struct Reader<'a> {
    partial: &'a Partial,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.partial.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
