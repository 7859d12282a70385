//! Requests to one repository of one registry: authorised, redirected, retried.

use super::auth::{self, Challenge, Token};
use super::connect::{self, Outgoing};
use super::endpoint::{Endpoint, endpoints};
use super::error::{Cause, RegistryError};
use super::manifest::ACCEPT;
use super::{RegistryConfig, manifest};
use crate::{Digest, Reference};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use types::image::AuthConfig;

const MAX_REDIRECTS: usize = 10;
/// Above any manifest (registries refuse beyond 4 MiB) and any error text.
const MAX_BODY: usize = 16 << 20;
/// dockerd tries a layer five times; waits grow by five seconds there, faster at first here.
pub(crate) const ATTEMPTS: u32 = 5;

/// A repository at the endpoint that answered.
pub(crate) struct Client {
    config: RegistryConfig,
    endpoint: Endpoint,
    repository: Reference,
    credentials: AuthConfig,
    access: Access,
    /// Further repositories that the token must open, for mounts.
    also: Mutex<Vec<String>>,
    authorization: Mutex<Option<String>>,
}

/// What a client means to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Only to show its credentials; no repository is meant.
    Login,
    Pull,
    Push,
}

/// A manifest as the registry sent it.
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    pub(crate) digest: Digest,
}

impl Client {
    /// Finds the first endpoint that speaks the protocol.
    pub(crate) async fn connect(
        config: &RegistryConfig,
        repository: &Reference,
        credentials: &AuthConfig,
        access: Access,
    ) -> Result<Vec<Client>, RegistryError> {
        let mut usable = Vec::new();
        let mut last = None;
        for endpoint in endpoints(config, repository, access == Access::Pull) {
            // Mirrors never see the credentials of the hub.
            let credentials =
                if endpoint.mirror { AuthConfig::default() } else { credentials.clone() };
            let client = Client {
                config: config.clone(),
                endpoint,
                repository: repository.clone(),
                credentials,
                access,
                also: Mutex::default(),
                authorization: Mutex::default(),
            };
            match client.ping().await {
                Ok(()) => {
                    let mirror = client.endpoint.mirror;
                    usable.push(client);
                    if !mirror {
                        return Ok(usable);
                    }
                }
                Err(err) => last = Some(err),
            }
        }
        match last {
            Some(err) if usable.is_empty() => Err(err),
            _ => Ok(usable),
        }
    }

    pub(crate) fn is_mirror(&self) -> bool {
        self.endpoint.mirror
    }

    /// `GET /v2/`; also learns how the registry wants to be greeted.
    async fn ping(&self) -> Result<(), RegistryError> {
        let reply =
            self.once(&self.endpoint, Method::GET, "/v2/", HeaderMap::new(), empty()).await?;
        match reply.status() {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => self.authorize(&reply).await.map(drop),
            status => Err(failure(status, reply, "").await),
        }
    }

    /// Whether the registry takes the credentials.
    pub(crate) async fn login(&self) -> Result<(), RegistryError> {
        let reply = self.request(Method::GET, "/v2/", HeaderMap::new(), empty).await?;
        match reply.status() {
            StatusCode::OK => Ok(()),
            status => Err(RegistryError::Login { url: self.endpoint.url("/v2/"), status }),
        }
    }

