//! Blobs of the registry, and uploads on their way to be some.

use super::refusal::Refusal;
use super::{Registry, head};
use crate::query::Query;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use image::Digest;

impl Registry {
    pub(super) async fn blob(
        &self,
        digest: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Refusal> {
        let digest = Digest::parse(digest).ok_or_else(Refusal::digest)?;
        let store = self.engine.image_store();
        let size = store.blob_size(&digest).await?.ok_or_else(Refusal::no_blob)?;
        let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
        let (status, from, until) = match wanted.and_then(|text| text.strip_prefix("bytes=")) {
            None => (StatusCode::OK, 0, size),
            Some(text) => {
                let (from, until) = range(text, size).ok_or_else(Refusal::range)?;
                (StatusCode::PARTIAL_CONTENT, from, until)
            }
        };
        let bytes = store.blob(&digest, from, until - from).await?;
        let mut response = head(
            status,
            &[
                ("Content-Type", "application/octet-stream".to_owned()),
                ("Content-Length", (until - from).to_string()),
                ("Docker-Content-Digest", digest.to_string()),
                ("Accept-Ranges", "bytes".to_owned()),
            ],
        );
        if status == StatusCode::PARTIAL_CONTENT
            && let Ok(range) = format!("bytes {from}-{}/{size}", until - 1).parse()
        {
            response.headers_mut().insert(header::CONTENT_RANGE, range);
        }
        *response.body_mut() = Body::from_stream(bytes.ok_or_else(Refusal::no_blob)?);
        Ok(response)
    }

    /// A new upload: empty, in one piece, or none at all because the blob is here.
    pub(super) async fn begin(
        &self,
        name: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let store = self.engine.image_store();
        let query = Query::parse(request.uri().query().unwrap_or_default());
        // All repositories are one client's: whoever may push to one may read all.
        if let Some(digest) = Digest::parse(query.get("mount"))
            && store.expect_blob(&digest)
        {
            return Ok(created(name, &digest));
        }
        let id = store.begin_upload().await?;
        match query.text("digest") {
            None => Ok(accepted(name, &id, 0)),
            Some(digest) => self.finish(name, &id, &digest, request).await,
        }
    }

    pub(super) async fn upload(
        &self,
        name: &str,
        id: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let store = self.engine.image_store();
        match *request.method() {
            Method::GET | Method::HEAD => {
                let have = store.upload_size(id).await?;
                let mut response = accepted(name, id, have);
                *response.status_mut() = StatusCode::NO_CONTENT;
                response.headers_mut().remove(header::CONTENT_LENGTH);
                Ok(response)
            }
            Method::PATCH => {
                let from = begins_at(request.headers())?;
                let chunk = request.into_body().into_data_stream();
                let have = store.append_upload(id, from, chunk).await?;
                Ok(accepted(name, id, have))
            }
            Method::PUT => {
                let query = Query::parse(request.uri().query().unwrap_or_default());
                let digest = query.get("digest").to_owned();
                self.finish(name, id, &digest, request).await
            }
            Method::DELETE => {
                store.cancel_upload(id).await?;
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NO_CONTENT;
                Ok(response)
            }
            _ => Err(Refusal::unsupported()),
        }
    }

    async fn finish(
        &self,
        name: &str,
        id: &str,
        digest: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let digest = Digest::parse(digest).ok_or_else(Refusal::digest)?;
        let store = self.engine.image_store();
        let from = begins_at(request.headers())?;
        store.append_upload(id, from, request.into_body().into_data_stream()).await?;
        store.finish_upload(id, &digest).await?;
        Ok(created(name, &digest))
    }
}

/// `a-b`, `a-` or `-n` of `size` bytes, as where it begins and where it has ended.
fn range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (from, last) = text.split_once('-')?;
    let (from, until) = match (from, last) {
        ("", last) => (size.saturating_sub(last.parse().ok()?), size),
        (from, "") => (from.parse().ok()?, size),
        (from, last) => (from.parse().ok()?, last.parse::<u64>().ok()?.saturating_add(1).min(size)),
    };
    (from < until).then_some((from, until))
}

/// Where a chunk says that it begins.
fn begins_at(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(text) = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok())
    else {
        return Ok(None);
    };
    let begin = text.trim_start_matches("bytes").trim().split_once('-').map(|(from, _)| from);
    let begin = begin.and_then(|from| from.parse().ok());
    begin.map(Some).ok_or_else(Refusal::range)
}

fn accepted(name: &str, id: &str, have: u64) -> Response<Body> {
    head(
        StatusCode::ACCEPTED,
        &[
            ("Location", format!("/v2/{name}/blobs/uploads/{id}")),
            ("Range", format!("0-{}", have.saturating_sub(1))),
            ("Docker-Upload-UUID", id.to_owned()),
        ],
    )
}

fn created(name: &str, digest: &Digest) -> Response<Body> {
    head(
        StatusCode::CREATED,
        &[
            ("Location", format!("/v2/{name}/blobs/{digest}")),
            ("Docker-Content-Digest", digest.to_string()),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_blob() {
        for (text, expected) in [
            ("0-0", Some((0, 1))),
            ("5-", Some((5, 10))),
            ("5-99", Some((5, 10))),
            ("-3", Some((7, 10))),
            ("10-", None),
            ("7-6", None),
            ("x-1", None),
            ("", None),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
    }
}
