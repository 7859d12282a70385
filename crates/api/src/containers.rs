//! `/containers/…`, and `/commit`.

mod adapt;
mod archive;

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::hijack::Hijack;
use crate::query::Query;
use crate::version::ApiVersion;
use crate::{reply, websocket};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{any, delete, get, head, post};
use engine::{
    AttachOptions, CommitOptions, Error, ListOptions, LogsOptions, RemoveOptions, StatsOptions,
    StopOptions, UpdateRequest, WaitCondition,
};
use futures_util::stream;
use serde_json::json;
use std::io;
use types::container::{Config, CreateExtras, CreateRequest};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/containers/json", get(list))
        .route("/containers/create", post(create))
        .route("/containers/prune", post(prune))
        .route("/containers/{id}", delete(remove))
        .route("/containers/{id}/{alias}", delete(remove_link))
        .route("/containers/{id}/json", get(inspect))
        .route("/containers/{id}/top", get(top))
        .route("/containers/{id}/logs", get(logs))
        .route("/containers/{id}/changes", get(changes))
        .route("/containers/{id}/export", get(archive::export))
        .route("/containers/{id}/stats", get(stats))
        .route("/containers/{id}/resize", post(resize))
        .route("/containers/{id}/start", post(start))
        .route("/containers/{id}/stop", post(stop))
        .route("/containers/{id}/restart", post(restart))
        .route("/containers/{id}/kill", post(kill))
        .route("/containers/{id}/update", post(update))
        .route("/containers/{id}/rename", post(rename))
        .route("/containers/{id}/pause", post(pause))
        .route("/containers/{id}/unpause", post(unpause))
        .route("/containers/{id}/attach", post(attach))
        .route("/containers/{id}/attach/ws", get(websocket::attach))
        .route("/containers/{id}/wait", post(wait))
        .route("/containers/{id}/archive", head(archive::stat).get(archive::get).put(archive::put))
        .route("/containers/{id}/checkpoints", any(checkpoints))
        .route("/containers/{id}/checkpoints/{checkpoint}", delete(checkpoints))
        .route("/commit", post(commit))
}

async fn list(State(app): State<App>, query: Query) -> Reply {
    let limit = query.number::<i64>("limit")?.unwrap_or(0);
    let mut filters = query.filters()?;
    for (old, new) in [("since", "since"), ("before", "before")] {
        if let Some(name) = query.text(old) {
            filters.add(new, &name);
        }
    }
    let options = ListOptions {
        all: query.flag("all"),
        limit: usize::try_from(limit).unwrap_or(0),
        size: query.flag("size"),
        filters,
    };
    reply::json(&app.engine.container_list(options).await?)
}

async fn create(State(app): State<App>, context: Context, query: Query, body: Document) -> Reply {
    if body.is_empty() {
        return Err(Error::invalid("invalid JSON: got EOF while reading request body").into());
    }
    if !adapt::names_a_config(&body.read()?) {
        return Err(Error::invalid("config cannot be empty in order to create a container").into());
    }
    let config: Config = body.read()?;
    let extras: CreateExtras = body.read()?;
    let mut request = CreateRequest {
        name: query.text("name").map(|name| name.trim_start_matches('/').to_owned()),
        platform: query.text("platform"),
        config,
        host_config: extras.host_config.unwrap_or_default(),
        networking_config: extras.networking_config.unwrap_or_default(),
    };
    adapt::check_endpoints(&request, context.version)?;
    adapt::create(&mut request, context.version);
    let created = app.engine.container_create(request).await?;
    reply::json_with(StatusCode::CREATED, &created)
}

async fn prune(State(app): State<App>, query: Query) -> Reply {
    let (removed, freed) = app.engine.container_prune(query.filters()?).await?;
    reply::json(
        &json!({ "ContainersDeleted": (!removed.is_empty()).then_some(removed), "SpaceReclaimed": freed }),
    )
}

async fn remove(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let options = RemoveOptions {
        force: query.flag("force"),
        volumes: query.flag("v"),
        link: query.flag("link"),
    };
    app.engine.container_remove(&id, options).await?;
    reply::no_content()
}

async fn remove_link(
    State(app): State<App>,
    Path((id, alias)): Path<(String, String)>,
    query: Query,
) -> Reply {
    if !query.flag("link") {
        return Err(Error::no_such_container(&format!("{id}/{alias}")).into());
    }
    app.engine.container_unlink(&id, &alias).await?;
    reply::no_content()
}

async fn inspect(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    let mut container = app.engine.container_inspect(&id, query.flag("size")).await?;
    adapt::inspect(&mut container, context.version);
    if context.version >= ApiVersion(1, 42) {
        return reply::json(&container);
    }
    let mut old = serde_json::to_value(&container)
        .map_err(|err| Error::caused("failed to write the reply", err))?;
    old["HostConfig"]["KernelMemory"] = json!(0);
    old["HostConfig"]["KernelMemoryTCP"] = json!(0);
    reply::json(&old)
}

