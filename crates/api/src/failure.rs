//! The one place where a failure becomes a reply.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Error;
use errdefs::{Classify, ErrorKind};

/// A refused request. Handlers return it by `?`.
#[derive(Debug)]
pub(crate) struct Failure(Error);

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Failure(err)
    }
}

impl Failure {
    /// The reply to a path or method that does not exist.
    pub(crate) fn page_not_found() -> Self {
        Failure(Error::not_found("page not found"))
    }
}

impl IntoResponse for Failure {
    /// `{"message": …}` with the status of the error's class; nothing at all for "it is so already".
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind().status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.0.kind() == ErrorKind::NotModified {
            return status.into_response();
        }
        let message = errdefs::chain(&self.0);
        if status.is_server_error() {
            tracing::error!(status = status.as_u16(), "{message}");
        } else {
            tracing::debug!(status = status.as_u16(), "{message}");
        }
        let mut body = serde_json::json!({ "message": message }).to_string();
        body.push('\n');
        (status, [(header::CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
    }
}

/// How a handler ends.
pub(crate) type Reply = Result<Response, Failure>;
