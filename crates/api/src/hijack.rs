//! Handing a connection over to a container's streams (`Connection: Upgrade`, `Upgrade: tcp`).

use crate::context::{App, Context};
use crate::reply;
use crate::socket::Peer;
use crate::version::ApiVersion;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::Session;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A request's offer to hand its connection over, if it made one.
pub(crate) struct Hijack {
    offer: Option<(OnUpgrade, HeaderValue)>,
    context: Context,
    app: App,
}

impl Hijack {
    /// Answers, and serves `session` on the connection. Without an offer the output alone is streamed as
    /// the reply's body: HTTP/1.1 leaves no way back for stdin.
    pub(crate) fn serve(self, session: Session) -> Response {
        let content_type = self.content_type(session.tty);
        let Some((upgrade, protocol)) = self.offer else {
            return reply::live(reply::RAW, self.context, session.into_output());
        };
        let stop = self.app.stop.clone();
        let peer = self.context.peer;
        self.app.tasks.spawn(async move {
            match upgrade.await {
                Ok(connection) => tokio::select! {
                    () = session.serve(Patient::new(TokioIo::new(connection), peer)) => {}
                    () = stop.cancelled() => {}
                },
                Err(err) => tracing::debug!("the client left before its stream began: {err}"),
            }
        });
        switching(protocol, content_type)
    }

    /// Answers as if the stream had begun, and says in it what went wrong: the CLI shows a failed exec's
    /// reason from there.
    pub(crate) fn fail(self, tty: bool, message: &str) -> Response {
        let text = frame_unless(tty, &format!("{message}\r\n"));
        let content_type = self.content_type(tty);
        let Some((upgrade, protocol)) = self.offer else {
            return ([(header::CONTENT_TYPE, reply::RAW)], Body::from(text)).into_response();
        };
        let peer = self.context.peer;
        self.app.tasks.spawn(async move {
            let Ok(connection) = upgrade.await else { return };
            let mut connection = Patient::new(TokioIo::new(connection), peer);
            let sent = async {
                connection.write_all(&text).await?;
                connection.shutdown().await
            };
            if let Err(err) = sent.await {
                tracing::debug!("the client left before it was told of a failure: {err}");
            }
        });
        switching(protocol, content_type)
    }

    fn content_type(&self, tty: bool) -> &'static str {
        if !tty && self.context.version >= ApiVersion(1, 42) {
            reply::MULTIPLEXED
        } else {
            reply::RAW
        }
    }
}

/// A connection whose first bytes wait until the client has read the reply's head. Some clients (docker-py, whatever is
/// built on Python's `http.client`) read the head through a buffer and lose what came with it.
struct Patient<IO> {
    io: IO,
    head_read: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<IO> Patient<IO> {
    fn new(io: IO, peer: Option<Peer>) -> Self {
        let head_read = peer.map(|peer| Box::pin(async move { peer.has_read().await }) as _);
        Patient { io, head_read }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(head_read) = &mut self.head_read {
            ready!(head_read.as_mut().poll(cx));
            self.head_read = None;
        }
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn switching(protocol: HeaderValue, content_type: &'static str) -> Response {
    let head = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, protocol),
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
}

/// `text` as one frame on stdout, or bare on a terminal.
fn frame_unless(tty: bool, text: &str) -> Bytes {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let header = if tty { Vec::new() } else { [[1, 0, 0, 0], length].concat() };
    [&header, text.as_bytes()].concat().into()
}

impl FromRequestParts<App> for Hijack {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let Ok(context) = Context::from_request_parts(parts, app).await;
        // Taken before anything reads the body: hyper gives it out once.
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let offer = upgrade.zip(parts.headers.get(header::UPGRADE).cloned());
        Ok(Hijack { offer, context, app: app.clone() })
    }
}
