//! A cluster in miniature: certificates of `ca`, one manager's services, and nodes that call them.

use async_trait::async_trait;
use bytes::Bytes;
use ca::{Admission, Credentials, Identity, NodeKey, Standing};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rpc::{Body, Client, Code, Error, IssueRequest, Issued, Peer, Server, Services, Tls};
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use types::swarm::extension::ClusterRecord;
use types::swarm::node::Role;
use types::swarm::session::{
    AgentMessage, ManagerAddress, ManagerMessage, PeerIdentity, SessionSettings,
};
use types::{ClusterId, NodeId, Timestamp};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is waited for must come; a loaded machine may take its time.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(180), what).await.expect("it never happened")
}

/// A clock that tests turn, in seconds.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn new() -> Self {
        TestClock(Arc::new(AtomicI64::new(1_800_000_000)))
    }
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::SeqCst))
    }
    pub(crate) fn forward(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }
    pub(crate) fn back(&self, by: Duration) {
        self.0.fetch_sub(i64::try_from(by.as_secs()).unwrap(), Ordering::SeqCst);
    }
    fn as_clock(&self) -> ca::Clock {
        let clock = self.clone();
        Arc::new(move || clock.now())
    }
}

/// What the managers know.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) record: Arc<Mutex<ClusterRecord>>,
    pub(crate) id: ClusterId,
    /// The managers' clock, and everyone's who has none of its own.
    pub(crate) clock: TestClock,
}

impl Cluster {
    pub(crate) fn new(id: &str) -> Self {
        let clock = TestClock::new();
        let record = Arc::new(Mutex::new(ca::found(clock.now()).unwrap()));
        Cluster { record, id: ClusterId::new(id), clock }
    }

    pub(crate) fn record(&self) -> ClusterRecord {
        self.record.lock().unwrap().clone()
    }

    /// A node's identity as a manager would have issued it.
    pub(crate) fn identity(&self, node: &str, role: Role) -> Identity {
        let record = self.record();
        let key = NodeKey::generate().unwrap();
        let peer = PeerIdentity { node: NodeId::new(node), cluster: self.id.clone(), role };
        let issued =
            ca::issue(&record, &key.request().unwrap(), &peer, Duration::ZERO, self.clock.now());
        Identity::new(&issued.unwrap().chain, key, &ca::trusted_roots(&record)).unwrap()
    }

    pub(crate) fn credentials(&self, node: &str, role: Role) -> Credentials {
        self.holding(&self.identity(node, role))
    }

    pub(crate) fn holding(&self, identity: &Identity) -> Credentials {
        Credentials::new(identity).unwrap().with_clock(self.clock.as_clock())
    }

    /// A node that has a root and no certificate.
    pub(crate) fn joining(&self, root: &str) -> Credentials {
        Credentials::joining(root).unwrap().with_clock(self.clock.as_clock())
    }

    pub(crate) fn client(&self, node: &str, role: Role) -> Client {
        Client::new(tls(&self.credentials(node, role)))
    }

    /// A manager named `m1`.
    pub(crate) async fn manager(&self) -> Server {
        self.manager_with(&self.credentials("m1", Role::Manager)).await
    }

    pub(crate) async fn manager_with(&self, credentials: &Credentials) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::start(listener, tls(credentials), self.services()).unwrap()
    }

    pub(crate) fn services(&self) -> Services {
        let manager = Arc::new(Manager(self.clone()));
        Services {
            trust: Some(manager.clone()),
            dispatch: Some(manager.clone()),
            consensus: Some(manager.clone()),
            membership: Some(manager.clone()),
            http: Some(manager),
        }
    }
}

pub(crate) fn addr(server: &Server) -> String {
    server.addr().to_string()
}

pub(crate) fn tls(credentials: &Credentials) -> Tls {
    let identities = credentials.clone();
    Tls {
        server: credentials.server_config(),
        client: credentials.client_config(),
        identify: Arc::new(move |chain| {
            let standing = identities.identify(chain).map_err(io::Error::other)?;
            Ok(Peer { identity: standing.identity, lapsed: standing.lapsed })
        }),
    }
}

