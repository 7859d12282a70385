//! Images of other nodes: a task's node needs no registry for what any node has.

use super::{PullRequest, reference_of};
use crate::{ByteStream, Engine, Error, Result};
use image::{Image, Meant, Peers, Progress, ProgressSender, PullOptions, Reference};
use std::collections::BTreeSet;
use std::sync::Arc;
use types::ImageId;
use types::image::{Descriptor, DistributionInspect, DistributionPlatform};

/// What an image looks like to those that ask a registry.
const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Whether a tag that is here is asked for again at its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Renew {
    Yes,
    No,
}

impl Engine {
    /// Whom to ask for images. Called once, by the cluster.
    pub fn set_image_peers(&self, peers: Arc<dyn Peers>) {
        self.0.images.set_peers(peers);
    }

    /// The images themselves, for the registry: another face of the same store.
    pub fn image_store(&self) -> &image::Store {
        &self.0.images
    }

    /// Answers another node's question about images.
    pub async fn image_answer(
        &self,
        method: &http::Method,
        path: &str,
    ) -> http::Response<ByteStream> {
        self.0.images.answer(method, path).await
    }

    /// Has what a task needs here: as it is here, else from another node, else from its registry. A tag that a service
    /// was not pinned by is what the last node that made an image of that name meant by it.
    ///
    /// # Errors
    /// The registry's, when there is none at all.
    pub async fn image_obtain(
        &self,
        request: PullRequest,
        renew: Renew,
        progress: ProgressSender,
    ) -> Result<()> {
        let reference = reference_of(&request.image, &request.tag)?.or_latest();
        let is_here = self.image_exists(&reference.familiar());
        let is_pinned = reference.digest().is_some();
        let is_outdated = is_here && !is_pinned && self.0.images.is_outdated(&reference).await;
        if is_here && !is_outdated && renew == Renew::No {
            return Ok(());
        }
        if is_here && !is_outdated {
            let here = self.0.images.meant_here(&reference).await.map_err(Error::from_lower)?;
            // What was made here is no registry's to change.
            if here.is_some_and(|here| here.digests.is_empty()) {
                return Ok(());
            }
            // What is here goes on if the registry does not answer.
            return self.image_pull(request, progress).await;
        }
        match self.image_fetch(&reference, &PullOptions::default(), &progress).await {
            Some(_) => Ok(()),
            None => self.image_pull(request, progress).await,
        }
    }

    /// The images here that services of the cluster need, which no prune may remove.
    pub(crate) async fn images_needed(&self) -> Result<BTreeSet<ImageId>> {
        let keep = self.0.config.housekeeping.keep;
        self.0.images.needed(keep).await.map_err(Error::from_lower)
    }

    /// Sees to it that so many nodes (0: all) have the image called `name`; tells of each, and at last how many have it.
    pub async fn image_spread(
        &self,
        name: &str,
        copies: usize,
        progress: ProgressSender,
    ) -> Result<()> {
        let spread = self.0.images.spread(name, copies, &progress).await;
        let have = spread.map_err(Error::from_lower)?;
        let nodes = if have == 1 { "1 node has".to_owned() } else { format!("{have} nodes have") };
        // A closed channel: nobody listens.
        let _ = progress.send(Progress::status(format!("{nodes} {name}"))).await;
        Ok(())
    }

    /// Brings an image here from another node, if one has it for this machine.
    pub(crate) async fn image_fetch(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &ProgressSender,
    ) -> Option<Arc<Image>> {
        let fetched = self.0.images.fetch(reference, options, progress).await;
        let fetched = fetched.unwrap_or_else(|err| {
            let (image, error) = (reference.familiar(), errdefs::chain(&err));
            tracing::warn!(image, error, "other nodes have the image, but it did not come");
            None
        });
        let image = fetched?;
        self.image_event("pull", &image.id, &reference.familiar());
        Some(image)
    }

    /// The image that `reference` means in the cluster: to this node before any other.
    pub(crate) async fn meant_in_cluster(&self, reference: &Reference) -> Result<Option<Meant>> {
        let here = self.0.images.meant_here(reference).await.map_err(Error::from_lower)?;
        match here {
            Some(here) => Ok(Some(here)),
            None => Ok(self.0.images.meant_elsewhere(reference).await),
        }
    }
}

/// What the cluster says of an image, in a registry's words.
pub(super) fn described(meant: &Meant, digest: &impl ToString) -> DistributionInspect {
    let its = &meant.platform;
    DistributionInspect {
        descriptor: Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: digest.to_string(),
            size: i64::try_from(meant.size_bytes).unwrap_or(i64::MAX),
        },
        platforms: vec![DistributionPlatform {
            architecture: its.architecture.clone(),
            os: its.os.clone(),
            variant: its.variant.clone(),
        }],
    }
}
