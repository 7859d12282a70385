//! Calls to other nodes, over one connection to each.

use crate::{Body, Error, IssueRequest, Issued, Tls};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use types::NodeId;
use types::swarm::session::{AgentMessage, ManagerAddress, ManagerMessage, PeerIdentity};

/// The connections of this node. Clones share them. A call never waits for longer than it takes to dial (10 s); callers
/// bring deadlines of their own for the rest.
#[derive(Clone)]
pub struct Client {
    tls: Tls,
}

/// Asks a manager that nobody vouches for yet for the cluster's roots (PEM). `config` must trust anyone; the caller
/// checks the answer against the token's digest.
pub async fn fetch_root(addr: &str, config: Arc<ClientConfig>) -> Result<String, Error> {
    let _ = (addr, config);
    Err(Error::unavailable("not built yet"))
}

impl Client {
    pub fn new(tls: Tls) -> Self {
        Client { tls }
    }

    /// A certificate for `request`. `expect` is the manager's id, if known.
    pub async fn issue(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        request: IssueRequest,
    ) -> Result<Issued, Error> {
        let _ = (addr, expect, request, &self.tls);
        Err(Error::unavailable("not built yet"))
    }

    /// A session with the dispatcher at `addr`: what is sent goes to it, what it says comes back. Either end closes it by
    /// dropping its channel; when the connection is lost, the receiver ends.
    pub async fn session(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
    ) -> Result<(mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>), Error> {
        let _ = (addr, expect);
        Err(Error::unavailable("not built yet"))
    }

    /// One of Raft's requests to manager `node`.
    pub async fn consensus(
        &self,
        addr: &str,
        node: &NodeId,
        request: Bytes,
    ) -> Result<Bytes, Error> {
        let _ = (addr, node, request);
        Err(Error::unavailable("not built yet"))
    }

    /// Asks to be added to the consensus, reachable at `own_addr`.
    pub async fn join(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        own_addr: &str,
    ) -> Result<Vec<ManagerAddress>, Error> {
        let _ = (addr, expect, own_addr);
        Err(Error::unavailable("not built yet"))
    }

    /// Asks to be removed from the consensus.
    pub async fn leave(&self, addr: &str, expect: Option<&NodeId>) -> Result<(), Error> {
        let _ = (addr, expect);
        Err(Error::unavailable("not built yet"))
    }

    /// An HTTP/1.1 connection of its own to `node`, with upgrades.
    pub async fn http_connect(&self, addr: &str, node: &NodeId) -> io::Result<HttpConnection> {
        let _ = (addr, node);
        Err(io::Error::other("not built yet"))
    }

    /// Forgets every connection: the next call to anyone dials anew (with a new certificate, say). Streams under way go
    /// on.
    pub fn renew(&self) {}

    /// Closes every connection.
    pub async fn stop(&self) {}
}

/// One HTTP/1.1 connection to another node. It lives until it is dropped and its last body or upgraded stream has ended.
pub struct HttpConnection {
    peer: PeerIdentity,
    sender: hyper::client::conn::http1::SendRequest<Body>,
}

impl HttpConnection {
    /// Who answers.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Sends one request; after 101, `hyper::upgrade::on(&mut response)` gives the stream.
    pub async fn send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}
