//! How a node comes into a cluster and out of it.
//!
//! `state.json` is written last and removed first: a node that dies half way into a cluster is in none, one that
//! dies half way out of it is out. What is left over without it is cleared away at the next start.

use crate::node::{Begin, Node, Shared, certificate, certificates, guard, now};
use crate::state::State;
use crate::{Inner, address, error, interfaces};
use bytes::Bytes;
use ca::{Credentials, Identity, JoinToken, NodeKey, UnlockKey};
use engine::Error;
use errdefs::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use types::ids::swarm_id;
use types::swarm::node::Role;
use types::swarm::request::{InitRequest, JoinRequest};
use types::swarm::session::{ManagerAddress, PeerIdentity};
use types::system::{RemoteManager, Swarm};
use types::{ClusterId, NodeId};

/// dockerd's patience with a join (`swarmConnectTimeout`).
const JOIN_WITHIN: Duration = Duration::from_secs(20);

/// What this node is to a cluster.
pub(crate) enum Part {
    None,
    /// A manager's disk that only the unlock key opens.
    Locked(State),
    Running(Arc<Node>),
    /// It is a member, and could not be started: why.
    Failed(State, String),
}

impl Inner {
    /// At the daemon's start.
    pub(crate) async fn take_up(&self) -> Result<(), Error> {
        let dir = &self.config.dir;
        let state = State::load(dir)
            .map_err(|err| Error::caused("failed to read the node's membership", err))?;
        let Some(state) = state else {
            self.forget()?;
            self.sweep().await;
            return Ok(());
        };
        let locked = Identity::is_locked(&certificates(dir)).map_err(certificate)?;
        let part = if locked {
            Part::Locked(state)
        } else {
            self.resume(state, None, Begin::Resume).await
        };
        if let Part::Failed(_, why) = &part {
            tracing::error!("this node's part in its cluster cannot be taken up: {why}");
        }
        *guard(&self.part) = part;
        Ok(())
    }

    /// Takes up again what could not be taken up: an address may come later than the daemon.
    pub(crate) async fn retry(this: std::sync::Weak<Inner>) {
        let mut wait = Duration::from_secs(1);
        loop {
            tokio::time::sleep(wait).await;
            let Some(inner) = this.upgrade() else { return };
            let _changing = inner.changing.lock().await;
            let state = match &*guard(&inner.part) {
                Part::Failed(state, _) => state.clone(),
                _ => return,
            };
            let part = inner.resume(state, None, Begin::Resume).await;
            *guard(&inner.part) = part;
            wait = (wait * 2).min(Duration::from_secs(60));
        }
    }

    /// Starts what is on the disk.
    async fn resume(&self, state: State, lock: Option<UnlockKey>, begin: Begin) -> Part {
        match self.start_from_disk(&state, lock, begin).await {
            Ok(node) => Part::Running(Arc::new(node)),
            Err(err) => Part::Failed(state, errdefs::chain(&err)),
        }
    }

    async fn start_from_disk(
        &self,
        state: &State,
        lock: Option<UnlockKey>,
        begin: Begin,
    ) -> Result<Node, Error> {
        let identity =
            Identity::load(&certificates(&self.config.dir), lock.as_ref()).map_err(certificate)?;
        let identity =
            identity.ok_or_else(|| Error::system("the node's certificate is missing"))?;
        let shared = self.shared(identity, state.clone(), lock)?;
        crate::twin::refuse(&shared).await?;
        let listener = listen(state.listen).await?;
        Node::start(shared, listener, begin).await
    }

    fn shared(
        &self,
        identity: Identity,
        state: State,
        lock: Option<UnlockKey>,
    ) -> Result<Arc<Shared>, Error> {
        let (config, engine) = (self.config.clone(), self.engine.clone());
        Shared::new(config, engine, Arc::clone(&self.serve), identity, state, lock)
    }

    pub(crate) fn running(&self) -> Result<Arc<Node>, Error> {
        match &*guard(&self.part) {
            Part::Running(node) => Ok(Arc::clone(node)),
            Part::Locked(_) => Err(error::locked()),
            Part::None => Err(error::not_a_manager()),
            Part::Failed(_, why) => {
                Err(Error::unavailable(format!("the swarm could not be taken up: {why}")))
            }
        }
    }

    fn is_member(&self) -> bool {
        !matches!(*guard(&self.part), Part::None)
    }

