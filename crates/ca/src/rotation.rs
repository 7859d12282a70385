//! The cluster's record of trust, and its way from one root to the next.
//!
//! ```text
//! settled ──begin──► both trusted; the next root signs, its chain carries it signed by the old one
//!    ▲                       │ every node's certificate is the next root's (`behind` is empty)
//!    └────────finish─────────┘ tokens are new: they name the new root
//! ```
//!
//! Tokens go on naming the old root until the end: a node that joins meanwhile trusts that one first, and by it every
//! manager, whichever root signed the manager's certificate.

use crate::authority::NODE_LIFETIME;
use crate::{Authority, Digest, Error, Issued, JoinToken};
use std::time::Duration;
use types::swarm::extension::{ClusterRecord, RootAuthority};
use types::swarm::node::Node;
use types::swarm::session::PeerIdentity;
use types::{NodeId, Timestamp};

/// A new cluster's record: a root and a token for each role.
pub fn found(now: Timestamp) -> Result<ClusterRecord, Error> {
    let root = Authority::create(now)?;
    let digest = Digest::of_pem(&root.certificate)?;
    Ok(ClusterRecord {
        root,
        worker_token: JoinToken::generate(&digest).as_str().to_owned(),
        manager_token: JoinToken::generate(&digest).as_str().to_owned(),
        ..ClusterRecord::default()
    })
}

/// The roots that nodes trust now, PEM: one, or two during a rotation.
pub fn trusted_roots(record: &ClusterRecord) -> String {
    let next = record.next_root.as_ref().map_or("", |next| &next.certificate);
    format!("{}{next}", record.root.certificate)
}

/// The digest of the root that signs now: the next one during a rotation.
pub fn signing_root(record: &ClusterRecord) -> Result<Digest, Error> {
    Digest::of_pem(&signer(record).certificate)
}

/// Signs a node's request with the root that signs now. `lifetime` is `CAConfig.NodeCertExpiry`; zero is 90 days.
pub fn issue(
    record: &ClusterRecord,
    request: &str,
    to: &PeerIdentity,
    lifetime: Duration,
    now: Timestamp,
) -> Result<Issued, Error> {
    let lifetime = if lifetime.is_zero() { NODE_LIFETIME } else { lifetime };
    Authority::load(signer(record))?.issue(request, to, lifetime, now)
}

/// Begins a rotation; one that is under way is replaced by it.
pub fn begin(record: &ClusterRecord, now: Timestamp) -> Result<ClusterRecord, Error> {
    begin_to(record, Authority::create(now)?, now)
}

/// Begins a rotation to a root that was made elsewhere (PEM); one that is under way is replaced by it.
pub fn begin_with(
    record: &ClusterRecord,
    certificate: &str,
    key: &str,
    now: Timestamp,
) -> Result<ClusterRecord, Error> {
    begin_to(record, Authority::adopt(certificate, key, now)?, now)
}

fn begin_to(
    record: &ClusterRecord,
    mut next: RootAuthority,
    now: Timestamp,
) -> Result<ClusterRecord, Error> {
    next.cross_signed = Authority::load(&record.root)?.cross_sign(&next, now)?;
    Ok(ClusterRecord { next_root: Some(next), ..record.clone() })
}

/// The nodes whose certificate is not yet the next root's. A rotation is done when there are none.
pub fn behind<'a>(
    record: &ClusterRecord,
    nodes: impl IntoIterator<Item = &'a Node>,
) -> Result<Vec<NodeId>, Error> {
    if record.next_root.is_none() {
        return Ok(Vec::new());
    }
    let next = signing_root(record)?.to_string();
    let holds = |node: &Node| node.record.as_ref().is_some_and(|it| it.certificate_root == next);
    Ok(nodes.into_iter().filter(|node| !holds(node)).map(|node| node.id.clone()).collect())
}

/// Ends the rotation: the next root is the root, and tokens are made anew.
pub fn finish(record: &ClusterRecord) -> Result<ClusterRecord, Error> {
    let Some(next) = &record.next_root else { return Ok(record.clone()) };
    let digest = Digest::of_pem(&next.certificate)?;
    Ok(ClusterRecord {
        // Nobody who trusts only the old root is left to be convinced.
        root: RootAuthority { cross_signed: String::new(), ..next.clone() },
        next_root: None,
        worker_token: JoinToken::generate(&digest).as_str().to_owned(),
        manager_token: JoinToken::generate(&digest).as_str().to_owned(),
        unlock_key: record.unlock_key.clone(),
    })
}

fn signer(record: &ClusterRecord) -> &RootAuthority {
    record.next_root.as_ref().unwrap_or(&record.root)
}
