//! `/containers/{id}/exec` and `/exec/…`.

use crate::body::Document;
use crate::context::{App, Context};
use crate::failure::Reply;
use crate::hijack::Hijack;
use crate::query::Query;
use crate::reply;
use crate::version::ApiVersion;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use engine::{Error, ExecStart};
use errdefs::{Classify, ErrorKind};
use serde::Deserialize;
use serde_json::json;
use types::container::ExecConfig;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/containers/{id}/exec", post(create))
        .route("/exec/{id}/start", post(start))
        .route("/exec/{id}/resize", post(resize))
        .route("/exec/{id}/json", get(inspect))
}

async fn create(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    body: Document,
) -> Reply {
    let mut config: ExecConfig = body.read()?;
    if config.cmd.as_ref().is_none_or(Vec::is_empty) {
        return Err(Error::invalid("No exec command specified").into());
    }
    if context.version < ApiVersion(1, 42) {
        config.console_size = None;
    }
    let exec = app.engine.exec_create(&id, config).await?;
    reply::json_with(StatusCode::CREATED, &json!({ "Id": exec }))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct StartBody {
    detach: bool,
    tty: bool,
    console_size: Option<[u64; 2]>,
}

async fn start(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    hijack: Hijack,
    body: Document,
) -> Reply {
    let StartBody { detach, tty, console_size } = body.read()?;
    let console_size = console_size.filter(|_| tty && context.version >= ApiVersion(1, 42));
    match app.engine.exec_start(&id, ExecStart { detach, tty, console_size }).await {
        Ok(Some(session)) => Ok(hijack.serve(session)),
        Ok(None) => reply::empty(),
        // What the runtime refused is told in the stream: the CLI shows it from there, and asks for the
        // exit code afterwards.
        Err(err) if !detach && !is_refusal(&err) => Ok(hijack.fail(tty, &errdefs::chain(&err))),
        Err(err) => Err(err.into()),
    }
}

/// Whether an exec was refused before anything was tried: it is unknown, or its container does not run.
fn is_refusal(err: &Error) -> bool {
    matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Conflict)
}

async fn resize(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let (rows, columns) = query.terminal_size()?;
    app.engine.exec_resize(&id, rows, columns).await?;
    reply::empty()
}

async fn inspect(State(app): State<App>, Path(id): Path<String>) -> Reply {
    reply::json(&app.engine.exec_inspect(&id).await?)
}
