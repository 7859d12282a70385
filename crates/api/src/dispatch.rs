//! From a request's head to its handler: version, route, the headers that every reply has, and panics.

use crate::context::{App, Context};
use crate::failure::Failure;
use crate::path::{Route, route};
use crate::socket::Peer;
use crate::swarm::elsewhere::to_its_node;
use crate::swarm::forward::to_a_manager;
use crate::version::ApiVersion;
use crate::{
    build, configs, containers, distribution, events, exec, images, networks, nodes, plugins,
    registry, secrets, services, session, spread, swarm, system, tasks, volumes,
};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use engine::Error;
use std::convert::Infallible;
use tower::Service;

const SERVER: &str = concat!("Sampan/", env!("CARGO_PKG_VERSION"), " (linux)");

/// Every operation of the API.
pub(crate) fn routes(app: App) -> Router {
    let none = || async { Failure::page_not_found() };
    let managers = Router::new()
        .merge(swarm::manager_routes())
        .merge(nodes::manager_routes())
        .merge(services::manager_routes())
        .merge(tasks::manager_routes())
        .merge(secrets::manager_routes())
        .merge(configs::manager_routes())
        .merge(swarm::insight::manager_routes(app.clone()))
        .route_layer(from_fn_with_state(app.clone(), to_a_manager));
    let containers = containers::routes()
        .merge(exec::routes())
        .route_layer(from_fn_with_state(app.clone(), to_its_node));
    Router::new()
        .merge(system::routes())
        .merge(events::routes())
        .merge(containers)
        .merge(images::routes())
        .merge(build::routes())
        .merge(distribution::routes())
        .merge(networks::routes())
        .merge(volumes::routes())
        .merge(plugins::routes())
        .merge(session::routes())
        .merge(swarm::routes())
        .merge(swarm::insight::routes())
        .merge(spread::routes())
        .merge(registry::access::routes())
        .merge(managers)
        .fallback(none)
        // dockerd answers a wrong method as it answers a wrong path.
        .method_not_allowed_fallback(none)
        .with_state(app)
}

/// Whose request it is.
#[derive(Clone)]
pub(crate) enum Origin {
    Client(Peer),
    /// Another node sent it on.
    Node,
}

/// Answers one request. The handler runs on a task of its own: a client that leaves does not stop it half
/// way, and its panic costs one reply.
pub(crate) async fn dispatch(
    app: App,
    routes: Router,
    origin: Origin,
    request: Request<Body>,
) -> Result<Response, Infallible> {
    tracing::debug!("calling {} {}", request.method(), request.uri());
    let call = app.tasks.spawn(handle(app.clone(), routes, origin, request));
    let mut response = call.await.unwrap_or_else(|err| {
        tracing::error!("a handler failed: {err}");
        Failure::from(Error::system("internal error: the request's handler panicked"))
            .into_response()
    });
    let headers = response.headers_mut();
    // A wrong method is a wrong path to dockerd; its answer does not tell them apart.
    headers.remove(header::ALLOW);
    headers.insert("Api-Version", version_header());
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert(header::SERVER, HeaderValue::from_static(SERVER));
    Ok(response)
}

fn version_header() -> HeaderValue {
    HeaderValue::from_str(&ApiVersion::MAX.to_string())
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

async fn handle(
    app: App,
    mut routes: Router,
    origin: Origin,
    mut request: Request<Body>,
) -> Response {
    let Route { version, path } = route(request.uri().path());
    let version = match version.unwrap_or(ApiVersion::MAX).check() {
        Ok(version) => version,
        Err(err) => return Failure::from(err).into_response(),
    };
    let Some(uri) = rewritten(request.uri(), &path) else {
        return Failure::page_not_found().into_response();
    };
    *request.uri_mut() = uri;
    let forwarded = matches!(origin, Origin::Node);
    let peer = match origin {
        Origin::Client(peer) => Some(peer),
        Origin::Node => None,
    };
    request.extensions_mut().insert(Context { version, peer, stop: app.stop, forwarded });
    let Ok(response) = routes.call(request).await;
    response
}

fn rewritten(uri: &Uri, path: &str) -> Option<Uri> {
    let path = if path.is_empty() { "/" } else { path };
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().ok(),
        None => path.parse().ok(),
    }
}
