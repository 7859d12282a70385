//! An image by its name from the nodes that have it.

use super::Peers;
use super::line::Line;
use super::offer::{Offer, offer};
use crate::arrival::{Layers, Origin, send};
use crate::hosted::own_manifests;
use crate::store::{Image, blocking};
use crate::{Digest, Platform, Progress, ProgressSender, PullOptions, Reference, Result, Store};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use std::sync::Arc;
use types::ImageId;

/// What a name means in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meant {
    pub id: ImageId,
    /// Digests by which registries know it; none when it was made in the cluster.
    pub digests: Vec<Digest>,
    pub platform: Platform,
    /// Bytes of its configuration.
    pub size_bytes: u64,
}

impl Store {
    /// What `reference` means on this node.
    pub async fn meant_here(&self, reference: &Reference) -> Result<Option<Meant>> {
        let (inner, name) = (self.0.clone(), reference.to_string());
        let offer = blocking(move || offer(&inner, &name)).await?;
        offer.map(|offer| meant(&offer)).transpose()
    }

    /// What `reference` means on the other nodes: of several images the one that was named last, before any that a
    /// registry knows.
    pub async fn meant_elsewhere(&self, reference: &Reference) -> Option<Meant> {
        let best = self.offered(reference).await?;
        meant(&best).ok()
    }

    /// Whether an image of this name was made in the cluster, here or elsewhere, later than the one that is here.
    pub async fn is_outdated(&self, reference: &Reference) -> bool {
        let own = self.0.index().meant(reference).cloned();
        let Some(own) = own.and_then(|id| self.get(&id)) else { return false };
        let Some(best) = self.offered(reference).await else { return false };
        best.is_made_here() && best.id != own.id && best.tagged > own.tagged
    }

    /// Whether another node was given another image of this name later than this one.
    pub async fn is_newer_elsewhere(&self, reference: &Reference) -> bool {
        let own = self.0.index().references.get(reference).cloned();
        let Some(own) = own.and_then(|id| self.get(&id)) else { return false };
        let Some(best) = self.offered(reference).await else { return false };
        best.id != own.id && best.tagged > own.tagged
    }

    /// The tags that all nodes have of a repository, in order.
    pub async fn tags_in_cluster(&self, repository: &Reference) -> Vec<String> {
        let mut tags: BTreeSet<String> = self.hosted_tags(repository).into_iter().collect();
        if let Some(peers) = self.0.neighbours.peers() {
            let question = format!("tags?name={}", repository.name());
            let others = peers.others().await.into_iter().map(|node| {
                let (line, question) = (Line::new(node, peers.clone()), question.clone());
                async move { line.document(&question).await.ok().flatten() }
            });
            for told in join_all(others).await.into_iter().flatten() {
                tags.extend(serde_json::from_slice::<Vec<String>>(&told).unwrap_or_default());
            }
        }
        tags.into_iter().collect()
    }

    /// Brings `reference` here from the nodes that have it, and names it; `None` when none does.
    ///
    /// # Errors
    /// When a node has it and it cannot be brought here: nobody has all of it, or this node's disk.
    pub async fn fetch(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &ProgressSender,
    ) -> Result<Option<Arc<Image>>> {
        let reference = reference.clone().or_latest();
        let Some(peers) = self.0.neighbours.peers().cloned() else { return Ok(None) };
        let Some(offer) = self.offered(&reference).await else { return Ok(None) };
        let wanted = options.platform.as_ref();
        let its = meant(&offer)?.platform;
        if wanted.is_some_and(|wanted| {
            (&wanted.os, &wanted.architecture) != (&its.os, &its.architecture)
        }) {
            return Ok(None);
        }
        self.take(&peers, &reference, offer, progress).await.map(Some)
    }

    async fn take(
        &self,
        peers: &Arc<dyn Peers>,
        reference: &Reference,
        offer: Offer,
        progress: &ProgressSender,
    ) -> Result<Arc<Image>> {
        let (config, chains) = offer.check()?;
        let status = format!("Pulling from {}", reference.path());
        send(progress, Progress::about(reference.tag().unwrap_or_default(), status)).await;
        let lease = self.0.pins.lease();
        lease.pin(&Digest::of(offer.document.as_bytes()));
        let blobs = offer.layers.iter().map(|layer| &layer.content.digest);
        chains.iter().chain(blobs).for_each(|digest| lease.pin(digest));
        let layers = Layers {
            store: &self.0,
            origin: Origin::Nodes(peers),
            chains: &chains,
            blobs: &offer.layers,
            progress,
        };
        layers.fetch(&config).await?;
        let mut names = names(reference, &offer);
        let manifests = own_manifests(&offer.manifests, &offer.id);
        manifests.keys().for_each(|digest| lease.pin(digest));
        names.extend(manifests.keys().map(|digest| reference.with_digest(digest)));
        let (inner, reference) = (self.0.clone(), reference.clone());
        blocking(move || {
            let _held = lease;
            let image = inner.put_image(offer.document.as_bytes(), None)?;
            for manifest in manifests.values() {
                inner.put_blob(manifest.as_bytes())?;
            }
            let image = inner.set_references_as_of(names, &image.id, Some(offer.tagged))?;
            if let Some(pushed) = offer.pushed.filter(|_| reference.digest().is_none()) {
                inner.note_hosted(&reference, &pushed)?;
            }
            Ok(image)
        })
        .await
    }

    /// The best of what the others offer, checked.
    async fn offered(&self, reference: &Reference) -> Option<Offer> {
        let peers = self.0.neighbours.peers()?;
        let others = peers.others().await;
        let asked = others.into_iter().map(|node| ask(Line::new(node, peers.clone()), reference));
        let offers = join_all(asked).await.into_iter().flatten();
        // Ties by id, so that all who ask at one moment get the same.
        offers.max_by_key(|offer| (offer.is_made_here(), offer.tagged, offer.id.clone()))
    }
}

async fn ask(line: Line, reference: &Reference) -> Option<Offer> {
    let told = line.document(&format!("offer?name={reference}")).await;
    let document = told
        .inspect_err(|error| tracing::debug!(node = %line.node, %error, "a node offers nothing"))
        .ok()??;
    let offer: Offer = serde_json::from_slice(&document).ok()?;
    match offer.check() {
        Ok(_) if offer.is(reference) => Some(offer),
        Ok(_) => None,
        Err(err) => {
            let error = errdefs::chain(&err);
            tracing::warn!(node = %line.node, error, "a node offers what is not an image");
            None
        }
    }
}

/// A pinned one is known by what it is pinned to; the tag is its own node's.
fn names(reference: &Reference, offer: &Offer) -> Vec<Reference> {
    match reference.digest() {
        Some(digest) => vec![reference.with_digest(digest)],
        None => {
            let digests = offer.digests.iter().map(|digest| reference.with_digest(digest));
            std::iter::once(reference.clone()).chain(digests).collect()
        }
    }
}

fn meant(offer: &Offer) -> Result<Meant> {
    let (config, _) = offer.check()?;
    Ok(Meant {
        id: offer.id.clone(),
        digests: offer.digests.clone(),
        platform: Platform {
            os: config.os,
            architecture: config.architecture,
            variant: config.variant,
        },
        size_bytes: offer.document.len() as u64,
    })
}
