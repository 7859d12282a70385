//! `load`: images from a docker-archive or an OCI archive, compressed or not.
//!
//! Such archives name their parts only at the end, so the archive is first spread out in `tmp`. Every
//! layer is checked against the diff id in its image's configuration before anything refers to it.

use crate::digest::Digest;
use crate::layer::compression::{Compression, MAGIC_BYTES, uncompressed};
use crate::layer::unpack::{open_file, unpack};
use crate::layer::{Blob, Layer};
use crate::registry::manifest::{self, Descriptor, Index, Manifest};
use crate::store::blobs::NewBlob;
use crate::store::gc::Lease;
use crate::store::{Image, Inner, chains};
use crate::stream::read_by;
use crate::{Error, Platform, Progress, ProgressSender, Reference, Result, Store};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncRead;
use types::image::ImageConfig;

const NO_IMAGE: &str = "no image for this platform";

/// One entry of a docker-archive's `manifest.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(crate) struct ArchiveImage {
    pub(crate) config: String,
    pub(crate) repo_tags: Option<Vec<String>>,
    pub(crate) layers: Vec<String>,
}

impl Store {
    /// Reads the whole of `archive`. Reports layers and what was loaded, as `docker load` prints it, and
    /// returns the images in the archive's order.
    pub async fn load(
        &self,
        archive: impl AsyncRead + Unpin,
        progress: ProgressSender,
    ) -> Result<Vec<Arc<Image>>> {
        self.load_for(archive, None, progress).await
    }

    /// As [`Self::load`]; `platform`: of an image for several the one that is taken, instead of this machine's. An archive
    /// without one for it is refused.
    pub async fn load_for(
        &self,
        archive: impl AsyncRead + Unpin,
        platform: Option<Platform>,
        progress: ProgressSender,
    ) -> Result<Vec<Arc<Image>>> {
        let inner = self.0.clone();
        let report = Report(progress);
        read_by(archive, move |archive| inner.load(archive, platform.as_ref(), &report)).await
    }
}

/// Progress from a blocking thread.
pub(crate) struct Report(pub(crate) ProgressSender);

impl Report {
    pub(crate) fn send(&self, message: Progress) {
        let _nobody_listens = self.0.blocking_send(message);
    }
}

impl Inner {
    fn load(
        &self,
        archive: impl Read + Send,
        platform: Option<&Platform>,
        report: &Report,
    ) -> Result<Vec<Arc<Image>>> {
        let dir = tempfile::Builder::new().prefix("load-").tempdir_in(self.tmp());
        let dir = dir.map_err(Error::io("create", &self.tmp()))?;
        let (plain, _) = crate::layer::compression::decompress(archive).map_err(Error::Stream)?;
        unpack(plain, dir.path()).map_err(Error::RegisterLayer)?;
        if let Some(manifest) = read_file(dir.path(), "manifest.json")? {
            let images: Vec<ArchiveImage> =
                serde_json::from_slice(&manifest).map_err(|_| Error::Archive("manifest.json"))?;
            return images
                .iter()
                .map(|image| self.load_docker(dir.path(), image, platform, report))
                .collect();
        }
        let Some(index) = read_file(dir.path(), "index.json")? else {
            return Err(Error::Archive("neither manifest.json nor index.json is in it"));
        };
        let index: Index =
            serde_json::from_slice(&index).map_err(|_| Error::Archive("index.json"))?;
        index
            .manifests
            .iter()
            .map(|entry| self.load_oci(dir.path(), entry, platform, report))
            .collect()
    }

    fn load_docker(
        &self,
        dir: &Path,
        image: &ArchiveImage,
        platform: Option<&Platform>,
        report: &Report,
    ) -> Result<Arc<Image>> {
        let document = read_file(dir, &image.config)?
            .ok_or(Error::Archive("an image's configuration is missing"))?;
        let image_id = self.load_image(dir, &document, &image.layers, platform, report)?;
        let tags = image.repo_tags.iter().flatten();
        let names = tags.map(|tag| Reference::parse(tag)).collect::<Result<Vec<_>, _>>()?;
        self.name_loaded(image_id, names, report)
    }