    pub(crate) async fn init(&self, request: InitRequest) -> Result<NodeId, Error> {
        if self.is_member() && !request.force_new_cluster {
            return Err(error::exists());
        }
        if !["", "default"].contains(&request.spec.name.as_str()) {
            return Err(Error::invalid("swarm spec must be named \"default\""));
        }
        let (listen_addr, advertise) =
            self.addresses(&request.listen_addr, &request.advertise_addr)?;
        let data_path = self.data_path(&request.data_path_addr, listen_addr)?;
        if self.is_member() {
            return self.force_new_cluster(listen_addr, advertise, data_path).await;
        }
        let (listener, now) = (listen(listen_addr).await?, now());
        let me = PeerIdentity {
            node: NodeId::new(swarm_id(rand::random())),
            cluster: ClusterId::new(swarm_id(rand::random())),
            role: Role::Manager,
        };
        let locks = request.auto_lock_managers || request.spec.encryption_config.auto_lock_managers;
        let lock = locks.then(UnlockKey::generate);
        let mut record = ca::found(now).map_err(certificate)?;
        record.unlock_key = lock.as_ref().map(UnlockKey::to_text).unwrap_or_default();
        let key = NodeKey::generate().map_err(certificate)?;
        let csr = key.request().map_err(certificate)?;
        let lifetime =
            Duration::from_nanos(request.spec.ca_config.node_cert_expiry.cast_unsigned());
        let issued = ca::issue(&record, &csr, &me, lifetime, now).map_err(certificate)?;
        let roots = ca::trusted_roots(&record);
        let entry = manager::found(&request, &me, record, &issued, advertise, now)
            .map_err(Error::from_lower)?;
        let identity = Identity::new(&issued.chain, key, &roots).map_err(certificate)?;
        let state = State { listen: listen_addr, advertise, data_path, managers: Vec::new() };
        let node = self.enter(identity, state, lock, listener, Begin::Found(entry)).await?;
        Ok(node.id())
    }

    /// A cluster of this node alone, with everything that `archive` holds. Nodes of before may join it again with its
    /// tokens; until then they are down.
    pub(crate) async fn restore(
        &self,
        archive: Bytes,
        request: InitRequest,
    ) -> Result<NodeId, Error> {
        if self.is_member() {
            return Err(error::exists());
        }
        let (_, saved) = raft::open_archive(archive.as_ref()).map_err(Error::from_lower)?;
        let cluster = saved.clusters().iter().next();
        let cluster = cluster.ok_or_else(|| Error::invalid("the snapshot holds no cluster"))?;
        let record = cluster.record.clone().unwrap_or_default();
        let (listen_addr, advertise) =
            self.addresses(&request.listen_addr, &request.advertise_addr)?;
        let data_path = self.data_path(&request.data_path_addr, listen_addr)?;
        let (listener, now) = (listen(listen_addr).await?, now());
        let me = PeerIdentity {
            node: NodeId::new(swarm_id(rand::random())),
            cluster: cluster.id.clone(),
            role: Role::Manager,
        };
        let lock = match record.unlock_key.as_str() {
            "" => None,
            key => Some(UnlockKey::parse(key).map_err(certificate)?),
        };
        let key = NodeKey::generate().map_err(certificate)?;
        let csr = key.request().map_err(certificate)?;
        let expiry = cluster.spec.ca_config.node_cert_expiry.cast_unsigned();
        let issued = ca::issue(&record, &csr, &me, Duration::from_nanos(expiry), now)
            .map_err(certificate)?;
        let roots = ca::trusted_roots(&record);
        let node = manager::first_node(request.availability, &me, &issued, advertise, now);
        let identity = Identity::new(&issued.chain, key, &roots).map_err(certificate)?;
        let state = State { listen: listen_addr, advertise, data_path, managers: Vec::new() };
        let begin = Begin::Restore { archive, node: Box::new(node) };
        let node = self.enter(identity, state, lock, listener, begin).await?;
        Ok(node.id())
    }

