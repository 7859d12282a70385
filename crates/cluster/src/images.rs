//! Images between nodes over the cluster's port.
//!
//! ```text
//! image store ─► Images ─► HTTP over mutual TLS ─► another node's image store      any node may ask any other
//!                  └─► who is there: the table of nodes on managers, a manager's word on workers
//! ```

use crate::node::{Shared, guard};
use crate::plane::Plane;
use crate::{Body, Inner, forward};
use async_trait::async_trait;
use bytes::Bytes;
use engine::{ByteStream, Engine};
use futures_util::TryStreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use image::{Connection, PEERS_PATH, Peers};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use types::NodeId;
use types::swarm::session::ManagerAddress;

/// Which nodes there are: what managers answer to workers.
const NODES: &str = "/sampan/images/nodes";
/// Which images services need: the same.
const NEEDED: &str = "/sampan/images/needed";
/// Above any list of these.
const LARGEST: usize = 4 << 20;
/// For that list; without a manager the last one will do.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long a list is taken for the present.
const FRESH: Duration = Duration::from_secs(2);

/// The cluster as this node's image store knows it.
pub(crate) struct Images {
    inner: Weak<Inner>,
    known: Mutex<(Option<Instant>, Vec<ManagerAddress>)>,
}

impl Images {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Images { inner: Arc::downgrade(inner), known: Mutex::default() }
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        let node = self.inner.upgrade()?.running().ok()?;
        Some(Arc::clone(&node.shared))
    }

    /// All nodes that can be asked, this one too.
    async fn nodes(&self, shared: &Shared) -> Vec<ManagerAddress> {
        if let Some(plane) = shared.running_plane() {
            let nodes = plane.reachable();
            guard(&self.known).1.clone_from(&nodes);
            return nodes;
        }
        {
            let known = guard(&self.known);
            if known.0.is_some_and(|at| at.elapsed() < FRESH) {
                return known.1.clone();
            }
        }
        match timeout(ANSWER_WITHIN, ask_a_manager(shared, NODES)).await {
            Ok(Ok(nodes)) => {
                *guard(&self.known) = (Some(Instant::now()), nodes.clone());
                nodes
            }
            failed => {
                tracing::debug!(?failed, "no manager tells which nodes there are");
                // At least the managers, whom this node knows by itself.
                let mut nodes = guard(&self.known).1.clone();
                let unknown = |manager: &ManagerAddress| {
                    !manager.node.as_str().is_empty()
                        && !nodes.iter().any(|node| node.node == manager.node)
                };
                let managers: Vec<_> = shared.managers().into_iter().filter(unknown).collect();
                nodes.extend(managers);
                guard(&self.known).1.clone_from(&nodes);
                nodes
            }
        }
    }
}

#[async_trait]
impl Peers for Images {
    fn me(&self) -> NodeId {
        self.shared().map(|shared| shared.me().node.clone()).unwrap_or_default()
    }

    async fn others(&self) -> Vec<NodeId> {
        let Some(shared) = self.shared() else { return Vec::new() };
        let me = shared.me().node;
        let nodes = self.nodes(&shared).await;
        nodes.into_iter().map(|node| node.node).filter(|node| *node != me).collect()
    }

    async fn needed(&self) -> io::Result<Vec<String>> {
        let Some(shared) = self.shared() else { return Ok(Vec::new()) };
        if let Some(plane) = shared.running_plane() {
            return Ok(needed(&plane));
        }
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the managers do not answer");
        let told = timeout(ANSWER_WITHIN, ask_a_manager(&shared, NEEDED)).await.map_err(late)?;
        told.map_err(io::Error::other)
    }

    async fn connect(&self, node: &NodeId) -> io::Result<Box<dyn Connection>> {
        let left = || io::Error::other("this node is in no cluster");
        let shared = self.shared().ok_or_else(left)?;
        let addr = {
            let known = guard(&self.known);
            let known = known.1.iter().find(|known| known.node == *node);
            known.map(|known| known.addr.clone())
        };
        let addr = addr.ok_or_else(|| io::Error::other(format!("node {node} not found")))?;
        let connection = shared.client.http_connect(&addr, Some(node)).await?;
        Ok(Box::new(Wire(connection)))
    }
}

struct Wire(rpc::HttpConnection);

#[async_trait]
impl Connection for Wire {
    async fn ask(&mut self, method: Method, path: &str) -> io::Result<Response<ByteStream>> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().method(method).uri(path).header(header::HOST, "node");
        let request = request.body(body).map_err(io::Error::other)?;
        let answer = self.0.send(request).await.map_err(io::Error::other)?;
        Ok(answer.map(|body| {
            let bytes: ByteStream = Box::pin(body.into_data_stream().map_err(io::Error::other));
            bytes
        }))
    }
}

/// References of all images that services run, or ran before their last update.
fn needed(plane: &Plane) -> Vec<String> {
    let state = plane.raft().snapshot();
    let specs = state.services().iter().flat_map(|service| {
        let specs = std::iter::once(&service.spec).chain(&service.previous_spec);
        specs.filter_map(|spec| spec.task_template.container_spec.as_ref())
    });
    let tasks = state.tasks().iter().filter_map(|task| task.spec.container_spec.as_ref());
    let names: BTreeSet<String> = specs.chain(tasks).map(|spec| spec.image.clone()).collect();
    names.into_iter().collect()
}

async fn ask_a_manager<T: DeserializeOwned>(
    shared: &Shared,
    question: &str,
) -> Result<Vec<T>, engine::Error> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(question).header(header::HOST, "node").body(body);
    let request = request.map_err(|err| engine::Error::caused("a question", err))?;
    let answer = forward::send(shared, &shared.managers(), request).await?;
    let status = answer.status();
    let body = forward::whole(answer.into_body(), LARGEST).await?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|err| engine::Error::caused("a manager's answer", err)),
        status => Err(engine::Error::unavailable(format!("a manager answers {status}"))),
    }
}

/// Whether other nodes ask this of the image store.
pub(crate) fn is_question(path: &str) -> bool {
    path.starts_with(PEERS_PATH)
}

/// The answering end. A certificate outlives its node's removal: managers know better.
pub(crate) async fn serve(
    node: Option<Arc<Shared>>,
    from: &NodeId,
    request: &Request<hyper::body::Incoming>,
) -> Response<Body> {
    let Some(shared) = node else { return refusal(StatusCode::SERVICE_UNAVAILABLE) };
    let plane = shared.running_plane();
    if let Some(plane) = &plane
        && plane.raft().snapshot().nodes().get(from.as_str()).is_none()
    {
        return refusal(StatusCode::FORBIDDEN);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    if path == NODES || path == NEEDED {
        let Some(plane) = plane else { return refusal(StatusCode::SERVICE_UNAVAILABLE) };
        let list = match path {
            NODES => serde_json::to_vec(&plane.reachable()),
            _ => serde_json::to_vec(&needed(&plane)),
        };
        let list = Full::from(list.unwrap_or_default()).map_err(|never| match never {});
        return Response::new(list.boxed_unsync());
    }
    bytes_of(&shared.engine, request.method(), path).await
}

async fn bytes_of(engine: &Engine, method: &Method, path: &str) -> Response<Body> {
    let answer = engine.image_answer(method, path).await;
    answer.map(|bytes| {
        let failed = |err| Box::new(err) as Box<dyn std::error::Error + Send + Sync>;
        StreamBody::new(bytes.map_ok(Frame::<Bytes>::data).map_err(failed)).boxed_unsync()
    })
}

fn refusal(status: StatusCode) -> Response<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    answer
}
