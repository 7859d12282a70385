//! `GET /containers/{id}/attach/ws`: the streams in binary messages, never framed.

use crate::containers::attach_options;
use crate::context::App;
use crate::failure::Reply;
use crate::query::Query;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use engine::Session;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf};

/// Bytes between the session and the socket; more wait in the container's pipe.
const BUFFER: usize = 64 * 1024;
/// Of a frame: stream number, three zeros, big-endian length.
const HEADER: usize = 8;

pub(crate) async fn attach(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Reply {
    let session = app.engine.container_attach(&id, attach_options(&query)).await?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        // Only of a container that is there.
        Err(refused) => return Ok(refused.into_response()),
    };
    let (tasks, stop) = (app.tasks.clone(), app.stop.clone());
    Ok(upgrade.on_upgrade(move |socket| {
        tasks.track_future(async move {
            tokio::select! {
                () = carry(socket, session) => {}
                () = stop.cancelled() => {}
            }
        })
    }))
}

async fn carry(socket: WebSocket, session: Session) {
    let framed = !session.tty;
    let (near, far) = tokio::io::duplex(BUFFER);
    let (output, input) = tokio::io::split(near);
    let (sink, source) = socket.split();
    let outward = async {
        if let Err(err) = send_output(output, sink, framed).await {
            tracing::debug!("a websocket's reader left: {err}");
        }
    };
    // The output's end ends the whole; the client's end ends stdin only.
    let inward = async {
        receive_input(source, input).await;
        std::future::pending().await
    };
    let served = async {
        session.serve(far).await;
    };
    tokio::join!(served, async {
        tokio::select! {
            () = outward => {}
            () = inward => {}
        }
    });
}

async fn receive_input(mut source: SplitStream<WebSocket>, mut input: impl AsyncWrite + Unpin) {
    while let Some(Ok(message)) = source.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        if input.write_all(&data).await.is_err() {
            return;
        }
    }
    if let Err(err) = input.shutdown().await {
        tracing::debug!("stdin was closed already: {err}");
    }
}

async fn send_output(
    mut output: ReadHalf<DuplexStream>,
    mut sink: SplitSink<WebSocket, Message>,
    framed: bool,
) -> std::io::Result<()> {
    while let Some(data) = next(&mut output, framed).await? {
        sink.send(Message::Binary(data)).await.map_err(std::io::Error::other)?;
    }
    sink.close().await.map_err(std::io::Error::other)
}

/// The next bytes of the container, without their frame; `None` at the end.
async fn next(
    output: &mut (impl AsyncRead + Unpin),
    framed: bool,
) -> std::io::Result<Option<Bytes>> {
    if !framed {
        let mut data = vec![0; BUFFER];
        let read = output.read(&mut data).await?;
        data.truncate(read);
        return Ok((read > 0).then(|| data.into()));
    }
    let mut header = [0; HEADER];
    match output.read_exact(&mut header).await {
        Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let mut data = Vec::new();
    output.take(u64::from(length)).read_to_end(&mut data).await?;
    Ok(Some(data.into()))
}
