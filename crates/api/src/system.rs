//! `/_ping`, `/version`, `/info`, `/system/df`, `/auth`.

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, Method, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use engine::{DiskUsageOptions, Error};
use serde_json::Value;
use types::image::AuthConfig;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/_ping", get(ping).head(ping))
        .route("/version", get(version))
        .route("/info", get(info))
        .route("/system/df", get(disk_usage))
        .route("/auth", post(auth))
}

/// `Builder-Version: 1` sends clients to the classic builder.
async fn ping(State(app): State<App>, method: Method) -> Reply {
    let swarm = app.cluster.info().await;
    let part = match (swarm.local_node_state.as_str(), swarm.control_available) {
        ("active", true) => "active/manager",
        ("active", false) => "active/worker",
        (other, _) => other,
    };
    let head = [
        (header::CACHE_CONTROL, "no-cache, no-store, must-revalidate"),
        (header::PRAGMA, "no-cache"),
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (HeaderName::from_static("builder-version"), "1"),
        (HeaderName::from_static("swarm"), part),
    ];
    Ok((head, Body::from(if method == Method::HEAD { "" } else { "OK" })).into_response())
}

async fn version(State(app): State<App>) -> Reply {
    reply::json(&app.engine.system_version())
}

async fn info(State(app): State<App>, context: Context) -> Reply {
    let mut info = app.engine.system_info().await;
    info.swarm = app.cluster.info().await;
    if context.version < ApiVersion(1, 49) {
        info.firewall_backend = None;
        for commit in [&mut info.containerd_commit, &mut info.runc_commit, &mut info.init_commit] {
            commit.expected.clone_from(&commit.id);
        }
    }
    if context.version < ApiVersion(1, 25) {
        for option in &mut info.security_options {
            *option = option
                .split(',')
                .next()
                .and_then(|name| name.strip_prefix("name="))
                .unwrap_or(option)
                .to_owned();
        }
    }
    if context.version >= ApiVersion(1, 50) {
        return reply::json(&info);
    }
    let mut old = serde_json::to_value(&info)
        .map_err(|err| Error::caused("failed to write the reply", err))?;
    old["BridgeNfIptables"] = Value::Bool(false);
    old["BridgeNfIp6tables"] = Value::Bool(false);
    reply::json(&old)
}

async fn disk_usage(State(app): State<App>, context: Context, query: Query) -> Reply {
    let types = if context.version < ApiVersion(1, 42) { Vec::new() } else { query.all("type") };
    let everything = types.is_empty();
    let mut wanted = DiskUsageOptions {
        containers: everything,
        images: everything,
        volumes: everything,
        build_cache: everything,
    };
    for kind in types {
        match kind.as_str() {
            "container" => wanted.containers = true,
            "image" => wanted.images = true,
            "volume" => wanted.volumes = true,
            "build-cache" => wanted.build_cache = true,
            unknown => return Err(Error::invalid(format!("unknown object type: {unknown}")).into()),
        }
    }
    let mut usage = app.engine.system_df(wanted).await?;
    if context.version < ApiVersion(1, 42) {
        usage.builder_size = usage.build_cache.iter().flatten().map(|step| step.size).sum();
    }
    if context.version < ApiVersion(1, 44) {
        for image in usage.images.iter_mut().flatten() {
            image.virtual_size = Some(image.size);
        }
    }
    reply::json(&usage)
}

async fn auth(State(app): State<App>, body: Document) -> Reply {
    let auth: AuthConfig = body.read()?;
    reply::json(&app.engine.registry_login(auth).await?)
}
