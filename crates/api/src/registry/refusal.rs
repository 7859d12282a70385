//! Refusals in the protocol's form: a code for programs, a sentence for people.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use engine::Error;
use image::Refused;

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, code, message: message.into() }
    }
    pub(super) fn unauthorized() -> Self {
        Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required")
    }
    pub(super) fn no_such_path() -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "404 page not found")
    }
    pub(super) fn unsupported() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Refusal::new(status, "UNSUPPORTED", "The operation is unsupported.")
    }
    pub(super) fn name(name: &str, why: &str) -> Self {
        let message = format!("invalid repository name {name:?}: {why}");
        Refusal::new(StatusCode::BAD_REQUEST, "NAME_INVALID", message)
    }
    pub(super) fn no_repository(name: &str) -> Self {
        let message = format!("repository name not known to registry: {name}");
        Refusal::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message)
    }
    pub(super) fn no_manifest(reference: &str) -> Self {
        let message = format!("manifest unknown: {reference}");
        Refusal::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message)
    }
    pub(super) fn tag(reference: &str) -> Self {
        let message = format!("manifest tag did not match URI: {reference:?}");
        Refusal::new(StatusCode::BAD_REQUEST, "TAG_INVALID", message)
    }
    pub(super) fn too_large() -> Self {
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", "the manifest is too large")
    }
    pub(super) fn digest() -> Self {
        let message = "provided digest did not match uploaded content";
        Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }
    pub(super) fn no_blob() -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    }
    pub(super) fn range() -> Self {
        let message = "the range is not the blob's";
        Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
    }
    /// This node's failure, not the client's.
    pub(super) fn failed(err: Error) -> Self {
        let message = errdefs::chain(&err);
        tracing::error!("the registry failed: {message}");
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", message)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let error = serde_json::json!({ "code": self.code, "message": self.message });
        let document = serde_json::json!({ "errors": [error] }).to_string();
        let mut response = Response::new(Body::from(document));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"sampan\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<image::Error> for Refusal {
    fn from(err: image::Error) -> Self {
        Refusal::failed(Error::from_lower(err))
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::UnknownUpload => {
                Refusal::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", message)
            }
            Refused::Range(_) => {
                let status = StatusCode::RANGE_NOT_SATISFIABLE;
                Refusal::new(status, "BLOB_UPLOAD_INVALID", message)
            }
            Refused::WrongDigest => Refusal::digest(),
            Refused::Manifest(_) => {
                Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
            }
            Refused::UnknownBlob(_) => {
                Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message)
            }
            // What was pushed is not an image, as far as its layers tell.
            Refused::Failed(
                err @ (image::Error::LayerMismatch
                | image::Error::RegisterLayer(_)
                | image::Error::DiffId { .. }),
            ) => Refusal::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", errdefs::chain(&err)),
            Refused::Failed(err) => err.into(),
        }
    }
}
