//! Questions to one node over connections that are used again.

use super::{Connection, PATH, Peers};
use crate::stream::ByteStream;
use futures_util::StreamExt;
use http::{Method, Response, StatusCode};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use types::NodeId;

/// A node that says nothing for so long is taken for dead: its machine may be off.
const SILENCE: Duration = Duration::from_secs(10);
/// For a small answer: whoever takes longer is not worth waiting for.
const ANSWER: Duration = Duration::from_secs(5);
/// Above any offer: a configuration and its manifests.
const LARGEST: usize = 16 << 20;

pub(crate) struct Line {
    pub(crate) node: NodeId,
    peers: Arc<dyn Peers>,
    idle: Mutex<Vec<Box<dyn Connection>>>,
}

impl Line {
    pub(crate) fn new(node: NodeId, peers: Arc<dyn Peers>) -> Self {
        Line { node, peers, idle: Mutex::default() }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one question; a connection that was closed while it was idle is made again.
    async fn open(
        &self,
        method: Method,
        question: &str,
    ) -> io::Result<(Box<dyn Connection>, Response<ByteStream>)> {
        let path = format!("{PATH}{question}");
        let used = self.idle().pop();
        if let Some(mut connection) = used
            && let Ok(answer) = connection.ask(method.clone(), &path).await
        {
            return Ok((connection, answer));
        }
        let mut connection = self.peers.connect(&self.node).await?;
        let answer = connection.ask(method, &path).await?;
        Ok((connection, answer))
    }

    /// The document that answers `question`; `None` when there is none.
    pub(crate) async fn document(&self, question: &str) -> io::Result<Option<Vec<u8>>> {
        let asked = self.whole(Method::GET, question);
        let (status, body) = timeout(ANSWER, asked).await.map_err(|_| silent(&self.node))??;
        match status {
            StatusCode::OK => Ok(Some(body)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(io::Error::other(format!("node {} answers {status}", self.node))),
        }
    }

    /// The whole answer, however long the node takes for it.
    pub(crate) async fn whole(
        &self,
        method: Method,
        question: &str,
    ) -> io::Result<(StatusCode, Vec<u8>)> {
        let (connection, answer) = self.open(method, question).await?;
        let (head, mut body) = answer.into_parts();
        let mut whole = Vec::new();
        while let Some(chunk) = body.next().await {
            whole.extend_from_slice(&chunk?);
            if whole.len() > LARGEST {
                return Err(io::Error::other(format!("node {} answers at length", self.node)));
            }
        }
        drop(body);
        self.idle().push(connection);
        Ok((head.status, whole))
    }

    /// Hands the bytes of the answer to `take`, with their place in it; returns how many there were.
    pub(crate) async fn stream(
        &self,
        question: &str,
        mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
    ) -> Result<u64, Failure> {
        let opened = timeout(SILENCE, self.open(Method::GET, question)).await;
        let (connection, answer) = opened.map_err(|_| silent(&self.node))??;
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(io::Error::other(format!("{} answers {}", self.node, head.status)).into());
        }
        let mut done = 0;
        while let Some(chunk) =
            timeout(SILENCE, body.next()).await.map_err(|_| silent(&self.node))?
        {
            let chunk = chunk?;
            take(done, &chunk).map_err(Failure::Here)?;
            done += chunk.len() as u64;
        }
        drop(body);
        self.idle().push(connection);
        Ok(done)
    }
}

/// Whose fault it is that bytes did not come.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node's, or the way's.
    There(io::Error),
    /// This node's disk.
    Here(io::Error),
}

impl From<io::Error> for Failure {
    fn from(err: io::Error) -> Self {
        Failure::There(err)
    }
}

fn silent(node: &NodeId) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("node {node} does not answer"))
}
