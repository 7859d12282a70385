//! Who gets a certificate, and as what: the trust service of the cluster's port, on every manager.
//!
//! ```text
//! token, no certificate        ─► a new node, worker or manager by the token
//! certificate                  ─► the same node again; its role is its spec's, a manager's as long as it has a vote
//! lapsed certificate and token ─► the same node again
//! ```
//! The node's object is written before its certificate is handed out: whoever can show one is known.

use crate::clock::Clock;
use crate::found::certificate;
use crate::log::Log;
use crate::roles;
use async_trait::async_trait;
use ca::{Admission, Standing};
use errdefs::{Classify, ErrorKind};
use raft::Member;
use rpc::{Code, IssueRequest, Issued, Peer, Trust};
use std::sync::Arc;
use std::time::Duration;
use store::{Change, Snapshot, StoreError};
use types::ids::swarm_id;
use types::swarm::cluster::Cluster;
use types::swarm::extension::{ClusterRecord, NodeRecord};
use types::swarm::node::{Node, NodeSpec, NodeState, Role};
use types::swarm::session::PeerIdentity;
use types::{NodeId, Timestamp};

/// Others may write the same node meanwhile, but not this often.
const ATTEMPTS: usize = 8;

/// The trust service.
#[derive(Clone)]
pub struct Certificates {
    log: Arc<dyn Log>,
    clock: Clock,
}

/// Whose certificate is to be made, and the node's object that goes with it.
#[derive(Debug, Clone, PartialEq)]
struct Grant {
    role: Role,
    node: Node,
    is_new: bool,
}

impl Certificates {
    pub(crate) fn new(log: Arc<dyn Log>, clock: Clock) -> Certificates {
        Certificates { log, clock }
    }

    async fn read(&self) -> Result<Snapshot, rpc::Error> {
        self.log.read().await.map_err(|error| rpc::Error::unavailable(plain(&error.to_string())))
    }
}

#[async_trait]
impl Trust for Certificates {
    async fn root(&self) -> Result<String, rpc::Error> {
        // Not old for long: whoever joins compares it with a token's digest.
        let state = self.log.snapshot();
        Ok(ca::trusted_roots(cluster(&state)?.1))
    }

    async fn issue(&self, peer: Option<Peer>, request: IssueRequest) -> Result<Issued, rpc::Error> {
        let id = NodeId::new(swarm_id(rand::random()));
        for _ in 0..ATTEMPTS {
            let (state, now) = (self.read().await?, self.clock.now());
            let (cluster, record) = cluster(&state)?;
            let grant =
                grant(&state, &self.log.members(), peer.as_ref(), &request, id.clone(), now)?;
            let to = PeerIdentity {
                node: grant.node.id.clone(),
                cluster: cluster.id.clone(),
                role: grant.role,
            };
            let lifetime = u64::try_from(cluster.spec.ca_config.node_cert_expiry).unwrap_or(0);
            let lifetime = Duration::from_nanos(lifetime);
            let issued = ca::issue(record, &request.csr, &to, lifetime, now)
                .map_err(|error| refused(&error))?;
            let node = with_certificate(grant.node, &issued);
            let change = match grant.is_new {
                true => Change::Create(node.into()),
                false => Change::Update(node.into()),
            };
            let results = self.log.propose(vec![vec![change].into()]).await;
            match results.map(|results| results.into_iter().next()) {
                Ok(Some(Err(StoreError::OutOfSequence { .. }))) => continue,
                Ok(Some(Err(error))) => {
                    return Err(rpc::Error::new(Code::Internal, error.to_string()));
                }
                Ok(_) => {}
                Err(error) => return Err(rpc::Error::unavailable(plain(&error.to_string()))),
            }
            let roots = ca::trusted_roots(record);
            return Ok(Issued { node: to.node, role: to.role, chain: issued.chain, roots });
        }
        Err(rpc::Error::new(
            Code::Aborted,
            "the node's object is written by others again and again",
        ))
    }
}

fn cluster(state: &Snapshot) -> Result<(&Cluster, &ClusterRecord), rpc::Error> {
    let cluster = state.clusters().iter().next();
    cluster
        .and_then(|cluster| Some((cluster.as_ref(), cluster.record.as_ref()?)))
        .ok_or_else(|| rpc::Error::unavailable("this manager does not know the cluster yet"))
}

/// Who asks, and what it gets. `id` is for a new node.
fn grant(
    state: &Snapshot,
    members: &[Member],
    peer: Option<&Peer>,
    request: &IssueRequest,
    id: NodeId,
    now: Timestamp,
) -> Result<Grant, rpc::Error> {
    let (cluster, record) = cluster(state)?;
    if let Some(peer) = peer
        && peer.identity.cluster != cluster.id
    {
        return Err(rpc::Error::new(
            Code::PermissionDenied,
            "the certificate is another cluster's",
        ));
    }
    let standing = peer.map(standing);
    let admission = ca::admit(record, standing.as_ref(), request.token.as_deref())
        .map_err(|error| refused(&error))?;
    match admission {
        Admission::Join(role) => {
            Ok(Grant { role, node: new_node(id, role, request, now), is_new: true })
        }
        Admission::Renew(node) => {
            let row = state.nodes().get(node.as_str()).ok_or_else(|| removed(&node))?;
            let role = roles::role_of(row, members);
            Ok(Grant { role, node: Node::clone(row), is_new: false })
        }
        Admission::Rejoin(node, role) => match state.nodes().get(node.as_str()) {
            // A worker's token takes nobody's vote.
            Some(row) => {
                let mut row = Node::clone(row);
                row.spec.role = row.spec.role.max(role);
                let role = roles::role_of(&row, members);
                Ok(Grant { role, node: row, is_new: false })
            }
            None => Ok(Grant { role, node: new_node(node, role, request, now), is_new: true }),
        },
    }
}

fn standing(peer: &Peer) -> Standing {
    Standing { identity: peer.identity.clone(), lapsed: peer.lapsed.clone() }
}

fn new_node(id: NodeId, role: Role, request: &IssueRequest, now: Timestamp) -> Node {
    let availability = request.availability.unwrap_or_default();
    let mut node = Node {
        id,
        spec: NodeSpec { role, availability, ..NodeSpec::default() },
        record: Some(NodeRecord { state_since: now, ..NodeRecord::default() }),
        ..Node::default()
    };
    node.status.state = NodeState::Unknown;
    node
}

fn with_certificate(node: Node, issued: &ca::Issued) -> Node {
    let since = node.record.as_ref().map_or(Timestamp::ZERO, |record| record.state_since);
    Node { record: Some(NodeRecord { state_since: since, ..certificate(issued) }), ..node }
}

/// SwarmKit's words for a certificate of a node that was removed.
fn removed(node: &NodeId) -> rpc::Error {
    rpc::Error::new(Code::PermissionDenied, format!("node {node} was removed from the swarm"))
}

fn refused(error: &ca::Error) -> rpc::Error {
    let code = match error.kind() {
        ErrorKind::InvalidParameter => Code::InvalidArgument,
        ErrorKind::Forbidden => Code::PermissionDenied,
        ErrorKind::Unauthorized => Code::Unauthenticated,
        _ => Code::Internal,
    };
    rpc::Error::new(code, plain(&errdefs::chain(error)))
}

/// Without the frame that the error will get again on its way.
pub(crate) fn plain(message: &str) -> String {
    let rest =
        message.strip_prefix("rpc error: code = ").and_then(|rest| rest.split_once(" desc = "));
    rest.map_or(message, |(_, rest)| rest).to_owned()
}