    /// Meets the challenge in `reply`; false when it asks for credentials and there are none.
    async fn authorize(&self, reply: &Response<Incoming>) -> Result<bool, RegistryError> {
        let challenges = reply.headers().get_all(header::WWW_AUTHENTICATE);
        let challenge =
            challenges.iter().filter_map(|value| value.to_str().ok()).find_map(Challenge::parse);
        let value = match challenge {
            None => return Ok(true),
            Some(Challenge::Basic) => auth::credentials(&self.credentials)
                .map(|(user, password)| auth::basic(&user, &password)),
            Some(Challenge::Bearer { .. }) if !self.credentials.registrytoken.is_empty() => {
                Some(format!("Bearer {}", self.credentials.registrytoken))
            }
            Some(Challenge::Bearer { realm, service, scope }) => {
                Some(self.token(&realm, &service, &scope).await?)
            }
        };
        let met = value.is_some();
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) = value;
        Ok(met)
    }

    async fn token(
        &self,
        realm: &str,
        service: &str,
        asked: &str,
    ) -> Result<String, RegistryError> {
        let (mut endpoint, path) = Endpoint::parse(realm, self.endpoint.verify)?;
        endpoint.verify |= endpoint.authority != self.endpoint.authority && self.endpoint.verify;
        let mut scopes = match self.access {
            Access::Login => Vec::new(),
            Access::Pull | Access::Push => {
                vec![auth::scope(&self.repository, self.access == Access::Push)]
            }
        };
        scopes.extend(self.also.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        if !asked.is_empty() && !scopes.iter().any(|scope| scope == asked) {
            scopes.push(asked.to_owned());
        }
        let mut headers = HeaderMap::new();
        let identity = &self.credentials.identitytoken;
        let reply = if identity.is_empty() {
            let user = auth::credentials(&self.credentials);
            if let Some((user, password)) = &user
                && let Ok(value) = auth::basic(user, password).parse()
            {
                headers.insert(header::AUTHORIZATION, value);
            }
            let user = user.as_ref().map(|(user, _)| user.as_str());
            let path = auth::token_query(&path, service, &scopes, user);
            self.once(&endpoint, Method::GET, &path, headers, empty()).await?
        } else {
            headers.insert(
                header::CONTENT_TYPE,
                header::HeaderValue::from_static("application/x-www-form-urlencoded"),
            );
            let form = auth::refresh_form(service, &scopes, identity);
            self.once(&endpoint, Method::POST, &path, headers, full(form.into())).await?
        };
        let status = reply.status();
        if status != StatusCode::OK {
            return Err(failure(status, reply, "").await);
        }
        let body = body(reply).await?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|err| RegistryError::Body { status, detail: err.to_string() })?;
        Ok(token.header())
    }

    /// One request to this repository, with a fresh authorisation if the old one was refused, and along
    /// redirects. `body` makes the body anew for each try. Any status is returned.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: impl Fn() -> Outgoing,
    ) -> Result<Response<Incoming>, RegistryError> {
        let (endpoint, path) = self.locate(path)?;
        let mut fresh = false;
        loop {
            let mut sent = headers.clone();
            let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(Ok(value)) = known.map(|value| value.parse())
                && endpoint.authority == self.endpoint.authority
            {
                sent.insert(header::AUTHORIZATION, value);
            }
            let reply = self.follow(&endpoint, method.clone(), &path, sent, &body).await?;
            if reply.status() != StatusCode::UNAUTHORIZED || fresh {
                return Ok(reply);
            }
            if !self.authorize(&reply).await? {
                return Err(request_error(&method, &endpoint, &path, Cause::NoCredentials));
            }
            fresh = true;
        }
    }

    /// A path of the registry, or the full address that it gave us.
    fn locate(&self, path: &str) -> Result<(Endpoint, String), RegistryError> {
        if !path.starts_with("http") {
            return Ok((self.endpoint.clone(), path.to_owned()));
        }
        let (endpoint, path) = Endpoint::parse(path, self.endpoint.verify)?;
        Ok((endpoint, path))
    }

    async fn follow(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: &impl Fn() -> Outgoing,
    ) -> Result<Response<Incoming>, RegistryError> {
        let (mut endpoint, mut path) = (endpoint.clone(), path.to_owned());
        for _ in 0..MAX_REDIRECTS {
            let reply =
                self.once(&endpoint, method.clone(), &path, headers.clone(), body()).await?;
            let safe = method == Method::GET || method == Method::HEAD;
            let location =
                reply.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location.filter(|_| safe && reply.status().is_redirection())
            else {
                return Ok(reply);
            };
            if location.starts_with('/') {
                path = location.to_owned();
                continue;
            }
            let (next, next_path) = Endpoint::parse(location, self.endpoint.verify)?;
            if next.authority != endpoint.authority {
                headers.remove(header::AUTHORIZATION);
            }
            (endpoint, path) = (next, next_path);
        }
        Err(request_error(&method, &endpoint, &path, Cause::Redirects))
    }

    async fn once(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Outgoing,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.headers_mut() = headers;
        let bad = || RegistryError::Address(endpoint.url(path));
        *request.uri_mut() = format!("{}{path}", endpoint.prefix).parse().map_err(|_| bad())?;
        let host = endpoint.authority.parse().map_err(|_| bad())?;
        request.headers_mut().insert(header::HOST, host);
        let agent = header::HeaderValue::from_static(concat!("sampan/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        connect::exchange(endpoint, self.config.certs_dir.as_deref(), request)
            .await
            .map_err(|cause| request_error(&method, endpoint, path, cause))
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.path())
    }

    /// Lets the token also open `path` for reading.
    pub(crate) fn also_pull(&self, path: &str) {
        let scope = format!("repository:{path}:pull");
        self.also.lock().unwrap_or_else(PoisonError::into_inner).push(scope);
    }

    /// The manifest or index called `reference` (a tag or a digest).
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Fetched, RegistryError> {
        retried(|| self.manifest_once(reference)).await
    }

    async fn manifest_once(&self, reference: &str) -> Result<Fetched, RegistryError> {
        let mut headers = HeaderMap::new();
        for kind in ACCEPT {
            headers.append(header::ACCEPT, header::HeaderValue::from_static(kind));
        }
        let path = self.path(&format!("manifests/{reference}"));
        let reply = self.request(Method::GET, &path, headers, empty).await?;
        let status = reply.status();
        if status != StatusCode::OK {
            let separator = if reference.contains(':') { '@' } else { ':' };
            let shown = format!("{}{separator}{reference}", self.repository.familiar_name());
            return Err(self.refusal(status, reply, &shown).await);
        }
        let bytes = body(reply).await?;
        let digest = Digest::of(&bytes);
        match Digest::parse(reference) {
            Some(wanted) if wanted != digest => Err(RegistryError::ManifestDigest(wanted)),
            _ => Ok(Fetched { bytes, digest }),
        }
    }

    /// All tags of the repository.
    pub(crate) async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let path = self.path("tags/list");
        let reply = self.request(Method::GET, &path, HeaderMap::new(), empty).await?;
        let status = reply.status();
        if status != StatusCode::OK {
            return Err(self.refusal(status, reply, &self.repository.familiar_name()).await);
        }
        let tags: Tags = serde_json::from_slice(&body(reply).await?)
            .map_err(|err| RegistryError::Body { status, detail: err.to_string() })?;
        Ok(tags.tags.unwrap_or_default())
    }

    /// Classifies a refusal of this repository.
    pub(crate) async fn refusal(
        &self,
        status: StatusCode,
        reply: Response<Incoming>,
        shown: &str,
    ) -> RegistryError {
        match failure(status, reply, shown).await {
            RegistryError::Denied { detail, .. } => RegistryError::Denied {
                push: self.access == Access::Push,
                name: self.repository.familiar_name(),
                detail,
            },
            other => other,
        }
    }
}

