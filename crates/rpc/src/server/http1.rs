//! HTTP/1.1 from other nodes, handed to the caller's service.

use super::{Body, Caller, Shared};
use crate::Http;
use crate::cut::Cuttable;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Drives a connection to its end, or to its upgrade.
pub(super) async fn serve(
    stream: Cuttable<TlsStream<TcpStream>>,
    caller: Caller,
    shared: &Shared,
) -> hyper::Result<()> {
    let service = service_fn(|request| {
        let (caller, http) = (caller.clone(), shared.services().http);
        async move { Ok::<_, Infallible>(answer(request, &caller, http).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = shared.closing.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

async fn answer(
    mut request: Request<Incoming>,
    caller: &Caller,
    http: Option<Arc<dyn Http>>,
) -> Response<Body> {
    let peer = match caller.node() {
        Ok(peer) => peer.clone(),
        Err(reason) => return refuse(StatusCode::UNAUTHORIZED, reason),
    };
    let Some(http) = http else {
        return refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "this node does not serve the API to others",
        );
    };
    request.extensions_mut().insert(peer);
    http.serve(request).await
}

/// An error as the Engine API words it.
fn refuse(status: StatusCode, message: &str) -> Response<Body> {
    let text = serde_json::json!({ "message": message }).to_string();
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
