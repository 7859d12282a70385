//! The services of the cluster's port, as their implementers see them.

use crate::{Body, Error, Peer};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use tokio::sync::mpsc;
use types::NodeId;
use types::swarm::node::{Availability, Role};
use types::swarm::session::{AgentMessage, ManagerAddress, ManagerMessage, PeerIdentity};

/// What a node serves; a service that is none answers `Unimplemented`. Workers serve `http` alone.
#[derive(Clone, Default)]
pub struct Services {
    pub trust: Option<Arc<dyn Trust>>,
    pub dispatch: Option<Arc<dyn Dispatch>>,
    pub consensus: Option<Arc<dyn Consensus>>,
    pub membership: Option<Arc<dyn Membership>>,
    pub http: Option<Arc<dyn Http>>,
}

/// Roots and certificates. Anyone may ask.
#[async_trait]
pub trait Trust: Send + Sync + 'static {
    /// PEM. Whoever asks has no reason to believe it but the digest in a token.
    async fn root(&self) -> Result<String, Error>;
    /// Signs a node's request. `peer` is whose certificate came with the connection, if one did: it may have lapsed.
    async fn issue(&self, peer: Option<Peer>, request: IssueRequest) -> Result<Issued, Error>;
}

/// What a node that wants a certificate says of itself.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IssueRequest {
    /// Certificate signing request, PEM.
    pub csr: String,
    /// A join token; a renewal needs none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// `docker swarm join --availability`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
}

/// The token stays out of it.
impl fmt::Debug for IssueRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssueRequest")
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("availability", &self.availability)
            .finish_non_exhaustive()
    }
}

/// A node's certificate and what goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Issued {
    pub node: NodeId,
    pub role: Role,
    /// PEM: the node's certificate first.
    pub chain: String,
    /// PEM: what to trust from now on.
    pub roots: String,
}

/// Sessions of agents. Any node of the cluster.
#[async_trait]
pub trait Dispatch: Send + Sync + 'static {
    /// One agent's session. It ends when either channel is closed; both close when the connection is lost.
    async fn session(
        &self,
        peer: PeerIdentity,
        messages: mpsc::Receiver<AgentMessage>,
    ) -> Result<mpsc::Receiver<ManagerMessage>, Error>;
}

/// Raft's requests, opaque. Managers only.
#[async_trait]
pub trait Consensus: Send + Sync + 'static {
    async fn call(&self, from: PeerIdentity, request: Bytes) -> Result<Bytes, Error>;
}

/// Who is in the consensus. Managers only; any manager answers, on behalf of the leader.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// Adds the caller, reached at `addr` (`host:port`), and returns all members. Done twice it changes nothing more.
    async fn join(&self, from: PeerIdentity, addr: String) -> Result<Vec<ManagerAddress>, Error>;
    /// Removes the caller.
    async fn leave(&self, from: PeerIdentity) -> Result<(), Error>;
}

/// HTTP/1.1 from other nodes: the Engine API. Any node of the cluster; what a worker may do is the implementer's to
/// decide. The request carries the caller's [`PeerIdentity`] in its extensions, and `hyper::upgrade::on` works.
#[async_trait]
pub trait Http: Send + Sync + 'static {
    async fn serve(&self, request: Request<Incoming>) -> Response<Body>;
}
