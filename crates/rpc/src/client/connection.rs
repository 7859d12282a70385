//! One HTTP/2 connection to another node, as tonic's clients need it: a service.

use super::dial::TlsTcp;
use crate::Error;
use crate::cut::Tasks;
use crate::peer::{CONNECTION_WINDOW, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, STREAM_WINDOW};
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::Status;

/// A call may fail a moment before its connection says why it was lost.
const REASON_LIMIT: Duration = Duration::from_secs(1);

/// HTTP/2 wants an authority; TLS has checked the real one.
pub(super) struct Origin;

impl Origin {
    pub(super) fn uri() -> Uri {
        Uri::from_static("https://swarm-manager")
    }
}

/// Clones use the same connection. It closes when the last one is gone and its calls have ended.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<tonic::body::Body>,
    /// Why it was lost, once it was.
    lost: watch::Receiver<Option<String>>,
}

impl Connection {
    pub(super) async fn start(stream: TlsTcp, addr: &str, tasks: &Tasks) -> Result<Self, Error> {
        let alert = stream.alert();
        let (sender, connection) = Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|err| Error::unavailable(crate::explain::lost(&err, alert.get(), addr)))?;
        let (reason, lost) = watch::channel(None);
        let addr = addr.to_owned();
        tasks.spawn(async move {
            let why = match connection.await {
                Ok(()) => format!("{addr} closed the connection"),
                Err(err) => crate::explain::lost(&err, alert.get(), &addr),
            };
            tracing::debug!("{why}");
            reason.send_replace(Some(why));
        });
        Ok(Connection { sender, lost })
    }

    /// Whether calls may still be made.
    pub(super) fn is_alive(&self) -> bool {
        !self.sender.is_closed()
    }

    /// A call's failure; if the connection's, with why it was lost.
    pub(super) async fn failed(&self, status: Status) -> Error {
        if std::error::Error::source(&status).is_none() {
            return status.into();
        }
        Error::unavailable(self.reason(status.message()).await)
    }

    async fn reason(&self, otherwise: &str) -> String {
        let mut lost = self.lost.clone();
        match timeout(REASON_LIMIT, lost.wait_for(Option::is_some)).await {
            Ok(Ok(reason)) => reason.clone().unwrap_or_default(),
            // The connection lives, and one call on it failed; or its task was cut.
            _ => otherwise.to_owned(),
        }
    }
}

impl tower::Service<Request<tonic::body::Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // HTTP/2 queues what the other end does not take yet; a lost connection fails the call with its reason.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let mut connection = self.clone();
        Box::pin(async move {
            match connection.sender.send_request(request).await {
                Ok(response) => Ok(response),
                Err(err) => {
                    let otherwise = errdefs::chain(&err);
                    Err(Status::unavailable(connection.reason(&otherwise).await))
                }
            }
        })
    }
}
