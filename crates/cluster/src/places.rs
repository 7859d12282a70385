//! The cluster's networks on every node, and places in them for its containers: a manager here or elsewhere gives them.
//!
//! ```text
//! engine ─► Places ─► control, on managers
//!                └──► POST PATH of a manager ─► control       the asking node is the one of its certificate
//! ```

use crate::node::{Shared, guard};
use crate::{Body, Cluster, Inner, error, forward};
use async_trait::async_trait;
use engine::{ClusterNetworks, Error, Neighbours};
use errdefs::{Classify, ErrorKind};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use manager::control::{Control, find, network};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;
use types::network::{CreateRequest, Network};
use types::swarm::attach::{AttachRequest, Attached};
use types::swarm::network::ClusterNetwork;
use types::swarm::policy::PolicyRule;
use types::swarm::session::ManagerAddress;
use types::{NetworkId, NodeId, TaskId};

/// For nodes alone: it is not part of the Engine API.
pub(crate) const PATH: &str = "/sampan/places";
/// Above any question and any answer.
const LARGEST: usize = 1 << 20;

/// Longer than a manager takes for anything here.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a node that leaves waits for its last word to be heard.
const FAREWELL: Duration = Duration::from_secs(5);

/// The cluster as this node's engine knows it.
pub(crate) struct Places(pub(crate) Weak<Inner>);

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Find(String),
    Attach(AttachRequest),
    Detach(Vec<TaskId>),
    /// The asking node is about to leave.
    Depart,
    /// It has left: nothing of it runs any more.
    Gone,
    List,
    Inspect {
        key: String,
        verbose: bool,
    },
    Create(Box<CreateRequest>),
    Remove(String),
    Policies {
        key: String,
        rules: Vec<PolicyRule>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Found(Option<Box<ClusterNetwork>>),
    Attached(Attached),
    List(Vec<Network>),
    Inspected(Option<Box<Network>>),
    Created(NetworkId),
    Done,
}

/// How a refusal comes over the wire.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Refusal {
    message: String,
}

#[async_trait]
impl ClusterNetworks for Places {
    async fn find(&self, name: &str) -> Result<Option<ClusterNetwork>, Error> {
        let Some(shared) = self.shared() else { return Ok(None) };
        match ask(&shared, Ask::Find(name.to_owned())).await? {
            Answer::Found(network) => Ok(network.map(|network| *network)),
            _ => Err(nonsense()),
        }
    }

    async fn attach(&self, request: AttachRequest) -> Result<Attached, Error> {
        let shared = self.shared().ok_or_else(error::not_a_member)?;
        match ask(&shared, Ask::Attach(request)).await? {
            Answer::Attached(attached) => Ok(attached),
            _ => Err(nonsense()),
        }
    }

    async fn detach(&self, places: Vec<TaskId>) -> Result<(), Error> {
        // A node that left has no places.
        let Some(shared) = self.shared() else { return Ok(()) };
        ask(&shared, Ask::Detach(places)).await.map(|_| ())
    }

    fn neighbours(&self) -> Option<Neighbours> {
        let shared = self.shared()?;
        let IpAddr::V4(own) = guard(&shared.state).advertise.ip() else { return None };
        let me = shared.me().node;
        let known = match shared.running_plane() {
            Some(plane) => plane.reachable(),
            None => shared.managers(),
        };
        let known = known.into_iter().filter(|it| it.node != me && !it.node.as_str().is_empty());
        let others = known.filter_map(|it| match it.addr.parse().ok()? {
            SocketAddr::V4(at) => Some((it.node, *at.ip())),
            SocketAddr::V6(_) => None,
        });
        Some(Neighbours { own, others: others.collect() })
    }
}

impl Places {
    fn shared(&self) -> Option<Arc<Shared>> {
        let node = self.0.upgrade()?.running().ok()?;
        Some(Arc::clone(&node.shared))
    }
}

