//! Calls to other nodes, over one connection to each.

mod connection;
mod dial;
mod pool;

use crate::cut::Tasks;
use crate::frame::pb::consensus_client::ConsensusClient;
use crate::frame::pb::dispatch_client::DispatchClient;
use crate::frame::pb::membership_client::MembershipClient;
use crate::frame::pb::trust_client::TrustClient;
use crate::frame::{self, Frame};
use crate::{Body, Code, Error, IssueRequest, Issued, Tls};
use bytes::Bytes;
use connection::{Connection, Origin};
use dial::Dialler;
use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pool::Pool;
use rustls::ClientConfig;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use types::NodeId;
use types::swarm::session::{AgentMessage, ManagerAddress, ManagerMessage, PeerIdentity};

/// Messages of a session that wait to be read; a full queue holds up the other end.
const QUEUE: usize = 16;

/// The connections of this node. Clones share them; the last one that is dropped closes them. No call waits for longer
/// than dialling may take (10 s) plus what the other end takes to answer; callers bring deadlines of their own.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    dialler: Dialler,
    pool: Pool,
    tasks: Tasks,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.cut.cancel();
    }
}

/// Asks a manager that nobody vouches for yet for the cluster's roots (PEM). `config` must trust anyone; the caller
/// checks the answer against the token's digest.
pub async fn fetch_root(addr: &str, config: Arc<ClientConfig>) -> Result<String, Error> {
    let tasks = Tasks::default();
    // Ends the connection however this call ends.
    let _cut = tasks.cut.clone().drop_guard();
    let connection = Dialler::stranger(&config).grpc(addr, None, &tasks).await?;
    let answer = TrustClient::with_origin(connection.clone(), Origin::uri())
        .root(frame::single(&())?)
        .await
        .map_err(Error::from)?;
    frame::alone(answer.into_inner())
}

impl Client {
    pub fn new(tls: Tls) -> Self {
        Client(Arc::new(Inner {
            dialler: Dialler::new(tls),
            pool: Pool::default(),
            tasks: Tasks::default(),
        }))
    }

    /// A certificate for `request`. `expect` is the manager's id, if known.
    pub async fn issue(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        request: IssueRequest,
    ) -> Result<Issued, Error> {
        let answer = TrustClient::with_origin(self.connection(addr, expect).await?, Origin::uri())
            .issue(frame::single(&request)?)
            .await?;
        frame::alone(answer.into_inner())
    }

    /// A session with the dispatcher at `addr`: what is sent goes to it, what it says comes back. Either end closes it by
    /// dropping its channel; when the connection is lost, the receiver ends.
    pub async fn session(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
    ) -> Result<(mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>), Error> {
        let connection = self.connection(addr, expect).await?;
        let (sender, outbox) = mpsc::channel(QUEUE);
        let (inbox, receiver) = mpsc::channel(QUEUE);
        // When the answers end, so do the messages: the stream must not outlive the session.
        let ended = CancellationToken::new();
        let messages = outgoing(outbox).take_until(ended.clone().cancelled_owned());
        let answers =
            DispatchClient::with_origin(connection, Origin::uri()).session(messages).await?;
        let ended = ended.drop_guard();
        self.0.tasks.spawn(async move {
            incoming(answers.into_inner(), inbox).await;
            drop(ended);
        });
        Ok((sender, receiver))
    }

    /// One of Raft's requests to manager `node`.
    pub async fn consensus(
        &self,
        addr: &str,
        node: &NodeId,
        request: Bytes,
    ) -> Result<Bytes, Error> {
        let connection = self.connection(addr, Some(node)).await?;
        let answer = ConsensusClient::with_origin(connection.clone(), Origin::uri())
            .call(stream::iter(frame::pieces(request)))
            .await?;
        let answer = match frame::next(&mut answer.into_inner()).await {
            Ok(answer) => answer,
            Err(status) => return Err(connection.failed(status).await),
        };
        answer.ok_or_else(|| {
            Error::new(Code::Internal, format!("{addr} ended a call without an answer"))
        })
    }

    /// Asks to be added to the consensus, reachable at `own_addr`.
    pub async fn join(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
        own_addr: &str,
    ) -> Result<Vec<ManagerAddress>, Error> {
        let answer =
            MembershipClient::with_origin(self.connection(addr, expect).await?, Origin::uri())
                .join(frame::single(&own_addr)?)
                .await?;
        frame::alone(answer.into_inner())
    }

    /// Asks to be removed from the consensus.
    pub async fn leave(&self, addr: &str, expect: Option<&NodeId>) -> Result<(), Error> {
        MembershipClient::with_origin(self.connection(addr, expect).await?, Origin::uri())
            .leave(frame::single(&())?)
            .await?;
        Ok(())
    }

    /// An HTTP/1.1 connection of its own to `node`, with upgrades.
    pub async fn http_connect(
        &self,
        addr: &str,
        expect: Option<&NodeId>,
    ) -> io::Result<HttpConnection> {
        let (stream, peer) = self.0.dialler.http(addr, expect, &self.0.tasks).await?;
        let alert = stream.alert();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let addr = addr.to_owned();
        self.0.tasks.spawn(async move {
            if let Err(err) = connection.with_upgrades().await {
                tracing::debug!("{}", crate::explain::lost(&err, alert.get(), &addr));
            }
        });
        Ok(HttpConnection { peer, sender })
    }

    /// Forgets every connection: the next call to anyone dials anew (with a new certificate, say). Streams under way go
    /// on.
    pub fn renew(&self) {
        self.0.pool.forget();
    }

    /// Closes every connection, upgraded ones too.
    pub async fn stop(&self) {
        self.0.pool.forget();
        self.0.tasks.stop().await;
    }

    async fn connection(&self, addr: &str, expect: Option<&NodeId>) -> Result<Connection, Error> {
        let Inner { dialler, pool, tasks } = &*self.0;
        pool.get(addr, expect, dialler, tasks).await
    }
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
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

/// What an agent sends, as frames.
fn outgoing(messages: mpsc::Receiver<AgentMessage>) -> impl Stream<Item = Frame> + Send {
    let messages = stream::unfold(messages, |mut messages| async {
        messages.recv().await.map(|message| (message, messages))
    });
    messages.flat_map(|message| {
        let payload = frame::encode(&message).inspect_err(|err| tracing::error!("{err}"));
        stream::iter(payload.map(frame::pieces).unwrap_or_default())
    })
}

/// Hands the dispatcher's messages to the agent until either goes away.
async fn incoming(mut answers: Streaming<Frame>, inbox: mpsc::Sender<ManagerMessage>) {
    loop {
        let payload = tokio::select! {
            payload = frame::next(&mut answers) => payload,
            () = inbox.closed() => return,
        };
        let message = match payload.map_err(Error::from) {
            Ok(Some(payload)) => frame::decode(&payload),
            Ok(None) => return,
            Err(err) => Err(err),
        };
        match message {
            Ok(message) => {
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
            Err(err) => return tracing::info!("the session with the dispatcher ended: {err}"),
        }
    }
}
