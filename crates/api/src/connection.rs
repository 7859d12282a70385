//! What every listener here does: accept until told to stop, shake hands, speak HTTP on the connection.

use crate::request_line::RequestLine;
use crate::socket::Socket;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// A client that does not finish its TLS handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept (no file descriptors left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands everything that `accept` gives to `each` until `stop` fires. `accept` must be safe to drop.
pub(crate) async fn accept_until<T, F>(
    stop: &CancellationToken,
    accept: impl Fn() -> F,
    each: impl Fn(T),
) where
    F: Future<Output = io::Result<T>>,
{
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok(stream) => each(stream),
            Err(err) => {
                tracing::warn!("failed to accept a connection: {err}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The TLS session on `socket`; `None`, and a line in the log, if there will be none.
pub(crate) async fn secure(
    tls: Arc<rustls::ServerConfig>,
    socket: Socket,
) -> Option<TlsStream<Socket>> {
    match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(socket)).await {
        Ok(Ok(secured)) => return Some(secured),
        Ok(Err(err)) => tracing::info!("TLS handshake error: {err}"),
        Err(_) => tracing::info!("TLS handshake error: timeout"),
    }
    None
}

/// HTTP on `io` until the client ends or `stop` fires: then the request under way is still answered.
pub(crate) async fn speak<IO, S>(io: IO, service: S, stop: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService<Incoming, ResBody = Body, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    // Half-close: a client may end its side and still read; `Peer` notices those that left.
    let connection = http1::Builder::new()
        .half_close(true)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(RequestLine::new(io)), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!("connection ended: {err}");
    }
}
