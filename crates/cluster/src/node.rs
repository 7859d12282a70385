//! A node that is in a cluster: its port, its agent, its certificate, and on managers the control plane.
//!
//! ```text
//!             settings from managers, the certificate's age, the unlock key in the store
//!                                     │
//!                                  upkeep ──► certificate renewed ──► role changed? ──► plane up or down
//! ```

use crate::error;
use crate::forward::Served;
use crate::link::Link;
use crate::plane::Plane;
use crate::renewal;
use crate::state::State;
use crate::{Config, Serve};
use agent::Agent;
use bytes::Bytes;
use ca::{Credentials, Identity, NodeKey, UnlockKey};
use engine::{Engine, Error};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use types::swarm::node::Role;
use types::swarm::session::{ManagerAddress, PeerIdentity, SessionSettings};
use types::{NodeId, Timestamp};

/// How long to wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What all parts of a running node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) engine: Engine,
    pub(crate) credentials: Credentials,
    pub(crate) client: rpc::Client,
    pub(crate) identity: Mutex<Identity>,
    pub(crate) state: Mutex<State>,
    /// The last word of the managers.
    pub(crate) settings: watch::Sender<Option<SessionSettings>>,
    /// The control plane; none on workers.
    pub(crate) plane: watch::Sender<Option<Arc<Plane>>>,
    /// The key under which key and log lie on this manager's disk; none when they do not.
    pub(crate) lock: Mutex<Option<UnlockKey>>,
    /// Why this node is not what it should be; for `docker info`.
    pub(crate) trouble: Mutex<Option<String>>,
    serve: Arc<OnceLock<Serve>>,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) shared: Arc<Shared>,
    server: Mutex<Option<Arc<rpc::Server>>>,
    agent: Mutex<Option<Agent>>,
    upkeep: Mutex<Option<JoinHandle<()>>>,
}

/// How the control plane begins.
pub(crate) enum Begin {
    /// A new cluster of which this node is all.
    Found(store::Entry),
    /// What is on the disk; a manager whose log is empty joins the others.
    Resume,
    /// What is on the disk, alone.
    Alone,
    /// A cluster of this node alone, as it was saved; `node` is what this node is in it.
    Restore { archive: Bytes, node: Box<types::swarm::node::Node> },
}

pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the certificate lies.
pub(crate) fn certificates(dir: &Path) -> PathBuf {
    dir.join("certificates")
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        engine: Engine,
        serve: Arc<OnceLock<Serve>>,
        identity: Identity,
        state: State,
        lock: Option<UnlockKey>,
    ) -> Result<Arc<Shared>, Error> {
        let credentials =
            Credentials::new(&identity).map_err(|err| Error::caused("certificate", err))?;
        Ok(Arc::new(Shared {
            client: rpc::Client::new(tls(&credentials)),
            config,
            engine,
            credentials,
            identity: Mutex::new(identity),
            state: Mutex::new(state),
            settings: watch::channel(None).0,
            plane: watch::channel(None).0,
            lock: Mutex::new(lock),
            trouble: Mutex::new(None),
            serve,
        }))
    }

    pub(crate) fn me(&self) -> PeerIdentity {
        guard(&self.identity).peer().clone()
    }

    pub(crate) fn advertised(&self) -> String {
        guard(&self.state).advertise.to_string()
    }

    /// The managers to turn to, the leader first where that is known.
    pub(crate) fn managers(&self) -> Vec<ManagerAddress> {
        let in_log = self.running_plane().map(|plane| plane.managers()).unwrap_or_default();
        // A manager that is not in the log yet knows nobody by it.
        if in_log.is_empty() { guard(&self.state).managers.clone() } else { in_log }
    }

    pub(crate) fn running_plane(&self) -> Option<Arc<Plane>> {
        self.plane.borrow().clone()
    }

    fn troubled(&self, err: &Error) {
        let text = errdefs::chain(err);
        tracing::warn!("the node's membership is not up to date: {text}");
        *guard(&self.trouble) = Some(text);
    }

    /// Is this from now on: on the disk, for new connections, for whoever asks.
    fn take(&self, identity: Identity) -> Result<(), Error> {
        // Only managers lock themselves: nobody could tell a worker a new key.
        let lock = guard(&self.lock).clone().filter(|_| identity.peer().role == Role::Manager);
        identity.save(&certificates(&self.config.dir), lock.as_ref()).map_err(certificate)?;
        self.credentials.set(&identity).map_err(certificate)?;
        *guard(&self.identity) = identity;
        self.client.renew();
        Ok(())
    }

    /// Another certificate for one that has ended, by a token, from the manager at `addr`; `roots` are those that the
    /// token names. The node keeps its id.
    pub(crate) async fn renew_by_token(
        &self,
        addr: &str,
        roots: &str,
        token: &str,
    ) -> Result<(), Error> {
        let held = guard(&self.identity).with_roots(roots).map_err(certificate)?;
        let credentials = Credentials::new(&held).map_err(certificate)?;
        let client = rpc::Client::new(tls(&credentials));
        let key = NodeKey::generate().map_err(certificate)?;
        let wanted = rpc::IssueRequest {
            csr: key.request().map_err(certificate)?,
            token: Some(token.to_owned()),
            ..rpc::IssueRequest::default()
        };
        let issued = client.issue(addr, None, wanted).await.map_err(Error::from_lower);
        client.stop().await;
        let issued = issued?;
        self.take(Identity::new(&issued.chain, key, &issued.roots).map_err(certificate)?)?;
        // The managers may all have moved meanwhile.
        let mut state = guard(&self.state);
        if !state.managers.iter().any(|manager| manager.addr == addr) {
            let manager = ManagerAddress { node: NodeId::default(), addr: addr.to_owned() };
            state.managers.insert(0, manager);
        }
        state
            .save(&self.config.dir)
            .map_err(|err| Error::caused("failed to write the node's state", err))
    }

    /// Empty where packets go to the advertised address.
    pub(crate) fn data_path(&self) -> String {
        let own = guard(&self.state).data_path;
        own.map(|address| address.to_string()).unwrap_or_default()
    }

    fn services(self: &Arc<Self>) -> rpc::Services {
        let plane = self.running_plane();
        let mut services = plane.map(|plane| plane.services()).unwrap_or_default();
        let (node, serve) = (Arc::downgrade(self), Arc::clone(&self.serve));
        services.http = Some(Arc::new(Served { node, serve }));
        services
    }
}

/// TLS as the port wants it.
pub(crate) fn tls(credentials: &Credentials) -> rpc::Tls {
    let who = credentials.clone();
    rpc::Tls {
        server: credentials.server_config(),
        client: credentials.client_config(),
        identify: Arc::new(move |chain| {
            let standing = who.identify(chain).map_err(std::io::Error::other)?;
            Ok(rpc::Peer { identity: standing.identity, lapsed: standing.lapsed })
        }),
    }
}

impl Node {
    /// Starts all that runs on this node. `listener` is bound already.
    pub(crate) async fn start(
        shared: Arc<Shared>,
        listener: TcpListener,
        begin: Begin,
    ) -> Result<Node, Error> {
        let server = rpc::Server::start(listener, tls(&shared.credentials), shared.services())
            .map_err(|err| Error::caused("failed to serve the cluster's port", err))?;
        let server = Arc::new(server);
        let tolerant = matches!(begin, Begin::Resume);
        match shared.me().role {
            // What a demotion left that was killed half way.
            Role::Worker => Plane::forget(&shared.config.dir)?,
            Role::Manager => match start_plane(&shared, &server, begin).await {
                // The agent runs all the same, and upkeep tries again.
                Err(err) if tolerant => shared.troubled(&err),
                started => started?,
            },
        }
        let agent = Agent::start(agent::Options {
            dir: shared.config.dir.join("agent"),
            node: shared.me().node,
            engine: shared.engine.clone(),
            connect: Arc::new(Link::new(&shared)),
        });
        let agent = agent.await.map_err(|err| Error::caused("failed to start the agent", err))?;
        let upkeep = tokio::spawn(upkeep(Arc::clone(&shared), Arc::clone(&server)));
        Ok(Node {
            shared,
            server: Mutex::new(Some(server)),
            agent: Mutex::new(Some(agent)),
            upkeep: Mutex::new(Some(upkeep)),
        })
    }

