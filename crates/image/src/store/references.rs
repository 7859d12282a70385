//! Names of images: `references.json`, rewritten whole with every change.

use super::{Image, Index, Inner, Store, blocking, durable};
use crate::{Error, Reference, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use types::{ImageId, Timestamp};

impl Store {
    /// Gives `image` (any name of it) the name `target`, which may have been another image's.
    pub async fn tag(&self, image: &str, target: &str) -> Result<Arc<Image>> {
        let target = Reference::parse(target)?;
        if target.digest().is_some() {
            return Err(Error::TagWithDigest);
        }
        if target.path() == "library/sha256" {
            return Err(Error::TagNamedSha256);
        }
        let image = self.resolve(image)?;
        self.set_reference(target.or_latest(), image.id.clone()).await
    }

    /// Points `reference` at `id`.
    pub(crate) async fn set_reference(
        &self,
        reference: Reference,
        id: ImageId,
    ) -> Result<Arc<Image>> {
        let inner = self.0.clone();
        blocking(move || inner.set_references([reference], &id)).await
    }

    /// All names of an image: tags and digests, in order.
    pub fn references_to(&self, id: &ImageId) -> Vec<Reference> {
        self.0.index().references_to(id).cloned().collect()
    }
}

impl Inner {
    fn references_path(&self) -> PathBuf {
        self.root.join("references.json")
    }

    pub(crate) fn set_references(
        &self,
        references: impl IntoIterator<Item = Reference>,
        id: &ImageId,
    ) -> Result<Arc<Image>> {
        self.set_references_as_of(references, id, None)
    }

    /// As [`set_references`](Inner::set_references), at another time than now: names that another node gave keep the
    /// time at which it did.
    pub(crate) fn set_references_as_of(
        &self,
        references: impl IntoIterator<Item = Reference>,
        id: &ImageId,
        tagged: Option<Timestamp>,
    ) -> Result<Arc<Image>> {
        let mut index = self.index();
        let missing = || Error::NoSuchImage(id.as_str().to_owned());
        let mut image = Image::clone(index.images.get(id).ok_or_else(missing)?);
        let mut changed = index.references.clone();
        changed.extend(references.into_iter().map(|reference| (reference, id.clone())));
        image.tagged = match tagged {
            Some(tagged) => tagged.max(image.tagged),
            None => SystemTime::now().into(),
        };
        self.write_image(&image)?;
        self.write_references(&changed)?;
        let image = Arc::new(image);
        index.references = changed;
        index.images.insert(id.clone(), image.clone());
        Ok(image)
    }

    /// Forgets these names. The images stay.
    pub(crate) fn forget_references(&self, index: &mut Index, gone: &[Reference]) -> Result<()> {
        let mut changed = index.references.clone();
        changed.retain(|reference, _| !gone.contains(reference));
        self.write_references(&changed)?;
        index.references = changed;
        Ok(())
    }

    fn write_references(&self, references: &BTreeMap<Reference, ImageId>) -> Result<()> {
        let record: BTreeMap<String, &ImageId> =
            references.iter().map(|(reference, id)| (reference.to_string(), id)).collect();
        durable::write_json(&self.tmp(), &self.references_path(), &record)
    }

    pub(crate) fn read_references(&self, index: &Index) -> Result<BTreeMap<Reference, ImageId>> {
        let path = self.references_path();
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let record: BTreeMap<String, ImageId> = durable::read_json(&path)?;
        let mut references = BTreeMap::new();
        for (text, id) in record {
            if index.images.contains_key(&id) {
                references.insert(Reference::parse(&text)?, id);
            }
        }
        Ok(references)
    }
}
