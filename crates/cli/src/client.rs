//! The daemon as the commands see it: one connection policy, two ways to ask.
//!
//! `docker` (bollard, typed) carries what we *ask for*: bodies with a schema and commands that answer
//! with an id or nothing. The methods of [`Client`] carry what we *show*: replies kept as the daemon
//! wrote them (`inspect`, tables, `--format`), byte streams, and hijacked connections, which bollard
//! decodes too eagerly for a raw terminal. Both go through [`dial`], so flags for sockets and TLS exist once.

pub(crate) mod address;
mod dial;
pub(crate) mod stream;

use std::time::Duration;

use bollard::{BollardRequest, ClientVersion, Docker};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;

pub(crate) use address::{Address, ConnectOptions};

/// The newest Engine API this client speaks.
pub(crate) const API_VERSION: (usize, usize) = (1, 51);
/// bollard wants a limit for every request; a `wait` may take as long as its container lives.
const NO_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Body of a request, as bollard's transport takes it.
pub(crate) type Body = http_body_util::Either<
    http_body_util::Full<Bytes>,
    http_body_util::StreamBody<
        std::pin::Pin<
            Box<dyn Stream<Item = Result<hyper::body::Frame<Bytes>, std::io::Error>> + Send>,
        >,
    >,
>;
/// Both directions of a hijacked connection.
pub(crate) type Hijacked = TokioIo<hyper::upgrade::Upgraded>;

/// Why a request brought no answer. `Display` is what the user reads.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The daemon answered with an error status; its own words follow.
    #[error("Error response from daemon: {message}")]
    Daemon { status: u16, message: String },
    #[error(
        "Cannot connect to the Sampan daemon at {address}. Is the daemon running? (start it with: sampan daemon)"
    )]
    Unreachable { address: String, source: std::io::Error },
    #[error(
        "permission denied while trying to connect to the Sampan daemon socket at {address}: run as root or as a member of the socket's group"
    )]
    Denied { address: String },
    #[error("invalid daemon address {address:?}: {reason}")]
    Address { address: String, reason: String },
    #[error("cannot use TLS material in {path}: {reason}")]
    Tls { path: String, reason: String },
    #[error("error during connect: {method} {path}: {source}")]
    Http { method: Method, path: String, source: hyper::Error },
    #[error("cannot build a request for {path}")]
    Request { path: String, source: http::Error },
    #[error("the daemon's reply to {path} is not JSON: {source}")]
    Json { path: String, source: serde_json::Error },
    #[error("unable to upgrade to a raw stream, received {status}")]
    NotUpgraded { status: StatusCode },
    #[error(transparent)]
    Bollard(bollard::errors::Error),
}

impl ClientError {
    /// The HTTP status when the daemon refused, else none.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            ClientError::Daemon { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<bollard::errors::Error> for ClientError {
    fn from(err: bollard::errors::Error) -> Self {
        match err {
            bollard::errors::Error::DockerResponseServerError { status_code, message } => {
                ClientError::Daemon { status: status_code, message: message.trim_end().to_owned() }
            }
            // our own transport speaks first through bollard's io::Error
            bollard::errors::Error::IOError { err } => match err.downcast::<ClientError>() {
                Ok(ours) => ours,
                Err(err) => ClientError::Bollard(bollard::errors::Error::IOError { err }),
            },
            other => ClientError::Bollard(other),
        }
    }
}

/// Query parameters in order; encoded when sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// No parameters.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds `key=value`.
    #[must_use]
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.0.push((key, value.into()));
        self
    }

    /// Adds `key=1` when `on`.
    #[must_use]
    pub(crate) fn flag(self, key: &'static str, on: bool) -> Self {
        if on { self.with(key, "1") } else { self }
    }

    /// Adds `key=value` unless the value is empty.
    #[must_use]
    pub(crate) fn opt(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) if !value.is_empty() => self.with(key, value),
            _ => self,
        }
    }

    fn append_to(&self, path: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(self.0.iter().map(|(key, value)| (*key, value.as_str())));
        path.push('?');
        path.push_str(&form.finish());
    }
}

/// A connection policy to one daemon; cheap to clone, opens one connection per request.
#[derive(Clone)]
pub(crate) struct Client {
    /// The typed door.
    pub(crate) docker: Docker,
    address: Address,
    version: (usize, usize),
}

impl Client {
    /// Finds the daemon, asks which API it speaks and settles on the lower version.
    pub(crate) async fn connect(options: &ConnectOptions) -> Result<Self, ClientError> {
        let address = options.resolve()?;
        let mut version = API_VERSION;
        match options.api_version.as_deref().and_then(parse_version) {
            Some(forced) => version = forced,
            None => version = version.min(ping(&address).await?),
        }
        let door = address.clone();
        let transport = move |request: BollardRequest| {
            let door = door.clone();
            async move {
                dial::send(&door, request).await.map_err(|err| bollard::errors::Error::IOError {
                    err: std::io::Error::other(err),
                })
            }
        };
        let docker = Docker::connect_with_custom_transport(
            transport,
            Some("http://localhost"),
            NO_TIMEOUT.as_secs(),
            &ClientVersion { major_version: version.0, minor_version: version.1 },
        )?;
        Ok(Client { docker, address, version })
    }

