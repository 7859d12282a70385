//! Whether a node that asks for a certificate gets one, and as whom. A pure decision over what the cluster knows.

use crate::{Error, Standing};
use types::NodeId;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Role;

/// As whom a node gets its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is known by its current certificate: the certificate is renewed with the role that the node's spec has now.
    Renew(NodeId),
    /// It showed an expired certificate and a valid token: it keeps its id, and its spec's role.
    Rejoin(NodeId),
    /// A new node.
    Join(Role),
}

/// Decides on a request with the certificate (`peer`) and the token that came with it. A renewal needs no token; an
/// expired certificate does. Docker's words on refusal. The caller still checks that the node object exists.
pub fn admit(
    record: &ClusterRecord,
    peer: Option<&Standing>,
    token: Option<&str>,
) -> Result<Admission, Error> {
    let _ = (record, peer, token);
    Err(Error::TokenRefused)
}
