//! `save`: images as one archive that is both a docker-archive and an OCI layout, as dockerd 25 writes it.
//!
//! Layers are stored uncompressed under their diff ids, so the same images give the same bytes anywhere.

use super::load::ArchiveImage;
use crate::registry::manifest::{self, Descriptor, Index, Manifest};
use crate::store::{Image, Inner};
use crate::stream::{ByteStream, written_by};
use crate::{Digest, Error, Layer, Reference, Result, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

/// An image to be saved, with the names it gets in the archive.
struct Chosen {
    image: Arc<Image>,
    names: Vec<Reference>,
}

impl Store {
    /// Writes the images called `names`. A repository without a tag means all its tags; an id keeps no
    /// name. Fails before the first byte when one is not there.
    pub fn save(&self, names: &[String]) -> Result<ByteStream> {
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in names {
            for (image, reference) in self.named(name)? {
                let position = chosen.iter().position(|other| other.image.id == image.id);
                let position = position.unwrap_or_else(|| {
                    chosen.push(Chosen { image, names: Vec::new() });
                    chosen.len() - 1
                });
                chosen[position].names.extend(reference);
            }
        }
        let inner = self.0.clone();
        let lease = inner.pins.lease();
        for image in chosen.iter().map(|chosen| &chosen.image) {
            image.layers.iter().for_each(|chain| lease.pin(chain));
            Digest::parse(image.id.as_str()).iter().for_each(|digest| lease.pin(digest));
        }
        Ok(written_by(move |out| {
            let _held = lease;
            inner.save(&chosen, out).map_err(|err| io::Error::other(errdefs::chain(&err)))
        }))
    }

    fn named(&self, name: &str) -> Result<Vec<(Arc<Image>, Option<Reference>)>> {
        let index = self.0.index();
        let reference = Reference::parse(name).ok();
        if let Some(repository) =
            reference.as_ref().filter(|r| r.tag().is_none() && r.digest().is_none())
        {
            let tags: Vec<_> = index
                .references
                .iter()
                .filter(|(known, _)| known.same_repository(repository) && known.digest().is_none())
                .filter_map(|(known, id)| {
                    Some((index.images.get(id)?.clone(), Some(known.clone())))
                })
                .collect();
            if !tags.is_empty() {
                return Ok(tags);
            }
        }
        let image = index.resolve(name)?;
        let tagged =
            reference.filter(|r| r.tag().is_some() && index.references.get(r) == Some(&image.id));
        Ok(vec![(image, tagged)])
    }
}

impl Inner {
    fn save(&self, chosen: &[Chosen], out: &mut dyn Write) -> Result<()> {
        let mut tar = Archive { out, written: BTreeSet::new() };
        let mut images = Vec::new();
        let mut manifests = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Chosen { image, names } in chosen {
            let (entry, descriptor) = self.save_image(image, names, &mut tar)?;
            for name in names {
                let top =
                    image.layers.last().map(|chain| chain.hex().to_owned()).unwrap_or_default();
                let tag = name.tag().unwrap_or_default().to_owned();
                repositories.entry(name.familiar_name()).or_default().insert(tag, top);
            }
            images.push(entry);
            manifests.extend(named_descriptors(&descriptor, names));
        }
        let index = Index {
            schema_version: 2,
            media_type: Some(manifest::OCI_INDEX.to_owned()),
            manifests,
        };
        tar.json("index.json", &index)?;
        tar.json("manifest.json", &images)?;
        tar.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            tar.json("repositories", &repositories)?;
        }
        tar.finish()
    }

    fn save_image(
        &self,
        image: &Image,
        names: &[Reference],
        tar: &mut Archive<'_>,
    ) -> Result<(ArchiveImage, Descriptor)> {
        let config_digest = Digest::parse(image.id.as_str()).ok_or(Error::LayerMismatch)?;
        let document = self.read_blob(&config_digest)?;
        tar.blob(&config_digest, &document)?;
        let layers = self.layers_of(image)?;
        for layer in &layers {
            tar.layer(self, layer)?;
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(manifest::OCI_MANIFEST.to_owned()),
            config: Descriptor::new(
                manifest::OCI_CONFIG,
                config_digest.clone(),
                document.len() as u64,
            ),
            layers: layers
                .iter()
                .map(|layer| {
                    Descriptor::new(manifest::LAYER_TAR, layer.diff_id.clone(), layer.tar_bytes)
                })
                .collect(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(Error::Config)?;
        let digest = Digest::of(&bytes);
        tar.blob(&digest, &bytes)?;
        let tags: Vec<String> = names.iter().map(Reference::familiar).collect();
        let entry = ArchiveImage {
            config: format!("blobs/sha256/{}", config_digest.hex()),
            repo_tags: (!tags.is_empty()).then_some(tags),
            layers: layers
                .iter()
                .map(|layer| format!("blobs/sha256/{}", layer.diff_id.hex()))
                .collect(),
        };
        Ok((entry, Descriptor::new(manifest::OCI_MANIFEST, digest, bytes.len() as u64)))
    }

    pub(crate) fn layers_of(&self, image: &Image) -> Result<Vec<Arc<Layer>>> {
        let index = self.index();
        let found = image.layers.iter().map(|chain| {
            index.layers.get(chain).cloned().ok_or_else(|| Error::MissingBlob(chain.clone()))
        });
        found.collect()
    }
}

/// One entry of `index.json` for each name, or a nameless one.
fn named_descriptors(descriptor: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    if names.is_empty() {
        return vec![descriptor.clone()];
    }
    let named = |name: &Reference| {
        let notes = BTreeMap::from([
            ("io.containerd.image.name".to_owned(), name.to_string()),
            (
                "org.opencontainers.image.ref.name".to_owned(),
                name.tag().unwrap_or_default().to_owned(),
            ),
        ]);
        Descriptor { annotations: Some(notes), ..descriptor.clone() }
    };
    names.iter().map(named).collect()
}

/// A tar of blobs, each written once.
struct Archive<'a> {
    out: &'a mut dyn Write,
    written: BTreeSet<String>,
}

const BLOCK: u64 = 512;

impl Archive<'_> {
    fn json(&mut self, name: &str, value: &impl serde::Serialize) -> Result<()> {
        self.file(name, &serde_json::to_vec(value).map_err(Error::Config)?)
    }

    fn blob(&mut self, digest: &Digest, bytes: &[u8]) -> Result<()> {
        self.file(&format!("blobs/sha256/{}", digest.hex()), bytes)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, bytes.len() as u64, |out| out.write_all(bytes).map_err(Error::Stream))
    }

    fn layer(&mut self, store: &Inner, layer: &Layer) -> Result<()> {
        let name = format!("blobs/sha256/{}", layer.diff_id.hex());
        self.entry(&name, layer.tar_bytes, |out| store.write_tar(layer, out))
    }

    fn entry(
        &mut self,
        name: &str,
        size: u64,
        content: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(Error::Stream)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.out.write_all(header.as_bytes()).map_err(Error::Stream)?;
        content(self.out)?;
        self.zeros((BLOCK - size % BLOCK) % BLOCK)
    }

    fn zeros(&mut self, count: u64) -> Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), count), &mut self.out)
            .map_err(Error::Stream)?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.zeros(2 * BLOCK)
    }
}