    pub(crate) async fn join(&self, request: JoinRequest) -> Result<(), Error> {
        if let Ok(node) = self.running()
            && node.has_lapsed()
        {
            return self.rejoin(&node, &request).await;
        }
        if self.is_member() {
            return Err(error::exists());
        }
        let remote = remote(&request).await?;
        let interfaces = self.interfaces()?;
        let listen_addr = address::listen(&request.listen_addr, &interfaces)?;
        let advertise = match request.advertise_addr.as_str() {
            "" => SocketAddr::new(facing(remote)?, listen_addr.port()),
            wanted => address::advertise(wanted, listen_addr, &interfaces)?,
        };
        let data_path = self.data_path(&request.data_path_addr, listen_addr)?;
        let listener = listen(listen_addr).await?;
        let joined =
            tokio::time::timeout(JOIN_WITHIN, self.certificate_by_token(remote, &request)).await;
        let (identity, state) = joined.unwrap_or_else(|_| Err(error::join_timeout()))?;
        let state = State { listen: listen_addr, advertise, data_path, ..state };
        let node = self.enter(identity, state, None, listener, Begin::Resume).await?;
        if node.shared.me().role == Role::Manager
            && let Err(err) = self.take_part(&node).await
        {
            return Err(err);
        }
        tokio::time::timeout(JOIN_WITHIN, node.taken_in()).await.map_err(|_| error::join_timeout())
    }

    /// What `docker swarm join --token` proves and gets: the cluster's root by the token's digest, a certificate by
    /// its secret.
    async fn certificate_by_token(
        &self,
        remote: SocketAddr,
        request: &JoinRequest,
    ) -> Result<(Identity, State), Error> {
        let addr = remote.to_string();
        let roots = roots_by_token(&addr, &request.join_token).await?;
        let credentials = Credentials::joining(&roots).map_err(certificate)?;
        let client = rpc::Client::new(crate::node::tls(&credentials));
        let key = NodeKey::generate().map_err(certificate)?;
        let wanted = rpc::IssueRequest {
            csr: key.request().map_err(certificate)?,
            token: Some(request.join_token.clone()),
            availability: Some(request.availability),
        };
        let issued = client.issue(&addr, None, wanted).await.map_err(Error::from_lower)?;
        client.stop().await;
        let identity = Identity::new(&issued.chain, key, &issued.roots).map_err(certificate)?;
        let managers = vec![ManagerAddress { node: NodeId::default(), addr }];
        Ok((identity, State { listen: remote, advertise: remote, data_path: None, managers }))
    }

    /// A member whose certificate ended while it slept: a token brings it back as who it was.
    async fn rejoin(&self, node: &Node, request: &JoinRequest) -> Result<(), Error> {
        let addr = remote(request).await?.to_string();
        let renewed = async {
            let roots = roots_by_token(&addr, &request.join_token).await?;
            node.shared.renew_by_token(&addr, &roots, &request.join_token).await
        };
        let renewed = tokio::time::timeout(JOIN_WITHIN, renewed).await;
        renewed.unwrap_or_else(|_| Err(error::join_timeout()))?;
        tokio::time::timeout(JOIN_WITHIN, node.taken_in()).await.map_err(|_| error::join_timeout())
    }

    /// Writes down who this node is now, and starts.
    async fn enter(
        &self,
        identity: Identity,
        state: State,
        lock: Option<UnlockKey>,
        listener: TcpListener,
        begin: Begin,
    ) -> Result<Arc<Node>, Error> {
        self.forget()?;
        identity.save(&certificates(&self.config.dir), lock.as_ref()).map_err(certificate)?;
        let shared = self.shared(identity, state, lock)?;
        let node = match Node::start(shared, listener, begin).await {
            Ok(node) => Arc::new(node),
            Err(err) => {
                self.forget()?;
                return Err(err);
            }
        };
        // What it has learnt of the managers since it started is in it, and written by it, too: one writer at a time.
        let saved = guard(&node.shared.state).save(&self.config.dir);
        if let Err(err) = saved {
            node.leave().await;
            self.forget()?;
            return Err(Error::caused("failed to write the node's state", err));
        }
        *guard(&self.part) = Part::Running(Arc::clone(&node));
        Ok(node)
    }

    /// Makes a node that joined as a manager one. What surely failed is undone; what may have succeeded stays, and
    /// is tried on: a manager that the others count and that forgets itself would cost them their majority.
    async fn take_part(&self, node: &Node) -> Result<(), Error> {
        let Some(plane) = node.shared.running_plane() else {
            let why = guard(&node.shared.trouble).clone().unwrap_or_default();
            self.undo(node).await;
            return Err(Error::system(format!("this node cannot be a manager: {why}")));
        };
        let Err(err) = plane.take_part(&node.shared).await else { return Ok(()) };
        if plane.raft().members().iter().any(|member| member.node == node.id()) {
            return Err(error::join_timeout());
        }
        drop(plane);
        self.undo(node).await;
        Err(err)
    }

    async fn undo(&self, node: &Node) {
        *guard(&self.part) = Part::None;
        node.leave().await;
        if let Err(err) = self.forget() {
            tracing::warn!("what was left of a failed join stays: {}", errdefs::chain(&err));
        }
    }

