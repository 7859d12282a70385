//! What pruning leaves alone: images that the cluster's services need, or may go back to.

use crate::store::Index;
use crate::{Error, Reference, Result, Store};
use std::collections::{BTreeMap, BTreeSet};
use types::{ImageId, Timestamp};

impl Store {
    /// The images here that services of the cluster run or can be rolled back to, and of each of their repositories the
    /// newest `keep` versions. None on a node that is in no cluster.
    ///
    /// # Errors
    /// When no manager tells: then nothing may be removed.
    pub async fn needed(&self, keep: usize) -> Result<BTreeSet<ImageId>> {
        let Some(peers) = self.0.neighbours.peers() else { return Ok(BTreeSet::new()) };
        let names = peers.needed().await.map_err(Error::Needs)?;
        let names: Vec<Reference> =
            names.iter().filter_map(|name| Reference::parse(name).ok()).collect();
        Ok(needed(&self.0.index(), &names, keep))
    }
}

fn needed(index: &Index, names: &[Reference], keep: usize) -> BTreeSet<ImageId> {
    let named = names.iter().filter_map(|name| index.meant(&name.clone().or_latest()));
    let mut needed: BTreeSet<ImageId> = named.cloned().collect();
    let repositories: BTreeSet<String> = names.iter().map(Reference::name).collect();
    let mut versions: BTreeMap<String, BTreeSet<(Timestamp, &ImageId)>> = BTreeMap::new();
    for (name, id) in &index.references {
        if repositories.contains(&name.name())
            && let Some(image) = index.images.get(id)
        {
            versions.entry(name.name()).or_default().insert((image.tagged, id));
        }
    }
    let newest = versions.values().flat_map(|of_one| of_one.iter().rev().take(keep));
    needed.extend(newest.map(|(_, id)| (*id).clone()));
    needed
}
