//! Snapshots when they are due, and what may go after them: old entries, old data keys.

use crate::kinds::Metrics;
use crate::node::Node;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often a rotated data key is looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Takes a snapshot when the log has grown enough since the last, or the data key changed.
pub(crate) async fn keep(node: Arc<Node>) {
    let mut applied = node.view.applied();
    let mut looks = tokio::time::interval(LOOK);
    let mut written = node.log.appended();
    let mut key = node.keys.current().id;
    loop {
        tokio::select! {
            () = node.stop.cancelled() => return,
            _ = applied.changed() => {}
            _ = looks.tick() => {}
        }
        let current = node.keys.current().id;
        if current != key {
            if rotate(&node).await {
                key = current;
            }
            written = node.log.appended();
            continue;
        }
        let metrics = node.metrics();
        let entries = since_snapshot(&metrics);
        let bytes = node.log.appended().saturating_sub(written);
        if entries >= node.snapshot_entries.load(Ordering::Relaxed)
            || bytes >= node.tuning.snapshot_bytes
        {
            written = node.log.appended();
            snapshot(&node, metrics.last_applied.map_or(0, |id| id.index)).await;
        }
    }
}

fn since_snapshot(metrics: &Metrics) -> u64 {
    let applied = metrics.last_applied.map_or(0, |id| id.index);
    applied.saturating_sub(metrics.snapshot.map_or(0, |id| id.index))
}

/// Takes a snapshot and waits until it holds `index`. False when it did not come in time: a full disk.
async fn snapshot(node: &Node, index: u64) -> bool {
    if node.raft.trigger().snapshot().await.is_err() {
        return false;
    }
    let mut metrics = node.raft.metrics();
    let taken = metrics.wait_for(|metrics| metrics.snapshot.is_some_and(|id| id.index >= index));
    tokio::select! {
        () = node.stop.cancelled() => false,
        taken = tokio::time::timeout(Duration::from_secs(30), taken) => matches!(taken, Ok(Ok(_))),
    }
}

/// After a new data key: writes everything anew under it, and forgets the old ones.
async fn rotate(node: &Node) -> bool {
    if node.log.take_key().await.is_err() {
        return false;
    }
    let Some(applied) = node.metrics().last_applied else { return true };
    if !snapshot(node, applied.index).await {
        return false;
    }
    let _ = node.raft.trigger().purge_log(applied.index).await;
    let mut metrics = node.raft.metrics();
    let purged =
        metrics.wait_for(|metrics| metrics.purged.is_some_and(|id| id.index >= applied.index));
    // A follower may still need old entries: the keys go another time.
    if !matches!(tokio::time::timeout(Duration::from_secs(5), purged).await, Ok(Ok(_))) {
        return false;
    }
    let oldest = match (node.log.oldest_key().await, node.files.key()) {
        (Ok(log), Ok(snapshot)) => log.min(snapshot.unwrap_or(log)),
        _ => return false,
    };
    match node.keys.forget_before(oldest) {
        Ok(()) => oldest == node.keys.current().id,
        Err(error) => {
            tracing::warn!(%error, "old raft keys stay");
            false
        }
    }
}