    pub(crate) fn id(&self) -> NodeId {
        self.shared.me().node
    }

    /// Whether its certificate has ended: nobody but a token's bearer gets another one then.
    pub(crate) fn has_lapsed(&self) -> bool {
        guard(&self.shared.identity).not_after() < now()
    }

    /// Waits until a manager has taken this node's agent in.
    pub(crate) async fn taken_in(&self) {
        let mut settings = self.shared.settings.subscribe();
        // The sender lives as long as `self`.
        let _ = settings.wait_for(Option::is_some).await;
    }

    /// Ends everything; containers go on.
    pub(crate) async fn stop(&self) {
        self.end_upkeep().await;
        let agent = guard(&self.agent).take();
        if let Some(agent) = agent {
            agent.stop().await;
        }
        self.shut().await;
    }

    /// Ends everything, and every task's container with it.
    pub(crate) async fn leave(&self) {
        self.end_tasks().await;
        self.shut().await;
    }

    /// Ends the agent and every task's container; other nodes can still be spoken to.
    pub(crate) async fn end_tasks(&self) {
        self.end_upkeep().await;
        let agent = guard(&self.agent).take();
        if let Some(agent) = agent
            && let Err(err) = agent.leave().await
        {
            tracing::warn!("what the node ran for its cluster is not all gone: {err}");
        }
    }

    async fn end_upkeep(&self) {
        let upkeep = guard(&self.upkeep).take();
        if let Some(upkeep) = upkeep {
            upkeep.abort();
            // Cancelled, which is what was asked for.
            let _ = upkeep.await;
        }
    }

    pub(crate) async fn shut(&self) {
        stop_plane(&self.shared).await;
        let server = guard(&self.server).take();
        // Upkeep, the only other holder, has ended.
        if let Some(server) = server.and_then(Arc::into_inner) {
            server.stop().await;
        }
        self.shared.client.stop().await;
    }
}

async fn start_plane(
    shared: &Arc<Shared>,
    server: &rpc::Server,
    begin: Begin,
) -> Result<(), Error> {
    let plane = Plane::start(shared, begin).await?;
    let held = guard(&shared.identity).clone();
    if let Some(identity) = renewal::without_others(&held, &plane.raft().snapshot(), now())? {
        tracing::warn!(
            "the certificate ended while this manager was off: it has signed a new one itself"
        );
        shared.take(identity)?;
    }
    shared.plane.send_replace(Some(Arc::new(plane)));
    server.set_services(shared.services());
    Ok(())
}

async fn stop_plane(shared: &Shared) {
    let plane = shared.plane.send_replace(None);
    if let Some(plane) = plane {
        plane.stop().await;
    }
}

