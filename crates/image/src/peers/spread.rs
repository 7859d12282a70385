//! Copies of an image on purpose: on so many nodes that losing one does not lose it.

use super::line::Line;
use super::offer::Offer;
use crate::arrival::send;
use crate::store::blocking;
use crate::{Digest, Error, Progress, ProgressSender, PullOptions, Reference, Result, Store};
use futures_util::StreamExt;
use futures_util::stream;
use http::{Method, StatusCode};
use types::{ImageId, NodeId};

/// Nodes that fetch at once.
const AT_ONCE: usize = 3;

impl Store {
    /// Sees to it that `copies` nodes (0: all) have the image called `name` under this name, this one included. Nodes that
    /// have it count; of the others those are asked that come first in an order of the image's own, so that not all images
    /// lie on the same nodes. Tells of each node, and returns how many have it.
    ///
    /// # Errors
    /// When there is no such image, or fewer nodes could take it.
    pub async fn spread(
        &self,
        name: &str,
        copies: usize,
        progress: &ProgressSender,
    ) -> Result<usize> {
        let reference = Reference::parse(name)?.or_latest();
        let image = self.resolve(name)?;
        let peers = self.0.neighbours.peers().cloned();
        let others = match &peers {
            Some(peers) => peers.others().await,
            None => Vec::new(),
        };
        let mut wish = format!("take?name={reference}&id={}", image.id);
        if let Some(pushed) = self.0.pushed_under(&reference) {
            wish = format!("{wish}&manifest={pushed}");
        }
        let wanted = if copies == 0 { others.len() + 1 } else { copies };
        let (mut have, mut lack) = (1, Vec::new());
        if let Some(peers) = &peers {
            let lines = others.into_iter().map(|node| Line::new(node, peers.clone()));
            let mut told = stream::iter(lines.map(|line| holds(line, &reference, &image.id)))
                .buffer_unordered(usize::MAX);
            while let Some((line, holds)) = told.next().await {
                if holds {
                    have += 1;
                    send(progress, line_of(&line.node, "Already exists")).await;
                } else {
                    lack.push(line);
                }
            }
        }
        lack.sort_by_key(|line| rank(&line.node, &image.id));
        let mut next = lack.into_iter();
        while have < wanted {
            let batch: Vec<Line> = next.by_ref().take((wanted - have).min(AT_ONCE)).collect();
            if batch.is_empty() {
                break;
            }
            let batch = batch.into_iter().map(|line| give(line, &wish, progress));
            let given = futures_util::future::join_all(batch).await;
            have += given.into_iter().filter(|given| *given).count();
        }
        if have < wanted {
            return Err(Error::TooFewCopies { have, wanted });
        }
        Ok(have)
    }

    /// Brings the image `id` here and gives it the name that another node has for it.
    pub(super) async fn take_copy(
        &self,
        name: &str,
        id: &str,
        pushed: Option<Digest>,
    ) -> Result<bool> {
        let reference = Reference::parse(name)?.or_latest();
        let pinned = Reference::parse(&format!("{}@{id}", reference.name()))?;
        let image = match self.get(&ImageId::new(id)) {
            Some(image) => Some(image),
            None => {
                let (progress, mut unread) = tokio::sync::mpsc::channel(16);
                let options = PullOptions::default();
                let fetch = async {
                    let fetched = self.fetch(&pinned, &options, &progress).await;
                    drop(progress);
                    fetched
                };
                let reader = async { while unread.recv().await.is_some() {} };
                tokio::join!(fetch, reader).0?
            }
        };
        let Some(image) = image else { return Ok(false) };
        let inner = self.0.clone();
        let tagged = Some(image.tagged);
        blocking(move || {
            inner.set_references_as_of([reference.clone()], &image.id, tagged)?;
            pushed.map_or(Ok(()), |pushed| inner.note_hosted(&reference, &pushed))
        })
        .await?;
        Ok(true)
    }
}

/// Whether the node has that image under that name.
async fn holds(line: Line, reference: &Reference, id: &ImageId) -> (Line, bool) {
    let told = line.document(&format!("offer?name={reference}")).await;
    let offer = told.ok().flatten().and_then(|told| serde_json::from_slice::<Offer>(&told).ok());
    (line, offer.is_some_and(|offer| offer.id == *id))
}

/// Has the node fetch it.
async fn give(line: Line, wish: &str, progress: &ProgressSender) -> bool {
    send(progress, line_of(&line.node, "Copying")).await;
    let asked = line.whole(Method::POST, wish).await;
    let took = match asked {
        Ok((StatusCode::OK, _)) => true,
        Ok((status, _)) => {
            tracing::warn!(node = %line.node, %status, "a node does not take a copy");
            false
        }
        Err(error) => {
            tracing::warn!(node = %line.node, %error, "a node does not take a copy");
            false
        }
    };
    send(progress, line_of(&line.node, if took { "Copied" } else { "Failed" })).await;
    took
}

fn line_of(node: &NodeId, status: &str) -> Progress {
    Progress::layer(node.as_str(), status)
}

/// Another order for each image.
fn rank(node: &NodeId, id: &ImageId) -> Digest {
    Digest::of(format!("{id} {node}").as_bytes())
}
