//! Layer directories: staged in `tmp`, registered by one rename, never changed after.

use super::{Index, Inner, durable};
use crate::digest::{HashReader, HashWriter};
use crate::error::LayerError;
use crate::layer::compression::{Compression, decompress};
use crate::layer::{Blob, Layer, pack, unpack};
use crate::{Digest, Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// dockerd's limit; overlayfs itself takes 500.
pub(crate) const MAX_DEPTH: usize = 125;
/// Digits of a chain id in its symlink: 125 of them fit into a mount call's one page.
const LINK_DIGITS: usize = 10;

/// A layer directory that nothing points to yet; gone when dropped.
pub(crate) struct Staged(TempDir);

impl Staged {
    pub(crate) fn diff(&self) -> PathBuf {
        self.0.path().join("diff")
    }
}

/// What a layer's content was found to be.
pub(crate) struct Measured {
    pub(crate) diff_id: Digest,
    pub(crate) tar_bytes: u64,
    pub(crate) size_bytes: u64,
}

impl Inner {
    pub(crate) fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.root.join("layers").join(chain.hex()).join("diff")
    }

    /// An empty staged layer, on the same file system as the registered ones.
    pub(crate) fn stage(&self) -> Result<Staged> {
        let make = || -> io::Result<TempDir> {
            let dir = tempfile::Builder::new().prefix("layer-").tempdir_in(self.tmp())?;
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
            fs::create_dir(dir.path().join("diff"))?;
            fs::set_permissions(dir.path().join("diff"), fs::Permissions::from_mode(0o755))?;
            Ok(dir)
        };
        make().map(Staged).map_err(Error::io("create a layer in", &self.tmp()))
    }

    /// Unpacks a tar, compressed or not, and measures it on the way.
    pub(crate) fn unpack(&self, tar: impl Read + Send) -> Result<(Staged, Measured, Compression)> {
        let staged = self.stage()?;
        let register = |source| Error::RegisterLayer(LayerError::Tar(source));
        let (plain, compression) = decompress(tar).map_err(register)?;
        let measured = {
            let mut plain = HashReader::new(plain);
            let size_bytes =
                unpack::unpack(&mut plain, &staged.diff()).map_err(Error::RegisterLayer)?;
            let tar_bytes = plain.hasher.bytes();
            Measured { diff_id: plain.hasher.digest(), tar_bytes, size_bytes }
        };
        // The decoder's window and the tar's names: megabytes that nobody needs until the next layer.
        sys::heap::give_back();
        Ok((staged, measured, compression))
    }

    /// Measures a directory by its canonical tar.
    pub(crate) fn measure(dir: &Path) -> Result<Measured> {
        let mut sink = HashWriter::new(io::sink());
        let size_bytes = pack::pack(dir, pack::Marks::Whiteouts, &mut sink)
            .map_err(Error::io("read the layer", dir))?;
        let tar_bytes = sink.hasher.bytes();
        Ok(Measured { diff_id: sink.hasher.digest(), tar_bytes, size_bytes })
    }

    /// Makes a staged directory the layer on top of `parent`. One that is there already wins.
    pub(crate) fn register(
        &self,
        parent: Option<&Digest>,
        staged: Staged,
        measured: Measured,
        blob: Option<Blob>,
    ) -> Result<Arc<Layer>> {
        let Measured { diff_id, tar_bytes, size_bytes } = measured;
        let chain = parent.map_or_else(|| diff_id.clone(), |below| below.chain(&diff_id));
        let mut index = self.index();
        if let Some(layer) = index.layers.get(&chain) {
            return Ok(layer.clone());
        }
        let parent = parent.cloned();
        if let Some(missing) = parent.as_ref().filter(|below| !index.layers.contains_key(below)) {
            return Err(Error::MissingBlob(missing.clone()));
        }
        let link = self.free_link(&chain);
        let layer =
            Layer { chain, diff_id, parent, size_bytes, tar_bytes, link, blob, sources: vec![] };
        durable::write_json(&self.tmp(), &staged.0.path().join("layer.json"), &layer)?;
        let home = self.root.join("layers").join(layer.chain.hex());
        let staged = staged.0.keep();
        if let Err(err) = durable::rename(&staged, &home) {
            let _best_effort = fs::remove_dir_all(&staged);
            return Err(err);
        }
        self.ensure_link(&layer)?;
        let layer = Arc::new(layer);
        index.layers.insert(layer.chain.clone(), layer.clone());
        Ok(layer)
    }

    /// Takes a layer out of the index; returns its directory, which is the caller's to remove.
    pub(crate) fn unregister(&self, index: &mut Index, layer: &Layer) -> Result<PathBuf> {
        let home = self.root.join("layers").join(layer.chain.hex());
        let trash = self.trash_path("layer")?;
        fs::rename(&home, &trash).map_err(Error::io("rename", &home))?;
        durable::remove(&self.root.join("l").join(&layer.link))?;
        index.layers.remove(&layer.chain);
        Ok(trash.parent().map(Path::to_owned).unwrap_or(trash))
    }

    /// Records what has become known of a layer's blob.
    pub(crate) fn update_layer(
        &self,
        chain: &Digest,
        change: impl FnOnce(&mut Layer),
    ) -> Result<()> {
        let mut index = self.index();
        let Some(layer) = index.layers.get(chain) else { return Ok(()) };
        let mut changed = Layer::clone(layer);
        change(&mut changed);
        if changed != **layer {
            let path = self.root.join("layers").join(chain.hex()).join("layer.json");
            durable::write_json(&self.tmp(), &path, &changed)?;
            index.layers.insert(chain.clone(), Arc::new(changed));
        }
        Ok(())
    }

    /// Writes the layer's uncompressed tar, the very bytes of its diff id.
    pub(crate) fn write_tar(&self, layer: &Layer, out: impl Write) -> Result<()> {
        let mut out = HashWriter::new(out);
        let dir = self.layer_dir(&layer.chain);
        let written = match &layer.blob {
            Some(blob) => {
                let file = self.open_blob(&blob.digest)?;
                decompress(file).and_then(|(mut plain, _)| io::copy(&mut plain, &mut out))
            }
            None => pack::pack(&dir, pack::Marks::Whiteouts, &mut out),
        };
        written.map_err(Error::io("read the layer", &dir))?;
        if out.hasher.digest() != layer.diff_id {
            return Err(Error::Verification(layer.diff_id.clone()));
        }
        Ok(())
    }

    /// Makes all file content below the root durable, before a record points to it.
    pub(crate) fn sync_files(&self) -> Result<()> {
        let root = File::open(&self.root).map_err(Error::io("open", &self.root))?;
        nix::unistd::syncfs(&root).map_err(|err| Error::io("sync", &self.root)(err.into()))
    }

    fn free_link(&self, chain: &Digest) -> String {
        let taken = |digits: &usize| self.root.join("l").join(&chain.hex()[..*digits]).is_symlink();
        let digits = (LINK_DIGITS..64).find(|digits| !taken(digits)).unwrap_or(64);
        chain.hex()[..digits].to_owned()
    }

    fn ensure_link(&self, layer: &Layer) -> Result<()> {
        let link = self.root.join("l").join(&layer.link);
        let target = Path::new("../layers").join(layer.chain.hex()).join("diff");
        if fs::read_link(&link).is_ok_and(|to| to == target) {
            return Ok(());
        }
        durable::remove(&link)?;
        std::os::unix::fs::symlink(&target, &link).map_err(Error::io("link", &link))
    }

    /// Reads all layers; what is incomplete is removed.
    pub(crate) fn read_layers(&self) -> Result<BTreeMap<Digest, Arc<Layer>>> {
        let mut layers = BTreeMap::new();
        for home in durable::list(&self.root.join("layers"))? {
            match durable::read_json::<Layer>(&home.join("layer.json")) {
                Ok(layer) if home.ends_with(layer.chain.hex()) && home.join("diff").is_dir() => {
                    self.ensure_link(&layer)?;
                    layers.insert(layer.chain.clone(), Arc::new(layer));
                }
                _ => {
                    tracing::warn!(path = %home.display(), "incomplete layer removed");
                    fs::remove_dir_all(&home).map_err(Error::io("remove", &home))?;
                }
            }
        }
        Ok(layers)
    }
}
