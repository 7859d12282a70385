//! A registry on managers: `docker push` from a machine that is in no cluster. OCI's distribution protocol (`/v2/…`) over
//! the node's own image store, with a certificate of the cluster's root and a token of the cluster's.
//!
//! ```text
//! client ─ TLS ─► token ─► route ─► blobs, uploads ─► image store ─► copies on other nodes
//!                             └───► manifests, tags ─┘
//! ```
//!
//! A node that is no manager closes the connection: it has no certificate to show.

pub(crate) mod access;
mod blobs;
mod manifests;
mod refusal;
mod route;

use crate::connection::{accept_until, secure, speak};
use crate::registry::refusal::Refusal;
use crate::registry::route::{Route, Target};
use crate::socket::{Socket, Stream};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cluster::Cluster;
use engine::{Engine, Error};
use hyper::body::Incoming;
use hyper::service::service_fn;
use image::Reference;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A certificate is shown for so long before another is made: the root may have changed.
const SHOWN: Duration = Duration::from_secs(600);
/// Uploads under way get so long to end when the daemon does.
const DRAIN: Duration = Duration::from_secs(3);

/// How the registry is offered.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Host names and addresses by which clients call it, besides the node's own.
    pub names: Vec<String>,
    /// Nodes that shall have what is pushed, as far as there are so many; 0 is all.
    pub copies: usize,
}

/// What every request sees.
pub(crate) struct Registry {
    engine: Engine,
    cluster: Cluster,
    options: RegistryOptions,
    tls: Mutex<Option<(Instant, Arc<ServerConfig>)>>,
}

/// Serves the registry on `listener` until `stop` fires.
pub async fn serve_registry(
    engine: Engine,
    cluster: Cluster,
    listener: TcpListener,
    options: RegistryOptions,
    stop: CancellationToken,
) {
    let registry = Arc::new(Registry { engine, cluster, options, tls: Mutex::default() });
    let connections = TaskTracker::new();
    let each = |(stream, _)| {
        connections.spawn(connection(registry.clone(), stream, stop.clone()));
    };
    accept_until(&stop, || listener.accept(), each).await;
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("the registry ends with transfers under way; clients may resume them");
    }
}

async fn connection(registry: Arc<Registry>, stream: TcpStream, stop: CancellationToken) {
    let _only_slower = stream.set_nodelay(true);
    let tls = match registry.tls() {
        Ok(tls) => tls,
        Err(err) => {
            return tracing::info!("the registry has nothing to show: {}", errdefs::chain(&err));
        }
    };
    let (socket, _peer) = Socket::new(Stream::Tcp(stream));
    let Some(secured) = secure(tls, socket).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let registry = registry.clone();
        async move { Ok::<_, Infallible>(registry.answer(request.map(Body::new)).await) }
    });
    speak(secured, service, stop).await;
}

impl Registry {
    fn tls(&self) -> Result<Arc<ServerConfig>, Error> {
        let mut shown = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, tls)) = &*shown
            && since.elapsed() < SHOWN
        {
            return Ok(tls.clone());
        }
        let mut names = self.options.names.clone();
        names.extend(self.cluster.advertised_host());
        let made = self.cluster.registry_certificate(&names)?;
        let bad = |err: &dyn std::fmt::Display| Error::system(format!("a certificate: {err}"));
        let chain = CertificateDer::pem_slice_iter(made.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|err| bad(&err))?;
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).map_err(|err| bad(&err))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
        let config = Arc::new(config.map_err(|err| bad(&err))?);
        *shown = Some((Instant::now(), config.clone()));
        Ok(config)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let is_head = request.method() == Method::HEAD;
        let answered = match self.admit(request.headers()) {
            Ok(()) => self.route(request).await,
            Err(refusal) => Err(refusal),
        };
        let mut response = answered.unwrap_or_else(Refusal::into_response);
        let version = HeaderValue::from_static("registry/2.0");
        response.headers_mut().insert("Docker-Distribution-Api-Version", version);
        if is_head {
            *response.body_mut() = Body::empty();
        }
        response
    }

    /// Whoever knows the token.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let access = self.cluster.registry_access().map_err(Refusal::failed)?;
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Basic "));
        let given = given.and_then(|value| BASE64_STANDARD.decode(value.trim()).ok());
        let given = given.and_then(|value| String::from_utf8(value).ok()).unwrap_or_default();
        let password = given.split_once(':').map_or("", |(_, password)| password);
        // Of digests, so that the time it takes tells nothing.
        match Sha256::digest(password) == Sha256::digest(&access.token) {
            true => Ok(()),
            false => Err(Refusal::unauthorized()),
        }
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Refusal> {
        let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
        let host = host.unwrap_or_default().to_owned();
        let route = Route::parse(request.uri().path()).ok_or_else(Refusal::no_such_path)?;
        let Route { name, target } = route;
        let method = request.method().clone();
        let read = method == Method::GET || method == Method::HEAD;
        let repository = Reference::parse(&format!("{host}/{name}"));
        let repository = repository.map_err(|err| Refusal::name(&name, &err.to_string()));
        match target {
            Target::Base if read => Ok(document(&serde_json::json!({}))),
            Target::Catalog if read => Ok(self.catalog(&host)),
            Target::Tags if read => self.tags(&repository?, &name, request.uri().query()).await,
            Target::Manifest(reference) if read => self.manifest(&repository?, &reference).await,
            Target::Manifest(reference) if method == Method::PUT => {
                self.put_manifest(&repository?, &name, &reference, request).await
            }
            Target::Blob(digest) if read => self.blob(&digest, request.headers()).await,
            Target::Uploads if method == Method::POST => {
                repository?;
                self.begin(&name, request).await
            }
            Target::Upload(id) => {
                repository?;
                self.upload(&name, &id, request).await
            }
            _ => Err(Refusal::unsupported()),
        }
    }
}

/// 200 and a document.
fn document(of: &impl serde::Serialize) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(of).unwrap_or_default()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A head with these headers and no body.
fn head(status: StatusCode, headers: &[(&'static str, String)]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    response
}