/// Asks for a certificate and returns what the node is from then on.
pub(crate) async fn obtain(
    client: &Client,
    addr: &str,
    token: Option<&str>,
) -> Result<Identity, Error> {
    let key = NodeKey::generate().unwrap();
    let request = IssueRequest {
        csr: key.request().unwrap(),
        token: token.map(str::to_owned),
        ..IssueRequest::default()
    };
    let issued = client.issue(addr, None, request).await?;
    Ok(Identity::new(&issued.chain, key, &issued.roots).unwrap())
}

struct Manager(Cluster);

#[async_trait]
impl rpc::Trust for Manager {
    async fn root(&self) -> Result<String, Error> {
        Ok(ca::trusted_roots(&self.0.record()))
    }

    async fn issue(&self, peer: Option<Peer>, request: IssueRequest) -> Result<Issued, Error> {
        let (record, now) = (self.0.record(), self.0.clock.now());
        let standing = peer.map(|peer| Standing { identity: peer.identity, lapsed: peer.lapsed });
        let refused = |err: ca::Error| Error::new(Code::InvalidArgument, err.to_string());
        let admission = ca::admit(&record, standing.as_ref(), request.token.as_deref());
        let (node, role) = match admission.map_err(refused)? {
            Admission::Renew(node) => (node, standing.map(|it| it.identity.role).unwrap()),
            Admission::Rejoin(node, role) => (node, role),
            Admission::Join(role) => (NodeId::new("new-node"), role),
        };
        let identity = PeerIdentity { node: node.clone(), cluster: self.0.id.clone(), role };
        let issued =
            ca::issue(&record, &request.csr, &identity, Duration::ZERO, now).map_err(refused)?;
        Ok(Issued { node, role, chain: issued.chain, roots: ca::trusted_roots(&record) })
    }
}

#[async_trait]
impl rpc::Dispatch for Manager {
    /// Greets the agent by its name, acknowledges statuses by the length of their messages, ends on a heartbeat.
    async fn session(
        &self,
        peer: PeerIdentity,
        mut messages: mpsc::Receiver<AgentMessage>,
    ) -> Result<mpsc::Receiver<ManagerMessage>, Error> {
        let (answers, outbox) = mpsc::channel(4);
        tokio::spawn(async move {
            let greeting = SessionSettings {
                signing_root: peer.node.to_string(),
                ..SessionSettings::default()
            };
            answers.send(ManagerMessage::Settings(greeting)).await.ok()?;
            loop {
                match messages.recv().await? {
                    AgentMessage::Statuses(mut statuses) => {
                        for report in &mut statuses {
                            report.status.message = report.status.message.len().to_string();
                        }
                        answers.send(ManagerMessage::Written(statuses)).await.ok()?;
                    }
                    AgentMessage::Heartbeat => return Some(()),
                    _ => {}
                }
            }
        });
        Ok(outbox)
    }
}

#[async_trait]
impl rpc::Consensus for Manager {
    /// The request, backwards.
    async fn call(&self, _: PeerIdentity, request: Bytes) -> Result<Bytes, Error> {
        Ok(request.iter().rev().copied().collect())
    }
}

#[async_trait]
impl rpc::Membership for Manager {
    async fn join(&self, from: PeerIdentity, addr: String) -> Result<Vec<ManagerAddress>, Error> {
        Ok(vec![ManagerAddress { node: from.node, addr }])
    }

    async fn leave(&self, from: PeerIdentity) -> Result<(), Error> {
        Err(Error::new(Code::FailedPrecondition, format!("{} is the last manager", from.node)))
    }
}

#[async_trait]
impl rpc::Http for Manager {
    /// `/who`: the caller's name. `/echo`: an upgrade that echoes. Anything else: the body.
    async fn serve(&self, mut request: Request<Incoming>) -> Response<Body> {
        let who = request.extensions().get::<PeerIdentity>().unwrap().node.to_string();
        match request.uri().path() {
            "/who" => Response::new(full(who)),
            "/echo" => {
                let upgrade = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let mut stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        stream.write_all(&buffer[..read]).await.unwrap();
                    }
                    stream.shutdown().await.ok();
                });
                let mut response = Response::new(full(""));
                *response.status_mut() = http::StatusCode::SWITCHING_PROTOCOLS;
                response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", "tcp".parse().unwrap());
                response
            }
            _ => Response::new(request.into_body().map_err(Into::into).boxed_unsync()),
        }
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}