    fn load_oci(
        &self,
        dir: &Path,
        entry: &Descriptor,
        platform: Option<&Platform>,
        report: &Report,
    ) -> Result<Arc<Image>> {
        let read = |descriptor: &Descriptor| {
            let found = read_file(dir, &blob_name(&descriptor.digest))?
                .ok_or(Error::Archive("a manifest or configuration is missing"))?;
            if Digest::of(&found) == descriptor.digest {
                Ok(found)
            } else {
                Err(Error::Verification(descriptor.digest.clone()))
            }
        };
        let mut bytes = read(entry)?;
        while let Some(index) = manifest::as_index(&bytes) {
            let wanted = platform.cloned().unwrap_or_else(Platform::host);
            let chosen =
                manifest::choose(&index.manifests, &wanted).ok_or(Error::Archive(NO_IMAGE))?;
            bytes = read(chosen)?;
        }
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|_| Error::Archive("a manifest"))?;
        let layers: Vec<_> = manifest.layers.iter().map(|layer| blob_name(&layer.digest)).collect();
        let image = self.load_image(dir, &read(&manifest.config)?, &layers, platform, report)?;
        self.name_loaded(image, oci_name(entry), report)
    }

    /// The image of `document`, its layers unpacked from the files `layers` unless they are here.
    fn load_image(
        &self,
        dir: &Path,
        document: &[u8],
        layers: &[String],
        platform: Option<&Platform>,
        report: &Report,
    ) -> Result<Arc<Image>> {
        let config: ImageConfig = serde_json::from_slice(document).map_err(Error::Config)?;
        let other = |wanted: &Platform| {
            (&wanted.os, &wanted.architecture) != (&config.os, &config.architecture)
        };
        if platform.is_some_and(other) {
            return Err(Error::Archive(NO_IMAGE));
        }
        let chains = chains(&config)?;
        if chains.len() != layers.len() {
            return Err(Error::LayerMismatch);
        }
        let lease = self.pins.lease();
        for (index, (chain, name)) in chains.iter().zip(layers).enumerate() {
            lease.pin(chain);
            if self.index().layers.contains_key(chain) {
                continue;
            }
            let expected =
                Digest::parse(&config.rootfs.diff_ids[index]).ok_or(Error::LayerMismatch)?;
            let below = index.checked_sub(1).map(|below| &chains[below]);
            let file = open_file(dir, Path::new(name))
                .map_err(|_| Error::Archive("a layer is missing"))?;
            self.load_layer(file, below, index, expected, &lease, report)?;
        }
        self.put_image(document, None)
    }

    fn load_layer(
        &self,
        mut file: File,
        below: Option<&Digest>,
        index: usize,
        expected: Digest,
        lease: &Lease,
        report: &Report,
    ) -> Result<Arc<Layer>> {
        let stream = |err| Error::Stream(err);
        let total = file.metadata().map_err(stream)?.len();
        let mut magic = [0; MAGIC_BYTES];
        let n = file.read(&mut magic).map_err(stream)?;
        file.rewind().map_err(stream)?;
        let compression = Compression::of(&magic[..n]);
        let mut copy = Copy::new(self.new_blob()?, compression).map_err(stream)?;
        let from: Box<dyn Read + Send> = match compression {
            // No media type has these: the copy is made of what is in them.
            Compression::Bzip2 | Compression::Xz => uncompressed(file).map_err(stream)?,
            Compression::None | Compression::Gzip | Compression::Zstd => Box::new(file),
        };
        let mut tee =
            Tee { from, to: &mut copy, done: 0, told: 0, total, report, id: expected.short() };
        let (staged, measured, _) = self.unpack(&mut tee)?;
        io::copy(&mut tee, &mut io::sink()).map_err(stream)?;
        if measured.diff_id != expected {
            return Err(Error::DiffId { index, expected, got: measured.diff_id });
        }
        report.send(Progress::bytes(expected.short(), "Loading layer", total, total));
        let (digest, size_bytes) = copy.finish().map_err(stream)?.keep(self, lease)?;
        let media_type = match compression {
            Compression::Gzip => manifest::LAYER_GZIP,
            _ => manifest::LAYER_ZSTD,
        };
        let blob = Blob { digest, size_bytes, media_type: media_type.to_owned() };
        self.register(below, staged, measured, Some(blob))
    }

    fn name_loaded(
        &self,
        image: Arc<Image>,
        names: Vec<Reference>,
        report: &Report,
    ) -> Result<Arc<Image>> {
        if names.is_empty() {
            report.send(Progress::stream(format!("Loaded image ID: {}\n", image.id)));
            return Ok(image);
        }
        for name in names {
            let name = name.or_latest();
            let before = self.index().references.get(&name).cloned();
            if let Some(before) = before.filter(|before| *before != image.id) {
                report.send(Progress::stream(format!(
                    "The image {} already exists, renaming the old one with ID {before} to empty string\n",
                    name.familiar()
                )));
            }
            self.set_references([name.clone()], &image.id)?;
            report.send(Progress::stream(format!("Loaded image: {}\n", name.familiar())));
        }
        Ok(self.index().images.get(&image.id).cloned().unwrap_or(image))
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// containerd and dockerd write the full name in their own annotation; others write a name or only a
/// tag in OCI's.
fn oci_name(entry: &Descriptor) -> Vec<Reference> {
    let note = |key: &str| entry.annotations.as_ref().and_then(|notes| notes.get(key));
    let full = note("io.containerd.image.name");
    let short = note("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    full.or(short).and_then(|name| Reference::parse(name).ok()).into_iter().collect()
}

/// A small file of the archive; `None` when it is not there.
fn read_file(dir: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    /// Far above any manifest; keeps a hostile archive from filling the memory.
    const MAX_BYTES: u64 = 32 << 20;
    let mut bytes = Vec::new();
    match open_file(dir, Path::new(name)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let read = file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes));
            read.map_err(Error::Stream)?;
            Ok(Some(bytes))
        }
    }
}