impl Cluster {
    /// The cluster's networks; none on a node that is in no cluster.
    ///
    /// # Errors
    /// 503 when no manager can be reached; so below.
    pub async fn networks(&self) -> Result<Vec<Network>, Error> {
        let Ok(node) = self.inner.running() else { return Ok(Vec::new()) };
        match ask(&node.shared, Ask::List).await? {
            Answer::List(networks) => Ok(networks),
            _ => Err(nonsense()),
        }
    }

    /// One of the cluster's networks by name or id, with its nodes, and its services when `verbose`.
    pub async fn network(&self, key: &str, verbose: bool) -> Result<Option<Network>, Error> {
        let Ok(node) = self.inner.running() else { return Ok(None) };
        match ask(&node.shared, Ask::Inspect { key: key.to_owned(), verbose }).await? {
            Answer::Inspected(network) => Ok(network.map(|network| *network)),
            _ => Err(nonsense()),
        }
    }

    /// Makes a network of the whole cluster.
    pub async fn create_network(&self, request: &CreateRequest) -> Result<NetworkId, Error> {
        let node = self.inner.running()?;
        match ask(&node.shared, Ask::Create(Box::new(request.clone()))).await? {
            Answer::Created(id) => Ok(id),
            _ => Err(nonsense()),
        }
    }

    /// Who may talk to whom on a network of the cluster, by name or id, from now on.
    pub async fn set_policies(&self, key: &str, rules: Vec<PolicyRule>) -> Result<(), Error> {
        let node = self.inner.running()?;
        ask(&node.shared, Ask::Policies { key: key.to_owned(), rules }).await.map(|_| ())
    }

    /// Removes a network of the cluster, by name or id.
    pub async fn remove_network(&self, key: &str) -> Result<(), Error> {
        let node = self.inner.running()?;
        ask(&node.shared, Ask::Remove(key.to_owned())).await.map(|_| ())
    }
}

/// Before a worker leaves: its tasks go elsewhere, and nobody is sent to them any more.
pub(crate) async fn depart(shared: &Shared) {
    if let Err(err) = ask(shared, Ask::Depart).await {
        tracing::info!("this node leaves without a word: {}", errdefs::chain(&err));
    }
}

/// When a node has left: it is down at once. Without a word it would be when its lease ends.
pub(crate) async fn gone(shared: &Shared, managers: &[ManagerAddress]) {
    if managers.is_empty() {
        return;
    }
    let told = tokio::time::timeout(FAREWELL, ask_one(shared, managers, Ask::Gone)).await;
    match told {
        Ok(Ok(_)) => {}
        Ok(Err(err)) => tracing::info!("this node left without a word: {}", errdefs::chain(&err)),
        Err(_) => tracing::info!("this node left without a word: the managers do not answer"),
    }
}

async fn ask(shared: &Shared, ask: Ask) -> Result<Answer, Error> {
    if let Some(plane) = shared.running_plane() {
        return answer(&plane.control(), shared.me().node, ask).await;
    }
    let late = |_| Err(Error::unavailable("the managers do not answer"));
    let managers = shared.managers();
    let asked = ask_one(shared, &managers, ask);
    tokio::time::timeout(ANSWER_WITHIN, asked).await.unwrap_or_else(late)
}

async fn ask_one(shared: &Shared, managers: &[ManagerAddress], ask: Ask) -> Result<Answer, Error> {
    let body = serde_json::to_vec(&ask).map_err(|err| Error::caused("a question", err))?;
    let body = Full::from(body).map_err(|never| match never {}).boxed_unsync();
    let request = Request::builder().method(Method::POST).uri(PATH).header("host", "node");
    let request = request.body(body).map_err(|err| Error::caused("a question", err))?;
    let response = forward::send(shared, managers, request).await?;
    let status = response.status();
    let body = forward::whole(response.into_body(), LARGEST).await?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(|err| Error::caused("an answer", err));
    }
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    let kind = KINDS.iter().find(|kind| kind.status() == status.as_u16());
    Err(Error::system(refusal.message).with_kind(kind.copied().unwrap_or(ErrorKind::System)))
}

