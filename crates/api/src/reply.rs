//! Replies: JSON documents, live streams, archives.

use crate::context::Context;
use crate::failure::Reply;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{ByteStream, Error};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use std::io;

pub(crate) const JSON: &str = "application/json";
pub(crate) const TAR: &str = "application/x-tar";
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// 200 and a document.
pub(crate) fn json(value: &impl Serialize) -> Reply {
    json_with(StatusCode::OK, value)
}

/// A document, ended by a newline as Go's encoder ends it.
pub(crate) fn json_with(status: StatusCode, value: &impl Serialize) -> Reply {
    let body = line(value).map_err(|err| Error::caused("failed to write the reply", err))?;
    Ok((status, [(header::CONTENT_TYPE, JSON)], Body::from(body)).into_response())
}

/// One JSON document and a newline.
pub(crate) fn line(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut body = serde_json::to_vec(value)?;
    body.push(b'\n');
    Ok(body.into())
}

/// 204.
pub(crate) fn no_content() -> Reply {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A stream that has its own end. Its head leaves at once; a slow client slows the source.
pub(crate) fn stream(content_type: &'static str, bytes: ByteStream) -> Response {
    ([(header::CONTENT_TYPE, content_type)], Body::from_stream(bytes)).into_response()
}

/// A stream that may have no end of its own: it ends, too, when nobody is there to read it.
pub(crate) fn live<S>(content_type: &'static str, context: Context, bytes: S) -> Response
where
    S: Stream<Item = io::Result<Bytes>> + Send + 'static,
{
    stream(content_type, Box::pin(bytes.take_until(context.over())))
}

/// Documents, one per line, as they come.
pub(crate) fn live_json<T, S>(context: Context, values: S) -> Response
where
    T: Serialize,
    S: Stream<Item = T> + Send + 'static,
{
    live(JSON, context, values.map(|value| line(&value).map_err(io::Error::other)))
}

/// 200 without a body.
pub(crate) fn empty() -> Reply {
    Ok(StatusCode::OK.into_response())
}