/// The copy of a layer that stays: compressed ones as they are if registries know the compression, others under light zstd.
enum Copy {
    Same(NewBlob),
    Zstd(zstd::stream::write::Encoder<'static, NewBlob>),
}

impl Copy {
    fn new(blob: NewBlob, compression: Compression) -> io::Result<Copy> {
        match compression {
            Compression::Gzip | Compression::Zstd => Ok(Copy::Same(blob)),
            Compression::None | Compression::Bzip2 | Compression::Xz => {
                Ok(Copy::Zstd(zstd::stream::write::Encoder::new(blob, 1)?))
            }
        }
    }
    fn write_all(&mut self, chunk: &[u8]) -> io::Result<()> {
        match self {
            Copy::Same(blob) => blob.write_all(chunk),
            Copy::Zstd(encoder) => encoder.write_all(chunk),
        }
    }
    fn finish(self) -> io::Result<NewBlob> {
        match self {
            Copy::Same(blob) => Ok(blob),
            Copy::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Reads a layer file, keeps a copy and reports how far it is.
struct Tee<'a> {
    from: Box<dyn Read + Send>,
    to: &'a mut Copy,
    done: u64,
    told: u64,
    total: u64,
    report: &'a Report,
    id: &'a str,
}

/// Bytes between two progress messages.
const TELL_EVERY: u64 = 512 * 1024;

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.from.read(buffer)?;
        self.to.write_all(&buffer[..n])?;
        self.done += n as u64;
        if self.done - self.told >= TELL_EVERY {
            self.told = self.done;
            self.report.send(Progress::bytes(self.id, "Loading layer", self.done, self.total));
        }
        Ok(n)
    }
}