/// CRIU's checkpoints: Docker has them as an experiment only.
async fn checkpoints() -> Reply {
    Err(Error::not_implemented(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    )
    .into())
}

async fn top(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    reply::json(&app.engine.container_top(&id, query.get("ps_args")).await?)
}

async fn logs(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: Query,
) -> Reply {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream").into());
    }
    let options = LogsOptions {
        follow: query.flag("follow"),
        stdout,
        stderr,
        since: query.timestamp("since")?,
        until: query.until()?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        // `all`, and whatever else is no number, is everything.
        tail: query.get("tail").parse().ok(),
        joined: reads_headers(&headers),
    };
    let (bytes, tty) = app.engine.container_logs(&id, options).await?;
    let multiplexed = !tty && context.version >= ApiVersion(1, 42);
    Ok(reply::live(if multiplexed { reply::MULTIPLEXED } else { reply::RAW }, context, bytes))
}

/// Whether this is a client that is known to read frames by their headers: the docker CLI, for which a header and a write
/// for each line are most of the work. Others (Portainer) take every line for a frame.
fn reads_headers(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    agent.is_some_and(|agent| agent.starts_with("Docker-Client/"))
}

async fn changes(State(app): State<App>, Path(id): Path<String>) -> Reply {
    let changes = app.engine.container_changes(&id).await?;
    reply::json(&(!changes.is_empty()).then_some(changes))
}

async fn stats(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    let options = StatsOptions {
        stream: query.flag_or("stream", true),
        one_shot: query.flag("one-shot") && context.version >= ApiVersion(1, 41),
    };
    let bytes = app.engine.container_stats(&id, options).await?;
    Ok(reply::live(reply::JSON, context, bytes))
}

async fn resize(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let (rows, columns) = query.terminal_size()?;
    app.engine.container_resize(&id, rows, columns).await?;
    reply::empty()
}

async fn start(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    headers: HeaderMap,
) -> Reply {
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Old clients send `null` or `{}`.
    if length.unwrap_or(0) > 7 || headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Error::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24",
        )
        .into());
    }
    if query.text("checkpoint").is_some() {
        return Err(Error::invalid("checkpoint is only supported in experimental mode").into());
    }
    app.engine.container_start(&id).await?;
    reply::no_content()
}

fn stop_options(query: &Query, version: ApiVersion) -> Result<StopOptions, Error> {
    let signal = query.text("signal").filter(|_| version >= ApiVersion(1, 42));
    Ok(StopOptions { timeout: query.number("t")?, signal })
}

async fn stop(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    app.engine.container_stop(&id, stop_options(&query, context.version)?).await?;
    reply::no_content()
}

async fn restart(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    app.engine.container_restart(&id, stop_options(&query, context.version)?).await?;
    reply::no_content()
}

async fn kill(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let killed = app.engine.container_kill(&id, query.get("signal")).await;
    killed.map_err(|err| err.context(format!("cannot kill container: {id}")))?;
    reply::no_content()
}

async fn update(State(app): State<App>, Path(id): Path<String>, body: Document) -> Reply {
    let request: UpdateRequest = body.read()?;
    reply::json(&app.engine.container_update(&id, request).await?)
}

async fn rename(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    app.engine.container_rename(&id, query.get("name")).await?;
    reply::no_content()
}

async fn pause(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.engine.container_pause(&id).await?;
    reply::no_content()
}

async fn unpause(State(app): State<App>, Path(id): Path<String>) -> Reply {
    app.engine.container_unpause(&id).await?;
    reply::no_content()
}

/// What both kinds of attach ask for.
pub(crate) fn attach_options(query: &Query) -> AttachOptions {
    AttachOptions {
        stream: query.flag("stream"),
        logs: query.flag("logs"),
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        stderr: query.flag("stderr"),
        detach_keys: query.text("detachKeys"),
    }
}

async fn attach(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    hijack: Hijack,
) -> Reply {
    let session = app.engine.container_attach(&id, attach_options(&query)).await?;
    Ok(hijack.serve(session))
}

/// The head leaves before the container exits: the CLI starts the container only when it has seen it.
async fn wait(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    let old = context.version < ApiVersion(1, 30);
    let asked = if old { "" } else { query.get("condition") };
    let condition = WaitCondition::parse(asked)
        .ok_or_else(|| Error::invalid(format!("invalid condition: {asked:?}")))?;
    let exit = app.engine.container_wait(&id, condition).await?;
    if old {
        return reply::json(&exit.await);
    }
    let body = stream::once(async move { reply::line(&exit.await).map_err(io::Error::other) });
    Ok(reply::live(reply::JSON, context, body))
}

async fn commit(State(app): State<App>, query: Query, body: Document) -> Reply {
    let config = if body.is_empty() { None } else { Some(body.read::<Config>()?) };
    let options = CommitOptions {
        container: query.get("container").to_owned(),
        repo: query.get("repo").to_owned(),
        tag: query.get("tag").to_owned(),
        comment: query.get("comment").to_owned(),
        author: query.get("author").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes"),
        config,
    };
    let id = app.engine.container_commit(options).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": id }))
}