/// Keeps the node what its managers say it is: roots, certificate, role, lock.
async fn upkeep(shared: Arc<Shared>, server: Arc<rpc::Server>) {
    let mut settings = shared.settings.subscribe();
    let mut jitter = rand_share();
    let mut plane_changes = shared.plane.subscribe();
    loop {
        let wait = match tend(&shared, &server, jitter).await {
            Ok(Tended { renewed, next }) => {
                *guard(&shared.trouble) = None;
                if renewed {
                    jitter = rand_share();
                }
                next
            }
            Err(err) => {
                shared.troubled(&err);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let changed = async {
            match shared.running_plane() {
                Some(plane) => plane.lock_changed(&shared).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = settings.changed() => if changed.is_err() { return },
            _ = plane_changes.changed() => {}
            () = changed => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Tended {
    renewed: bool,
    /// When the next renewal is due, at the latest.
    next: Duration,
}

async fn tend(shared: &Arc<Shared>, server: &rpc::Server, jitter: f64) -> Result<Tended, Error> {
    let settings = shared.settings.borrow().clone();
    if let Some(settings) = &settings {
        remember(shared, settings)?;
    }
    if let Some(plane) = shared.running_plane() {
        plane.apply_lock(shared)?;
    }
    let (identity, now) = (guard(&shared.identity).clone(), now());
    let wanted = settings.as_ref().map_or(identity.peer().role, |settings| settings.role);
    let old_root = settings.as_ref().is_some_and(|settings| {
        !settings.signing_root.is_empty() && !identity.signed_by(&settings.signing_root)
    });
    let due = identity.renew_at(jitter);
    let renew = now >= due || wanted != identity.peer().role || old_root;
    if renew {
        renew_certificate(shared).await?;
    }
    follow_role(shared, server).await?;
    let next = guard(&shared.identity).renew_at(jitter);
    Ok(Tended { renewed: renew, next: next.since(now).clamp(RETRY, Duration::from_secs(3600)) })
}

/// Writes down whom to turn to and whom to trust.
fn remember(shared: &Shared, settings: &SessionSettings) -> Result<(), Error> {
    let dir = &shared.config.dir;
    let mut state = guard(&shared.state);
    if !settings.managers.is_empty() && state.managers != settings.managers {
        state.managers.clone_from(&settings.managers);
        state.save(dir).map_err(|err| Error::caused("failed to write the node's state", err))?;
    }
    drop(state);
    let mut identity = guard(&shared.identity);
    if !settings.trusted_roots.is_empty() && identity.roots() != settings.trusted_roots {
        let trusting = identity.with_roots(&settings.trusted_roots).map_err(certificate)?;
        trusting.save(&certificates(dir), guard(&shared.lock).as_ref()).map_err(certificate)?;
        shared.credentials.set(&trusting).map_err(certificate)?;
        *identity = trusting;
    }
    Ok(())
}

/// A new certificate from any manager, with the role that the managers have for this node.
async fn renew_certificate(shared: &Shared) -> Result<(), Error> {
    let key = NodeKey::generate().map_err(certificate)?;
    let csr = key.request().map_err(certificate)?;
    let mut failed = error::a_worker();
    for manager in shared.managers() {
        let request = rpc::IssueRequest { csr: csr.clone(), ..rpc::IssueRequest::default() };
        let some = Some(&manager.node).filter(|node| !node.as_str().is_empty());
        match shared.client.issue(&manager.addr, some, request).await {
            Ok(issued) => {
                let identity =
                    Identity::new(&issued.chain, key, &issued.roots).map_err(certificate)?;
                return shared.take(identity);
            }
            Err(err) => failed = Error::from_lower(err),
        }
    }
    Err(failed)
}

/// The plane runs where the certificate says that this node is a manager, and nowhere else.
async fn follow_role(shared: &Arc<Shared>, server: &rpc::Server) -> Result<(), Error> {
    let is_manager = shared.me().role == Role::Manager;
    let runs = shared.running_plane();
    match (is_manager, runs) {
        (true, None) => {
            start_plane(shared, server, Begin::Resume).await?;
            match shared.running_plane() {
                Some(plane) => plane.take_part(shared).await,
                None => Ok(()),
            }
        }
        (true, Some(plane)) => plane.take_part(shared).await,
        (false, Some(_)) => {
            stop_plane(shared).await;
            server.set_services(shared.services());
            *guard(&shared.lock) = None;
            Plane::forget(&shared.config.dir)?;
            tracing::info!("this node is a worker now");
            Ok(())
        }
        (false, None) => Ok(()),
    }
}

pub(crate) fn certificate(err: ca::Error) -> Error {
    Error::from_lower(err)
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from(std::time::SystemTime::now())
}

/// Random in `0.0..1.0`.
fn rand_share() -> f64 {
    rand::random()
}
