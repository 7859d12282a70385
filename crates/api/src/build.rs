//! `/build`, `/build/prune`, `/build/cancel`.

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::version::ApiVersion;
use crate::{body, images, reply};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{BuildOptions, Error};
use futures_util::stream;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/build", post(build))
        .route("/build/prune", post(prune))
        .route("/build/cancel", post(cancel))
}

async fn build(
    State(app): State<App>,
    context: Context,
    query: Query,
    headers: HeaderMap,
    tar: Body,
) -> Reply {
    let mut options = options(&query, context.version)?;
    options.auth = images::header_json(&headers, "X-Registry-Config").unwrap_or_default();
    options.secrets = secrets(&headers)?;
    let messages = app.engine.image_build(options, body::reader(tar)).await?;
    let messages =
        stream::unfold(messages, async |mut messages| Some((messages.recv().await?, messages)));
    Ok(reply::live_json(context, messages))
}

fn options(query: &Query, version: ApiVersion) -> Result<BuildOptions, Error> {
    if query.text("securityopt").is_some() {
        return Err(Error::invalid("security options are not supported on linux"));
    }
    if query.flag("squash") {
        return Err(Error::invalid("squash is only supported with experimental mode"));
    }
    match query.get("version") {
        "" | "1" => {}
        // A context that comes with the request is built all the same; one that waits in a session is not.
        "2" if query.get("remote") != "client-session" => {}
        "2" => {
            return Err(Error::not_implemented(
                "BuildKit is not part of this engine: build with DOCKER_BUILDKIT=0",
            ));
        }
        other => return Err(Error::invalid(format!("invalid version {other:?}"))),
    }
    let text = |name| query.get(name).to_owned();
    Ok(BuildOptions {
        tags: query.all("t"),
        dockerfile: text("dockerfile"),
        remote: text("remote"),
        quiet: query.flag("q"),
        no_cache: query.flag("nocache"),
        pull: query.flag("pull"),
        remove: query.flag("forcerm") || query.text("rm").is_none() || query.flag("rm"),
        force_remove: query.flag("forcerm"),
        build_args: document(query, "buildargs", "error reading build args")?,
        labels: document(query, "labels", "error reading labels")?,
        target: text("target"),
        platform: query
            .text("platform")
            .filter(|_| version >= ApiVersion(1, 32))
            .unwrap_or_default(),
        cache_from: document(query, "cachefrom", "error reading cache-from")?,
        network_mode: text("networkmode"),
        extra_hosts: query.all("extrahosts"),
        memory: query.number_or_zero("memory"),
        memory_swap: query.number_or_zero("memswap"),
        cpu_shares: query.number_or_zero("cpushares"),
        cpu_period: query.number_or_zero("cpuperiod"),
        cpu_quota: query.number_or_zero("cpuquota"),
        cpuset_cpus: text("cpusetcpus"),
        cpuset_mems: text("cpusetmems"),
        cgroup_parent: text("cgroupparent"),
        shm_size: query.number("shmsize")?.unwrap_or(0),
        ulimits: document(query, "ulimits", "error reading ulimit settings")?,
        ..BuildOptions::default()
    })
}

/// `X-Build-Secrets`: our client's way to send what `RUN --mount=type=secret` asks for, as base64 of JSON from ids
/// to contents in base64. Docker's clients have a BuildKit session for it and never send the header.
fn secrets(headers: &HeaderMap) -> Result<BTreeMap<String, Vec<u8>>, Error> {
    const NAME: &str = "X-Build-Secrets";
    if !headers.contains_key(NAME) {
        return Ok(BTreeMap::new());
    }
    let invalid = || Error::invalid("error reading build secrets");
    let sent: BTreeMap<String, String> = images::header_json(headers, NAME).ok_or_else(invalid)?;
    let decoded = sent.into_iter().map(|(id, text)| match STANDARD.decode(text) {
        Ok(content) => Ok((id, content)),
        Err(_) => Err(invalid()),
    });
    decoded.collect()
}

/// A parameter that is JSON.
fn document<T: DeserializeOwned + Default>(
    query: &Query,
    name: &str,
    failing: &str,
) -> Result<T, Error> {
    let Some(text) = query.text(name) else { return Ok(T::default()) };
    types::json::from_slice(text.as_bytes())
        .map_err(|err| Error::invalid(format!("{failing}: {err}")))
}

async fn prune(State(app): State<App>, query: Query) -> Reply {
    let filters = query.filters()?;
    let known = ["until", "id", "parent", "type", "description", "inuse", "shared", "private"];
    filters.validate(&known).map_err(|err| err.context("failed to prune build cache"))?;
    for size in ["keep-storage", "reserved-space", "max-used-space", "min-free-space"] {
        if let Some(text) = query.text(size).filter(|text| text.parse::<i64>().is_err()) {
            let text =
                format!("{size} is in bytes and expects an integer, got {text}: invalid syntax");
            return Err(Error::invalid(text).into());
        }
    }
    let freed = app.engine.build_prune().await?;
    reply::json(&json!({ "CachesDeleted": null, "SpaceReclaimed": freed }))
}

/// Builds are cancelled by leaving; only BuildKit's have ids. One that does not run is cancelled, as in dockerd.
async fn cancel(query: Query) -> Reply {
    match query.get("id") {
        "" => Err(Error::invalid("build ID not provided").into()),
        _ => Ok(StatusCode::OK.into_response()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_options_and_bad_json_is_refused() {
        let query = Query::parse(
            "t=a&t=b&rm=0&buildargs=%7B%22A%22%3Anull%7D&cachefrom=%5B%22x%22%5D&memory=5",
        );
        let got = options(&query, ApiVersion::MAX).unwrap();
        assert_eq!(
            (got.tags, got.remove, got.memory),
            (vec!["a".to_owned(), "b".to_owned()], false, 5)
        );
        assert_eq!((got.build_args.get("A"), got.cache_from), (Some(&None), vec!["x".to_owned()]));
        assert!(options(&Query::default(), ApiVersion::MAX).unwrap().remove);
        let refused = options(&Query::parse("labels=x"), ApiVersion::MAX).unwrap_err().to_string();
        assert!(refused.starts_with("error reading labels: "), "{refused}");
    }
}
