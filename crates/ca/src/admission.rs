//! Whether a node that asks for a certificate gets one, and as whom. A pure decision over what the cluster knows.

use crate::token::same_secret;
use crate::{Error, Standing};
use types::NodeId;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Role;

/// As whom a node gets its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is known by its current certificate: the certificate is renewed with the role that the node's spec has now.
    Renew(NodeId),
    /// It showed a certificate that lapsed and a valid token: it keeps its id; a manager's token makes it one.
    Rejoin(NodeId, Role),
    /// A new node.
    Join(Role),
}

/// Decides on a request by the certificate (`peer`) and the token that came with it: a token alone joins, a current
/// certificate renews, one that lapsed needs a token too. A token that is shown must be valid in any case. Docker's words
/// on refusal. The caller still checks that the node exists: a removed node's certificate stays valid until it ends.
pub fn admit(
    record: &ClusterRecord,
    peer: Option<&Standing>,
    token: Option<&str>,
) -> Result<Admission, Error> {
    let role = token.map(|token| role_of(record, token)).transpose()?;
    let Some(peer) = peer else {
        return role.map(Admission::Join).ok_or(Error::TokenRefused);
    };
    let node = peer.identity.node.clone();
    match (&peer.lapsed, role) {
        (None, _) => Ok(Admission::Renew(node)),
        (Some(_), Some(role)) => Ok(Admission::Rejoin(node, role)),
        (Some(reason), None) => Err(Error::Lapsed(reason.clone())),
    }
}

fn role_of(record: &ClusterRecord, token: &str) -> Result<Role, Error> {
    // Both are compared, so that the time does not tell which one was closer.
    let manager = same_secret(&record.manager_token, token);
    let worker = same_secret(&record.worker_token, token);
    match (manager, worker) {
        (true, _) => Ok(Role::Manager),
        (false, true) => Ok(Role::Worker),
        (false, false) => Err(Error::TokenRefused),
    }
}
