//! Blobs by digest. A blob is in place only when its digest was right.

use super::gc::Lease;
use super::{Inner, durable};
use crate::digest::{HashWriter, Hasher};
use crate::{Digest, Error, Result};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use tempfile::NamedTempFile;

impl Inner {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).exists()
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        match fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                Err(Error::MissingBlob(digest.clone()))
            }
            read => read.map_err(Error::io("read", &path)),
        }
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest) {
            durable::write(&self.tmp(), &self.blob_path(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// A blob whose digest is known only when it is written.
    pub(crate) fn new_blob(&self) -> Result<NewBlob> {
        let file = NamedTempFile::new_in(self.tmp()).map_err(Error::io("create", &self.tmp()))?;
        Ok(NewBlob(HashWriter::new(file)))
    }

    pub(crate) fn open_blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(Error::io("open", &path))
    }

    /// Where a download of `digest` is kept until it is whole; survives restarts.
    pub(crate) fn ingest_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("ingest").join(digest.hex())
    }

    /// Moves a finished download into place, if `hasher` saw the right bytes; otherwise removes it.
    pub(crate) fn finish_ingest(&self, digest: &Digest, hasher: Hasher) -> Result<()> {
        let partial = self.ingest_path(digest);
        if hasher.digest() != *digest {
            durable::remove(&partial)?;
            return Err(Error::Verification(digest.clone()));
        }
        File::open(&partial)
            .and_then(|file| file.sync_all())
            .map_err(Error::io("write", &partial))?;
        durable::rename(&partial, &self.blob_path(digest))
    }
}

/// A blob in the making; gone when dropped before [`NewBlob::keep`].
pub(crate) struct NewBlob(HashWriter<NamedTempFile>);

impl NewBlob {
    /// Puts it in place, pinned by `lease`. Returns its digest and bytes.
    pub(crate) fn keep(self, store: &Inner, lease: &Lease) -> Result<(Digest, u64)> {
        let HashWriter { inner: file, hasher } = self.0;
        let bytes = hasher.bytes();
        let digest = hasher.digest();
        lease.pin(&digest);
        let path = store.blob_path(&digest);
        let keep = || -> io::Result<()> {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|err| err.error)?;
            durable::sync_parent(&path)
        };
        keep().map_err(Error::io("write", &path))?;
        Ok((digest, bytes))
    }
}

impl Write for NewBlob {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.write(buffer)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