    async fn force_new_cluster(
        &self,
        listen_addr: SocketAddr,
        advertise: SocketAddr,
        data_path: Option<IpAddr>,
    ) -> Result<NodeId, Error> {
        let running = self.running();
        let lock = match &running {
            Ok(node) if node.shared.me().role != Role::Manager => return Err(error::a_worker()),
            Ok(node) => {
                node.stop().await;
                guard(&node.shared.lock).clone()
            }
            Err(err) if matches!(*guard(&self.part), Part::Locked(_)) => {
                return Err(Error::unavailable(err.to_string()));
            }
            Err(_) => None,
        };
        drop(running);
        let state = State { listen: listen_addr, advertise, data_path, managers: Vec::new() };
        state
            .save(&self.config.dir)
            .map_err(|err| Error::caused("failed to write the node's state", err))?;
        let part = self.resume(state, lock, Begin::Alone).await;
        *guard(&self.part) = part;
        Ok(self.running()?.id())
    }

    pub(crate) async fn unlock(&self, key: &str) -> Result<(), Error> {
        let state = match &*guard(&self.part) {
            Part::Locked(state) => state.clone(),
            Part::None => return Err(error::not_a_manager()),
            Part::Running(_) | Part::Failed(..) => {
                return Err(Error::conflict("swarm is not locked"));
            }
        };
        let key = UnlockKey::parse(key).map_err(|err| Error::invalid(err.to_string()))?;
        if Identity::load(&certificates(&self.config.dir), Some(&key)).is_err() {
            let wrong = Error::forbidden("swarm could not be unlocked: invalid key provided");
            return Err(wrong.with_kind(ErrorKind::Unauthorized));
        }
        let part = self.resume(state, Some(key), Begin::Resume).await;
        *guard(&self.part) = part;
        self.running().map(drop)
    }

    pub(crate) async fn leave(&self, force: bool) -> Result<(), Error> {
        let running = match &*guard(&self.part) {
            Part::None => return Err(error::not_a_member()),
            Part::Locked(_) if !force => return Err(error::locked_leave()),
            Part::Running(node) => Some(Arc::clone(node)),
            Part::Locked(_) | Part::Failed(..) => None,
        };
        if let Some(node) = running {
            let me = node.id();
            let mut others = node.shared.managers();
            others.retain(|manager| manager.node != me);
            if let Some(plane) = node.shared.running_plane() {
                if !force {
                    return Err(error::manager_leave(&plane.raft().members(), &me));
                }
                plane.go(&node.shared).await;
            } else if !force {
                crate::places::depart(&node.shared).await;
            }
            *guard(&self.part) = Part::None;
            // From here a kill leaves a node that is out.
            State::remove(&self.config.dir)
                .map_err(|err| Error::caused("failed to remove the node's state", err))?;
            node.end_tasks().await;
            // Its session has ended: nothing says the opposite any more.
            crate::places::gone(&node.shared, &others).await;
            node.shut().await;
        } else {
            *guard(&self.part) = Part::None;
        }
        self.forget()?;
        self.sweep().await;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        let running = match &*guard(&self.part) {
            Part::Running(node) => Some(Arc::clone(node)),
            _ => None,
        };
        if let Some(node) = running {
            node.stop().await;
        }
    }

    /// Removes all that is remembered of a cluster, the membership first.
    fn forget(&self) -> Result<(), Error> {
        let dir = &self.config.dir;
        let failed = |err| Error::caused("failed to remove what was left of a cluster", err);
        let gone = |result: std::io::Result<()>| match result {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(failed(err)),
            _ => Ok(()),
        };
        gone(State::remove(dir))?;
        gone(std::fs::remove_dir_all(dir))?;
        std::fs::create_dir_all(dir).map_err(failed)
    }

    /// Removes the containers of a cluster that this node is not in (any more), as dockerd does.
    async fn sweep(&self) {
        for (id, _) in self.engine.containers_labelled("com.docker.swarm.task.id") {
            let options = engine::RemoveOptions { force: true, ..engine::RemoveOptions::default() };
            if let Err(err) = self.engine.container_remove(id.as_str(), options).await {
                tracing::warn!(
                    "a container of a cluster that was left stays: {}",
                    errdefs::chain(&err)
                );
            }
        }
    }

    fn interfaces(&self) -> Result<Vec<address::Interface>, Error> {
        let is_own = |name: &str| {
            name.starts_with("docker") || name.starts_with("br-") || name.starts_with("veth")
        };
        interfaces::interfaces(is_own)
            .map_err(|err| Error::caused("failed to list network interfaces", err))
    }

