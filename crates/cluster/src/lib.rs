//! This node's part in a cluster: init, join, leave, lock; whether it is manager, agent or neither.
//!
//! ```text
//! inactive ── init, join ──► active ── leave ──► inactive
//!                              ▲ │ restart
//!                      unlock  │ ▼
//!                             locked
//! ```
//!
//! What runs while the node is in a cluster: the port (`rpc`), an agent, and on managers Raft and the control
//! plane. The role is what the node's certificate says; when the managers change it, the certificate is renewed
//! and the control plane started or stopped, while agent and containers go on.

pub mod address;
pub mod doctor;
mod error;
mod forward;
mod history;
mod images;
mod interfaces;
mod link;
mod membership;
mod node;
mod places;
mod plane;
mod registry;
mod renewal;
mod state;
mod twin;

use bytes::Bytes;
use engine::{Engine, Error};
use futures_util::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use membership::Part;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use types::NodeId;
use types::swarm::node::Role;
use types::swarm::request::{InitRequest, JoinRequest};
use types::swarm::session::{ManagerAddress, PeerIdentity};

pub use error::not_a_manager;
pub use history::{History, Line};
pub use registry::RegistryAccess;

/// Where the membership is kept, and what flags of the daemon say about it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `<data root>/swarm`
    pub dir: PathBuf,
    /// `--swarm-default-advertise-addr`: an address or an interface; empty when not given.
    pub default_advertise_addr: String,
}

/// What [`Cluster::ask`] takes for an answer.
const LARGEST_ANSWER: usize = 1 << 20;

/// A body of the API, in either direction.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Answers a request of the Engine API that another node sent on; `PeerIdentity` is that node.
pub type Serve = Arc<
    dyn Fn(
            PeerIdentity,
            http::Request<hyper::body::Incoming>,
        ) -> BoxFuture<'static, http::Response<Body>>
        + Send
        + Sync,
>;

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Any manager, the leader first.
    Manager,
    Node(NodeId),
}

/// This node's membership. Clones are the same one.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    engine: Engine,
    serve: Arc<OnceLock<Serve>>,
    part: Mutex<Part>,
    /// Held while the membership changes.
    changing: tokio::sync::Mutex<()>,
}

impl Cluster {
    /// Takes the membership up that the last daemon had; a node in no cluster is `inactive`. What cannot be taken
    /// up is told by [`Cluster::info`], and the engine works on.
    ///
    /// # Errors
    /// When what is on the disk cannot be read.
    pub async fn open(config: Config, engine: Engine) -> Result<Cluster, Error> {
        let inner = Arc::new(Inner {
            config,
            engine,
            serve: Arc::new(OnceLock::new()),
            part: Mutex::new(Part::None),
            changing: tokio::sync::Mutex::new(()),
        });
        let places = places::Places(Arc::downgrade(&inner));
        inner.engine.set_cluster_networks(Arc::new(places));
        inner.engine.set_image_peers(Arc::new(images::Images::new(&inner)));
        inner.take_up().await?;
        tokio::spawn(Inner::retry(Arc::downgrade(&inner)));
        Ok(Cluster { inner })
    }

    /// Answers the requests that other nodes send on. Called once, by the API.
    pub fn serve_with(&self, serve: Serve) {
        // A second API has no say.
        let _ = self.inner.serve.set(serve);
    }

    /// What the Engine API writes and reads, on managers.
    ///
    /// # Errors
    /// dockerd's 503 when this node is in no cluster, locked, or a worker.
    pub fn control(&self) -> Result<manager::control::Control, Error> {
        let node = self.inner.running()?;
        let plane = node.shared.running_plane().ok_or_else(error::a_worker)?;
        Ok(plane.control())
    }

    /// The whole cluster in one file, not older than the call: what `raft::Raft::save` writes.
    ///
    /// # Errors
    /// dockerd's 503 when this node is no manager; when no majority answers.
    pub async fn save(&self) -> Result<Vec<u8>, Error> {
        let node = self.inner.running()?;
        let plane = node.shared.running_plane().ok_or_else(error::a_worker)?;
        let mut archive = Vec::new();
        plane.raft().save(&mut archive).await.map_err(Error::from_lower)?;
        Ok(archive)
    }

    /// What happened in the cluster, as far as this manager wrote it down.
    ///
    /// # Errors
    /// dockerd's 503 when this node is no manager.
    pub fn history(&self) -> Result<History, Error> {
        let node = self.inner.running()?;
        let plane = node.shared.running_plane().ok_or_else(error::a_worker)?;
        Ok(plane.history())
    }

    /// What this manager's leader loop knows of a task or service (full id); [`None`] when it does not lead.
    pub async fn why(&self, id: &str) -> Option<manager::Why> {
        let plane = self.inner.running().ok()?.shared.running_plane()?;
        plane.why(id).await
    }