    /// The API version in use, as in `1.51`.
    pub(crate) fn api_version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }

    /// True when the daemon speaks at least `1.minor`.
    pub(crate) fn speaks(&self, minor: usize) -> bool {
        self.version >= (1, minor)
    }

    /// Sends a request and returns the reply once its head arrived; statuses from 400 are errors.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut target = format!("/v{}{path}", self.api_version());
        query.append_to(&mut target);
        let mut request = Request::builder()
            .method(method)
            .uri(&target)
            .body(body)
            .map_err(|source| ClientError::Request { path: target.clone(), source })?;
        *request.headers_mut() = headers;
        let response = dial::send(&self.address, request).await?;
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    /// `GET path` as JSON, exactly as the daemon wrote it.
    pub(crate) async fn get(&self, path: &str, query: &Query) -> Result<Value, ClientError> {
        self.json(Method::GET, path, query, None).await
    }

    /// Any method with an optional JSON body; an empty reply is `Null`.
    pub(crate) async fn json(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let response = self.send(method, path, query, json_headers(body), json_body(body)).await?;
        let bytes = collect(response, path).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|source| ClientError::Json { path: path.to_owned(), source })
    }

    /// A JSON body with further headers.
    pub(crate) async fn json_with(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        headers: HeaderMap,
        body: &Value,
    ) -> Result<Value, ClientError> {
        let mut all = json_headers(Some(body));
        all.extend(headers);
        let response = self.send(method, path, query, all, json_body(Some(body))).await?;
        let bytes = collect(response, path).await?;
        serde_json::from_slice(&bytes)
            .map_err(|source| ClientError::Json { path: path.to_owned(), source })
    }

    /// The reply's body as it arrives.
    pub(crate) async fn bytes(
        &self,
        method: Method,
        path: &str,
        query: &Query,
        headers: HeaderMap,
        body: Body,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + Unpin + use<>, ClientError>
    {
        let response = self.send(method, path, query, headers, body).await?;
        Ok(response.into_body().into_data_stream().map_err(std::io::Error::other))
    }

    /// Upgrades to a raw two-way stream (`attach`, `exec start`).
    pub(crate) async fn hijack(
        &self,
        path: &str,
        query: &Query,
        body: Option<&Value>,
    ) -> Result<Hijacked, ClientError> {
        let mut headers = json_headers(body);
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(http::header::UPGRADE, HeaderValue::from_static("tcp"));
        let response = self.send(Method::POST, path, query, headers, json_body(body)).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(ClientError::NotUpgraded { status: response.status() });
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(|source| ClientError::Http {
            method: Method::POST,
            path: path.to_owned(),
            source,
        })?;
        Ok(TokioIo::new(upgraded))
    }
}

/// Percent-encodes one path segment, so that a name cannot change the route.
pub(crate) fn segment(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:@+".contains(&b);
    name.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
        out
    })
}

/// Like [`segment`], for image names: their slashes are part of the route.
pub(crate) fn image_segment(name: &str) -> String {
    name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// An empty request body.
pub(crate) fn no_body() -> Body {
    bollard::body_full(Bytes::new())
}

fn json_body(body: Option<&Value>) -> Body {
    bollard::body_full(body.map(|value| Bytes::from(value.to_string())).unwrap_or_default())
}

fn json_headers(body: Option<&Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if body.is_some() {
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers
}

async fn ping(address: &Address) -> Result<(usize, usize), ClientError> {
    let request = Request::builder()
        .method(Method::HEAD)
        .uri("/_ping")
        .body(no_body())
        .map_err(|source| ClientError::Request { path: "/_ping".to_owned(), source })?;
    let response = dial::send(address, request).await?;
    let header = response.headers().get(HeaderName::from_static("api-version"));
    Ok(header.and_then(|value| value.to_str().ok()).and_then(parse_version).unwrap_or((1, 24)))
}

fn parse_version(text: &str) -> Option<(usize, usize)> {
    let (major, minor) = text.trim().trim_start_matches('v').split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

async fn collect(response: Response<Incoming>, path: &str) -> Result<Bytes, ClientError> {
    let collected = response.into_body().collect().await.map_err(|source| ClientError::Http {
        method: Method::GET,
        path: path.to_owned(),
        source,
    })?;
    Ok(collected.to_bytes())
}

/// The daemon's own sentence out of an error reply, whatever its shape.
async fn refusal(response: Response<Incoming>) -> ClientError {
    let status = response.status();
    let bytes = collect(response, "").await.unwrap_or_default();
    let from_json = serde_json::from_slice::<Value>(&bytes)
        .ok()
        .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
    let message = from_json.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        if text.is_empty() { status.to_string() } else { text }
    });
    ClientError::Daemon { status: status.as_u16(), message: message.trim_end().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_path_segment() {
        assert_eq!(segment("a/../b?c"), "a%2F..%2Fb%3Fc");
        assert_eq!(image_segment("reg:5000/a b:1@sha256:0"), "reg:5000/a%20b:1@sha256:0");
    }

    #[test]
    fn query_values_are_encoded() {
        let mut path = "/x".to_owned();
        Query::new().with("filters", r#"{"a":["b&c"]}"#).flag("all", true).append_to(&mut path);
        assert_eq!(path, "/x?filters=%7B%22a%22%3A%5B%22b%26c%22%5D%7D&all=1");
    }

    #[test]
    fn versions_are_read_with_and_without_prefix() {
        assert_eq!(parse_version("1.41"), Some((1, 41)));
        assert_eq!(parse_version("v1.24"), Some((1, 24)));
        assert_eq!(parse_version("latest"), None);
    }
}
