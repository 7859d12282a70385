//! The cluster's record of trust, and its way from one root to the next.
//!
//! ```text
//! settled ──begin──► both trusted; the next root signs, its chain carries it signed by the old one
//!    ▲                       │ every node's certificate is the next root's (`behind` is empty)
//!    └────────finish─────────┘ tokens are new: they name the new root
//! ```

use crate::{Digest, Error, Issued};
use std::time::Duration;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Node;
use types::swarm::session::PeerIdentity;
use types::{NodeId, Timestamp};

/// A new cluster's record: a root and a token for each role.
pub fn found(now: Timestamp) -> Result<ClusterRecord, Error> {
    let _ = now;
    Err(Error::malformed("root", "not built yet"))
}

/// The roots that nodes trust now, PEM: one, or two during a rotation.
pub fn trusted_roots(record: &ClusterRecord) -> String {
    let _ = record;
    String::new()
}

/// The digest of the root that signs now: the next one during a rotation.
pub fn signing_root(record: &ClusterRecord) -> Result<Digest, Error> {
    let _ = record;
    Err(Error::malformed("root", "not built yet"))
}

/// Signs a node's request with the root that signs now. `lifetime` is `CAConfig.NodeCertExpiry`; zero is 90 days.
pub fn issue(
    record: &ClusterRecord,
    request: &str,
    to: &PeerIdentity,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Issued, Error> {
    let _ = (record, request, to, lifetime, now);
    Err(Error::malformed("root", "not built yet"))
}

/// Begins a rotation; one that is under way is replaced by it.
pub fn begin(record: &ClusterRecord, now: Timestamp) -> Result<ClusterRecord, Error> {
    let _ = (record, now);
    Err(Error::malformed("root", "not built yet"))
}

/// The nodes whose certificate is not yet the next root's. A rotation is done when there are none.
pub fn behind<'a>(
    record: &ClusterRecord,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> Result<Vec<NodeId>, Error> {
    let _ = (record, nodes.into_iter());
    Ok(Vec::new())
}

/// Ends the rotation: the next root is the root, and tokens are made anew.
pub fn finish(record: &ClusterRecord) -> Result<ClusterRecord, Error> {
    Ok(record.clone())
}