/// Runs `work` again after transient failures, with growing waits.
pub(crate) async fn retried<T, F>(mut work: impl FnMut() -> F) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(err) if err.is_transient() && attempt < ATTEMPTS => {
                tracing::debug!(
                    error = errdefs::chain(&err),
                    attempt,
                    "registry request is retried"
                );
                tokio::time::sleep(back_off(attempt)).await;
                attempt += 1;
            }
            done => return done,
        }
    }
}

/// 0.2, 0.4, 0.8, 1.6 s …
pub(crate) fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(100) * 2_u32.saturating_pow(attempt)
}

fn request_error(method: &Method, endpoint: &Endpoint, path: &str, cause: Cause) -> RegistryError {
    // Go's words for the methods: `Get "http://…"`.
    let method = match *method {
        Method::HEAD => "Head",
        Method::POST => "Post",
        Method::PUT => "Put",
        Method::PATCH => "Patch",
        _ => "Get",
    };
    RegistryError::Request { method, url: endpoint.url(path), cause }
}

pub(crate) fn empty() -> Outgoing {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn full(bytes: Bytes) -> Outgoing {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A small reply's body.
pub(crate) async fn body(reply: Response<Incoming>) -> Result<Bytes, RegistryError> {
    let status = reply.status();
    let collected = Limited::new(reply.into_body(), MAX_BODY).collect().await;
    let collected = collected.map_err(|err| RegistryError::Body {
        status: StatusCode::BAD_GATEWAY.max(status),
        detail: err.to_string(),
    })?;
    Ok(collected.to_bytes())
}

/// The registry's error document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failures {
    errors: Vec<Failure>,
    /// Token servers answer with this instead.
    details: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure {
    code: String,
    message: String,
}

/// What a status other than success means, in Docker's words: `code: message`, both lower case as Go's
/// client prints them.
pub(crate) async fn failure(
    status: StatusCode,
    reply: Response<Incoming>,
    shown: &str,
) -> RegistryError {
    let bytes = match body(reply).await {
        Ok(bytes) => bytes,
        Err(err) => return err,
    };
    let failures: Failures = serde_json::from_slice(&bytes).unwrap_or_default();
    let first = failures.errors.first();
    let words = |failure: &Failure| {
        let code = failure.code.to_lowercase().replace('_', " ");
        format!("{code}: {}", failure.message)
    };
    let code = first.map(|failure| failure.code.as_str()).unwrap_or_default();
    let detail = first.map(words).unwrap_or_else(|| failures.details + &failures.message);
    match (status, code) {
        (_, "MANIFEST_UNKNOWN") => {
            RegistryError::ManifestUnknown { name: shown.to_owned(), detail }
        }
        (_, "NAME_UNKNOWN" | "DENIED") | (StatusCode::FORBIDDEN, _) => {
            RegistryError::Denied { push: false, name: shown.to_owned(), detail }
        }
        (StatusCode::UNAUTHORIZED, _) => RegistryError::Unauthorized(match first {
            Some(failure) => failure.message.clone(),
            None => "authentication required".to_owned(),
        }),
        (StatusCode::NOT_FOUND, _) if !shown.is_empty() => {
            let detail = if detail.is_empty() { "manifest unknown".to_owned() } else { detail };
            RegistryError::ManifestUnknown { name: shown.to_owned(), detail }
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            RegistryError::TooManyRequests(match detail.as_str() {
                "" => "toomanyrequests: too many requests".to_owned(),
                detail => detail.replace("too many requests", "toomanyrequests"),
            })
        }
        _ => {
            let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
            RegistryError::Status { status, detail }
        }
    }
}

/// The media type that `bytes` gives itself, or what its shape says.
pub(crate) fn media_type(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
        manifests: Option<serde_json::Value>,
    }
    match serde_json::from_slice(bytes) {
        Ok(Typed { media_type: Some(kind), .. }) => kind,
        Ok(Typed { manifests: Some(_), .. }) => manifest::OCI_INDEX.to_owned(),
        _ => manifest::OCI_MANIFEST.to_owned(),
    }
}
