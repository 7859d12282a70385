//! Opens one HTTP/1.1 connection and sends one request over it, upgrades included.
//!
//! No pool: a command makes a handful of requests, and a fresh unix connection costs microseconds.

use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::{Address, Body, ClientError};

/// Sends `request` to the daemon at `address`; resolves when the reply's head has arrived.
pub(super) async fn send(
    address: &Address,
    mut request: Request<Body>,
) -> Result<Response<Incoming>, ClientError> {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    *request.uri_mut() = Uri::try_from(&target)
        .map_err(|err| ClientError::Request { path: target.clone(), source: err.into() })?;
    request.headers_mut().insert(http::header::HOST, host_header(address));
    request
        .headers_mut()
        .entry(http::header::USER_AGENT)
        .or_insert(HeaderValue::from_static(concat!("sampan/", env!("CARGO_PKG_VERSION"))));
    match address {
        Address::Unix(path) => {
            let io = UnixStream::connect(path).await.map_err(|err| unreachable(address, err))?;
            exchange(io, target, request).await
        }
        Address::Tcp { host, port, tls } => {
            let connect = TcpStream::connect((host.as_str(), *port)).await;
            let io = connect.map_err(|err| unreachable(address, err))?;
            let Some(config) = tls else { return exchange(io, target, request).await };
            let name = rustls::pki_types::ServerName::try_from(host.clone()).map_err(|err| {
                ClientError::Address { address: host.clone(), reason: err.to_string() }
            })?;
            let io =
                tokio_rustls::TlsConnector::from(config.clone()).connect(name, io).await.map_err(
                    |err| ClientError::Tls { path: address.to_string(), reason: err.to_string() },
                )?;
            exchange(io, target, request).await
        }
    }
}

async fn exchange<I>(
    io: I,
    path: String,
    request: Request<Body>,
) -> Result<Response<Incoming>, ClientError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let method = request.method().clone();
    let failed = |source| ClientError::Http { method: method.clone(), path: path.clone(), source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    // Lives exactly as long as the reply's body or the upgraded stream that it feeds.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.map_err(failed)
}

fn host_header(address: &Address) -> HeaderValue {
    match address {
        Address::Unix(_) => HeaderValue::from_static("localhost"),
        Address::Tcp { host, port, .. } => HeaderValue::try_from(format!("{host}:{port}"))
            .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
    }
}

fn unreachable(address: &Address, source: std::io::Error) -> ClientError {
    let address = address.to_string();
    match source.kind() {
        std::io::ErrorKind::PermissionDenied => ClientError::Denied { address },
        _ => ClientError::Unreachable { address, source },
    }
}