    /// The manager that leads, as this one knows; [`None`] when nobody does, or this node is no manager.
    pub fn leader(&self) -> Option<NodeId> {
        let plane = self.inner.running().ok()?.shared.running_plane()?;
        plane.leader()
    }

    /// The other nodes that can be asked something: on a manager all that are not down, on a worker the managers.
    pub fn others(&self) -> Vec<NodeId> {
        let Ok(node) = self.inner.running() else { return Vec::new() };
        let me = node.id();
        let all: Vec<NodeId> = match node.shared.running_plane() {
            Some(plane) => plane.reachable_nodes(),
            None => node.shared.managers().into_iter().map(|manager| manager.node).collect(),
        };
        all.into_iter().filter(|id| *id != me && !id.as_str().is_empty()).collect()
    }

    /// Makes a cluster of this node alone from what [`Cluster::save`] gave; returns the node's new id.
    ///
    /// # Errors
    /// When this node is in a cluster, or the archive is none.
    pub async fn restore(&self, archive: Bytes, request: InitRequest) -> Result<NodeId, Error> {
        let _changing = self.inner.changing.lock().await;
        self.inner.restore(archive, request).await
    }

    /// Makes a cluster of this node; returns its id.
    pub async fn init(&self, request: InitRequest) -> Result<NodeId, Error> {
        let _changing = self.inner.changing.lock().await;
        self.inner.init(request).await
    }

    /// Makes this node part of a cluster.
    pub async fn join(&self, request: JoinRequest) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        self.inner.join(request).await
    }

    /// Leaves the cluster: its tasks' containers are removed, and all that was remembered of it.
    pub async fn leave(&self, force: bool) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        self.inner.leave(force).await
    }

    /// Opens a locked manager with its `SWMKEY-1-…`.
    pub async fn unlock(&self, key: &str) -> Result<(), Error> {
        let _changing = self.inner.changing.lock().await;
        self.inner.unlock(key).await
    }

    /// `Swarm` of `GET /info`.
    pub async fn info(&self) -> types::system::Swarm {
        self.inner.info()
    }

    /// This node's id; [`None`] in no cluster.
    pub fn node_id(&self) -> Option<NodeId> {
        self.inner.running().ok().map(|node| node.id())
    }

    /// Whether this node is in a cluster, but no manager: cluster calls are to be sent on.
    pub fn is_worker(&self) -> bool {
        self.inner.running().is_ok_and(|node| node.shared.me().role == Role::Worker)
    }

    /// Sends a request to another node's Engine API, upgrades (hijacked streams) included.
    ///
    /// # Errors
    /// 503 when the node cannot be reached, 404 when there is no such node.
    pub async fn forward(
        &self,
        to: Target,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Error> {
        let node = self.inner.running()?;
        let nodes = match to {
            Target::Manager => node.shared.managers(),
            Target::Node(id) => vec![self.reached_at(&node, &id)?],
        };
        forward::send(&node.shared, &nodes, request).await
    }

    /// What another node answers to a small question, a document of at most a megabyte.
    ///
    /// # Errors
    /// As [`Cluster::forward`]; whatever the node refuses with.
    pub async fn ask(&self, node: NodeId, path: &str) -> Result<Bytes, Error> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = http::Request::get(path).header("host", "node").body(body);
        let request = request.map_err(|err| Error::caused("a question", err))?;
        let answer = self.forward(Target::Node(node), request).await?;
        let status = answer.status();
        let body = forward::whole(answer.into_body(), LARGEST_ANSWER).await?;
        if !status.is_success() {
            let text = String::from_utf8_lossy(&body).trim().to_owned();
            return Err(Error::system(format!("{status}: {text}")));
        }
        Ok(body)
    }

    /// Where a node listens. Managers know all, workers the managers.
    fn reached_at(&self, here: &node::Node, id: &NodeId) -> Result<ManagerAddress, Error> {
        let Some(plane) = here.shared.running_plane() else {
            let known = here.shared.managers().into_iter().find(|manager| manager.node == *id);
            return known.ok_or_else(error::a_worker);
        };
        let snapshot = plane.raft().snapshot();
        let row = snapshot.nodes().get(id.as_str());
        let row = row.ok_or_else(|| Error::not_found(format!("node {id} not found")))?;
        let addr = row.description.addr.clone();
        if addr.is_empty() {
            return Err(Error::unavailable(format!("node {id} has not said where it is reached")));
        }
        Ok(ManagerAddress { node: id.clone(), addr })
    }

    /// Ends this node's part in an orderly way: another manager leads, containers go on.
    pub async fn close(&self) {
        let _changing = self.inner.changing.lock().await;
        self.inner.close().await;
    }
}
