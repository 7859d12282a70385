//! Manifests and tags of the registry.

use super::refusal::Refusal;
use super::{Registry, document, head};
use crate::query::Query;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, StatusCode};
use image::{Digest, PullOptions, Reference};
use serde_json::json;

/// Above any manifest: registries refuse beyond 4 MiB.
const LARGEST: usize = 4 << 20;
/// Progress that nobody looks at.
const PROGRESS: usize = 16;

impl Registry {
    pub(super) async fn manifest(
        &self,
        repository: &Reference,
        reference: &str,
    ) -> Result<Response<Body>, Refusal> {
        let wanted = named(repository, reference).ok_or_else(|| Refusal::no_manifest(reference))?;
        let store = self.engine.image_store();
        let is_newer_elsewhere = wanted.tag().is_some() && store.is_newer_elsewhere(&wanted).await;
        let mut found = store.hosted(&wanted).await?;
        if found.is_none() || is_newer_elsewhere {
            self.fetch(&wanted).await?;
            found = store.hosted(&wanted).await?;
        }
        let found = found.ok_or_else(|| Refusal::no_manifest(reference))?;
        let mut response = head(
            StatusCode::OK,
            &[
                ("Content-Type", found.media_type),
                ("Content-Length", found.bytes.len().to_string()),
                ("Docker-Content-Digest", found.digest.to_string()),
            ],
        );
        *response.body_mut() = Body::from(found.bytes);
        Ok(response)
    }

    /// Another node may have it.
    async fn fetch(&self, wanted: &Reference) -> Result<(), Refusal> {
        let (progress, mut unread) = tokio::sync::mpsc::channel(PROGRESS);
        let store = self.engine.image_store();
        let fetch = async {
            let fetched = store.fetch(wanted, &PullOptions::default(), &progress).await;
            drop(progress);
            fetched
        };
        let reader = async { while unread.recv().await.is_some() {} };
        let (fetched, ()) = tokio::join!(fetch, reader);
        fetched?;
        Ok(())
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &Reference,
        name: &str,
        reference: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let named = named(repository, reference).ok_or_else(|| Refusal::tag(reference))?;
        let bytes = to_bytes(request.into_body(), LARGEST).await;
        let bytes = bytes.map_err(|_| Refusal::too_large())?;
        let digest = self.engine.image_store().host(&named, bytes).await?;
        if named.tag().is_some() {
            self.copy(&named).await;
        }
        Ok(head(
            StatusCode::CREATED,
            &[
                ("Location", format!("/v2/{name}/manifests/{digest}")),
                ("Docker-Content-Digest", digest.to_string()),
            ],
        ))
    }

    /// As many copies as there are nodes for: what was pushed is here in any case.
    async fn copy(&self, named: &Reference) {
        let (progress, mut unread) = tokio::sync::mpsc::channel(PROGRESS);
        let store = self.engine.image_store();
        let spread = async {
            let copies = store.spread(&named.to_string(), self.options.copies, &progress).await;
            drop(progress);
            copies
        };
        let reader = async { while unread.recv().await.is_some() {} };
        let (copies, ()) = tokio::join!(spread, reader);
        if let Err(err) = copies {
            tracing::info!(image = %named, "pushed: {}", errdefs::chain(&err));
        }
    }

    pub(super) async fn tags(
        &self,
        repository: &Reference,
        name: &str,
        query: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let query = Query::parse(query.unwrap_or_default());
        let mut tags = self.engine.image_store().tags_in_cluster(repository).await;
        if tags.is_empty() {
            return Err(Refusal::no_repository(name));
        }
        if let Some(last) = query.text("last") {
            tags.retain(|tag| *tag > last);
        }
        if let Ok(count) = query.get("n").parse() {
            tags.truncate(count);
        }
        Ok(document(&json!({ "name": name, "tags": tags })))
    }

    pub(super) fn catalog(&self, host: &str) -> Response<Body> {
        let repositories = self.engine.image_store().hosted_repositories(host);
        document(&json!({ "repositories": repositories }))
    }
}

/// A repository with a tag or a digest.
fn named(repository: &Reference, reference: &str) -> Option<Reference> {
    match Digest::parse(reference) {
        Some(digest) => Some(repository.with_digest(&digest)),
        None => repository.with_tag(reference).ok(),
    }
}
