//! What a node tells of an image that it has: its configuration byte for byte, and how its layers travel.

use crate::arrival::Travelling;
use crate::hosted::{manifests, own_manifests};
use crate::registry::manifest::{Descriptor, LAYER_TAR};
use crate::store::{Image, Inner, chains};
use crate::{Digest, Error, Reference, Result};
use serde::{Deserialize, Serialize};
use types::image::ImageConfig;
use types::{ImageId, Timestamp};

/// An image as one node has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Offer {
    pub(crate) id: ImageId,
    /// When the node gave it a name.
    pub(crate) tagged: Timestamp,
    /// Under which digests registries know it in the repository that was asked for; none for one that was made here.
    pub(crate) digests: Vec<Digest>,
    /// The configuration; its digest is the id.
    pub(crate) document: String,
    /// Lowest first.
    pub(crate) layers: Vec<Travelling>,
    /// Manifests of it that are here, byte for byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) manifests: Vec<String>,
    /// What was pushed under the tag that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pushed: Option<Digest>,
}

impl Offer {
    /// Whether it has no other origin than the cluster.
    pub(crate) fn is_made_here(&self) -> bool {
        self.digests.is_empty()
    }

    /// The configuration and the chain ids, if the offer is in itself what it says.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn check(&self) -> Result<(ImageConfig, Vec<Digest>)> {
        let digest = Digest::of(self.document.as_bytes());
        if digest.as_str() != self.id.as_str() {
            return Err(Error::Verification(digest));
        }
        let config: ImageConfig = serde_json::from_str(&self.document).map_err(Error::Config)?;
        let chains = chains(&config)?;
        let is_its = |(layer, diff_id): (&Travelling, &String)| {
            !layer.canonical || layer.content.digest.as_str() == diff_id
        };
        let all_its = self.layers.iter().zip(&config.rootfs.diff_ids).all(is_its);
        if chains.len() != self.layers.len() || !all_its {
            return Err(Error::LayerMismatch);
        }
        Ok((config, chains))
    }

    /// Whether it is what `reference` means: anything under a tag; under a digest only what has it, by its own id or by a
    /// manifest that came along.
    pub(crate) fn is(&self, reference: &Reference) -> bool {
        reference.digest().is_none_or(|digest| {
            digest.as_str() == self.id.as_str()
                || own_manifests(&self.manifests, &self.id).contains_key(digest)
        })
    }
}

/// The image called `name` here, if there is one. Blocking.
pub(crate) fn offer(store: &Inner, name: &str) -> Result<Option<Offer>> {
    let Ok(reference) = Reference::parse(name).map(Reference::or_latest) else { return Ok(None) };
    let (image, digests) = {
        let index = store.index();
        let Some(image) = index.meant(&reference).and_then(|id| index.images.get(id)) else {
            return Ok(None);
        };
        (image.clone(), registry_digests(index.references_to(&image.id), &reference, &image.id))
    };
    let id = Digest::parse(image.id.as_str()).ok_or(Error::LayerMismatch)?;
    let document = store.read_blob(&id)?;
    let document = String::from_utf8(document).map_err(|_| Error::Verification(id))?;
    let layers = layers(store, &image)?;
    let manifests = manifests(store, &digests);
    let pushed = store.pushed_under(&reference);
    Ok(Some(Offer {
        id: image.id.clone(),
        tagged: image.tagged,
        digests,
        document,
        layers,
        manifests,
        pushed,
    }))
}

/// The digests by which registries know an image in the repository of `reference`.
pub(crate) fn registry_digests<'a>(
    names: impl Iterator<Item = &'a Reference>,
    reference: &Reference,
    id: &ImageId,
) -> Vec<Digest> {
    let of_it = names.filter(|name| name.same_repository(reference));
    // Its own id is what services are pinned by.
    let digests = of_it.filter_map(Reference::digest);
    digests.filter(|digest| digest.as_str() != id.as_str()).cloned().collect()
}

pub(crate) fn layers(store: &Inner, image: &Image) -> Result<Vec<Travelling>> {
    let layers = store.layers_of(image)?;
    let offered = layers.into_iter().map(|layer| match &layer.blob {
        Some(blob) => {
            let digest = blob.digest.clone();
            Travelling::blob(Descriptor::new(&blob.media_type, digest, blob.size_bytes))
        }
        None => Travelling {
            content: Descriptor::new(LAYER_TAR, layer.diff_id.clone(), layer.tar_bytes),
            canonical: true,
        },
    });
    Ok(offered.collect())
}