/// What a manager refuses by.
const KINDS: &[ErrorKind] = &[
    ErrorKind::InvalidParameter,
    ErrorKind::Forbidden,
    ErrorKind::NotFound,
    ErrorKind::Conflict,
    ErrorKind::Unavailable,
];

/// The manager's end of the wire.
pub(crate) async fn serve<B>(
    control: Option<Control>,
    node: NodeId,
    request: Request<B>,
) -> Response<Body>
where
    B: hyper::body::Body + Send,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let answered = async {
        let control = control.ok_or_else(error::a_worker)?;
        if control.snapshot().nodes().get(node.as_str()).is_none() {
            return Err(Error::forbidden(format!("node {node} is not part of the swarm")));
        }
        let body = Limited::new(request.into_body(), LARGEST).collect().await;
        let body =
            body.map_err(|_| Error::invalid("the question is too long, or was cut short"))?;
        let ask = serde_json::from_slice(&body.to_bytes())
            .map_err(|err| Error::invalid(format!("the question makes no sense: {err}")))?;
        answer(&control, node, ask).await
    };
    let (status, body) = match answered.await {
        Ok(answer) => (200, serde_json::to_vec(&answer)),
        Err(err) => {
            let refusal = Refusal { message: errdefs::chain(&err) };
            (err.kind().status(), serde_json::to_vec(&refusal))
        }
    };
    let body = Full::from(body.unwrap_or_default()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

async fn answer(control: &Control, node: NodeId, ask: Ask) -> Result<Answer, Error> {
    match ask {
        Ask::Find(name) => {
            let state = control.read().await.map_err(Error::from_lower)?;
            let network = find::network(&state, &name).ok();
            let network = network.filter(|row| !network::is_of_nodes(row));
            Ok(Answer::Found(network.map(|row| Box::new(ClusterNetwork::clone(row)))))
        }
        Ask::Attach(request) => {
            let request = AttachRequest { node, ..request };
            let attached = control.attach(&request).await.map_err(Error::from_lower)?;
            Ok(Answer::Attached(attached))
        }
        Ask::Detach(places) => {
            control.detach(&node, &places).await.map_err(Error::from_lower)?;
            Ok(Answer::Done)
        }
        Ask::Depart => {
            control.depart(&node).await.map_err(Error::from_lower)?;
            Ok(Answer::Done)
        }
        Ask::Gone => {
            control.gone(&node).await.map_err(Error::from_lower)?;
            Ok(Answer::Done)
        }
        Ask::List => {
            let state = control.read().await.map_err(Error::from_lower)?;
            let rows = state.networks().iter().filter(|row| !network::is_of_nodes(row));
            Ok(Answer::List(rows.map(|row| network::answer(row)).collect()))
        }
        Ask::Inspect { key, verbose } => {
            let state = control.read().await.map_err(Error::from_lower)?;
            let row = find::network(&state, &key).ok().filter(|row| !network::is_of_nodes(row));
            let network = row.map(|row| Box::new(network::describe(&state, row, verbose)));
            Ok(Answer::Inspected(network))
        }
        Ask::Create(request) => {
            let id = control.create_network(&request).await.map_err(Error::from_lower)?;
            Ok(Answer::Created(id))
        }
        Ask::Policies { key, rules } => {
            control.set_policies(&key, &rules).await.map_err(Error::from_lower)?;
            Ok(Answer::Done)
        }
        Ask::Remove(key) => {
            control.remove_network(&key).await.map_err(Error::from_lower)?;
            Ok(Answer::Done)
        }
    }
}

fn nonsense() -> Error {
    Error::system("the manager answered another question")
}