    /// `--data-path-addr`; [`None`] where it was not given.
    fn data_path(&self, wanted: &str, listen: SocketAddr) -> Result<Option<IpAddr>, Error> {
        if wanted.is_empty() {
            return Ok(None);
        }
        Ok(Some(address::advertise(wanted, listen, &self.interfaces()?)?.ip()))
    }

    fn addresses(&self, listen: &str, advertise: &str) -> Result<(SocketAddr, SocketAddr), Error> {
        let interfaces = self.interfaces()?;
        let listen = address::listen(listen, &interfaces)?;
        let wanted =
            if advertise.is_empty() { &self.config.default_advertise_addr } else { advertise };
        Ok((listen, address::advertise(wanted, listen, &interfaces)?))
    }

    pub(crate) fn info(&self) -> Swarm {
        let part = guard(&self.part);
        let node = match &*part {
            Part::None => return Swarm::default(),
            Part::Locked(state) => return told("locked", state, error::locked().to_string()),
            Part::Failed(state, why) => return told("error", state, why.clone()),
            Part::Running(node) => Arc::clone(node),
        };
        drop(part);
        let shared = &node.shared;
        let managers = shared
            .managers()
            .into_iter()
            .map(|manager| RemoteManager { node_id: manager.node.to_string(), addr: manager.addr });
        let joined = shared.settings.borrow().is_some() || shared.running_plane().is_some();
        let mut info = Swarm {
            node_id: node.id().to_string(),
            node_addr: guard(&shared.state).advertise.ip().to_string(),
            local_node_state: if joined { "active" } else { "pending" }.to_owned(),
            remote_managers: Some(managers.collect()),
            error: guard(&shared.trouble).clone().unwrap_or_default(),
            ..Swarm::default()
        };
        if let Some(plane) = shared.running_plane() {
            let snapshot = plane.raft().snapshot();
            info.control_available = true;
            info.nodes = snapshot.nodes().len() as u64;
            info.managers = plane.raft().members().len() as u64;
            let cluster = snapshot.clusters().iter().next();
            info.cluster = cluster.map(|cluster| manager::control::cluster::answer(cluster));
            if info.managers == 2 {
                info.warnings.push(TWO_MANAGERS.to_owned());
            }
        }
        info
    }
}

/// dockerd's words.
const TWO_MANAGERS: &str = "WARNING: Running Swarm in a two-manager configuration. This configuration provides\n    \x20        no fault tolerance, and poses a high risk to lose control over the cluster.\n    \x20        Refer to https://docs.docker.com/engine/swarm/admin_guide/ to configure the\n    \x20        Swarm for fault-tolerance.";

fn told(word: &str, state: &State, why: String) -> Swarm {
    Swarm {
        local_node_state: word.to_owned(),
        node_addr: state.advertise.ip().to_string(),
        error: why,
        ..Swarm::default()
    }
}

async fn listen(at: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(at).await.map_err(|err| {
        Error::caused(format!("failed to listen on remote API address: listen tcp {at}"), err)
    })
}

/// The manager to join by.
async fn remote(request: &JoinRequest) -> Result<SocketAddr, Error> {
    let Some(remote) = request.remote_addrs.first() else {
        return Err(Error::invalid("at least 1 RemoteAddr is required to join"));
    };
    let (host, port) = address::split(remote, address::DEFAULT_PORT)?;
    let found = tokio::net::lookup_host((host, port)).await.ok();
    let found = found.and_then(|mut found| found.next());
    found.ok_or_else(|| Error::invalid(format!("invalid remoteAddr \"{host}\"")))
}

/// The cluster's root: whatever answers at `addr` shows some, the token's digest tells which one it is.
async fn roots_by_token(addr: &str, token: &str) -> Result<String, Error> {
    let token = JoinToken::parse(token).map_err(certificate)?;
    let roots = rpc::fetch_root(addr, Credentials::stranger().unverified_config()).await;
    token.check_root(&roots.map_err(Error::from_lower)?).map_err(certificate)
}

/// This machine's address on the way to `remote`. Nothing is sent.
fn facing(remote: SocketAddr) -> Result<std::net::IpAddr, Error> {
    let any: SocketAddr =
        if remote.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).and_then(|socket| socket.connect(remote).map(|()| socket));
    let address = socket.and_then(|socket| socket.local_addr());
    address
        .map(|address| address.ip())
        .map_err(|err| Error::caused(format!("no way to {remote}"), err))
}
