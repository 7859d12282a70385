//! Files in and out of a container, as tar archives.

use crate::context::App;
use crate::failure::{Failure, Reply};
use crate::query::Query;
use crate::{body, reply};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{ArchiveStat, Error};

const STAT: &str = "X-Docker-Container-Path-Stat";

pub(super) async fn export(State(app): State<App>, Path(id): Path<String>) -> Reply {
    Ok(reply::stream("application/octet-stream", app.engine.container_export(&id).await?))
}

pub(super) async fn stat(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let stat = app.engine.container_archive_stat(&id, path(&query)?).await?;
    with_stat(StatusCode::OK.into_response(), &stat)
}

pub(super) async fn get(State(app): State<App>, Path(id): Path<String>, query: Query) -> Reply {
    let (stat, tar) = app.engine.container_archive_get(&id, path(&query)?).await?;
    with_stat(reply::stream(reply::TAR, tar), &stat)
}

pub(super) async fn put(
    State(app): State<App>,
    Path(id): Path<String>,
    query: Query,
    tar: Body,
) -> Reply {
    let (keep_kind, copy_owner) = (query.flag("noOverwriteDirNonDir"), query.flag("copyUIDGID"));
    let tar = body::reader(tar);
    app.engine.container_archive_put(&id, path(&query)?, keep_kind, copy_owner, tar).await?;
    reply::empty()
}

fn path(query: &Query) -> Result<&str, Error> {
    match query.get("path") {
        // The missing space is dockerd's.
        "" => Err(Error::invalid("bad parameter: pathcannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(mut response: Response, stat: &ArchiveStat) -> Reply {
    let failed = |_| Failure::from(Error::system("failed to describe the path"));
    let json = serde_json::to_vec(stat)
        .map_err(|err| Error::caused("failed to describe the path", err))?;
    let value = HeaderValue::from_str(&STANDARD.encode(json)).map_err(failed)?;
    response.headers_mut().insert(STAT, value);
    Ok(response)
}
