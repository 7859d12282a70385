//! Push: layers, configuration, manifest. Only what the registry lacks travels; what another of its
//! repositories has is mounted from there.

use super::client::{Access, Client, body, empty, full, retried};
use super::error::RegistryError;
use super::manifest::{self, Descriptor, Manifest};
use crate::arrival::note_source;
use crate::layer::{Blob, Layer};
use crate::store::gc::Lease;
use crate::store::{Image, Inner, blocking};
use crate::{Digest, Error, Progress, ProgressSender, Reference, Result, Store};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use types::image::AuthConfig;

/// As dockerd's `max-concurrent-uploads`.
const PARALLEL: usize = 5;
const CHUNK: usize = 64 * 1024;
const TELL_EVERY: u64 = 512 * 1024;

/// Who pushes.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    pub auth: AuthConfig,
}

impl Store {
    /// Sends the image called `reference`, or without a tag all tags of the repository.
    pub async fn push(
        &self,
        reference: &Reference,
        options: &PushOptions,
        progress: &ProgressSender,
    ) -> Result<()> {
        let images = self.pushed(reference)?;
        let clients =
            Client::connect(&self.0.registry, reference, &options.auth, Access::Push).await?;
        let client = clients.last().ok_or(Error::Cancelled)?;
        let opening = format!("The push refers to repository [{}]", reference.name());
        tell(progress, Progress::status(opening)).await;
        for (name, image) in images {
            let push = Push {
                store: &self.0,
                client,
                name: &name,
                progress,
                lease: &Arc::new(self.0.pins.lease()),
            };
            push.image(&image).await?;
        }
        Ok(())
    }

    fn pushed(&self, reference: &Reference) -> Result<Vec<(Reference, Arc<Image>)>> {
        let index = self.0.index();
        if reference.tag().is_some() || reference.digest().is_some() {
            let id = index.lookup(reference).and_then(|id| index.images.get(id));
            let missing = || RegistryError::NoTag(reference.familiar());
            return Ok(vec![(reference.clone(), id.ok_or_else(missing)?.clone())]);
        }
        let tags = index
            .references
            .iter()
            .filter(|(name, _)| name.same_repository(reference) && name.tag().is_some());
        let all: Vec<_> = tags
            .filter_map(|(name, id)| Some((name.clone(), index.images.get(id)?.clone())))
            .collect();
        match all.is_empty() {
            true => Err(RegistryError::NoImage(reference.familiar_name()).into()),
            false => Ok(all),
        }
    }
}

async fn tell(progress: &ProgressSender, message: Progress) {
    let _nobody_listens = progress.send(message).await;
}

struct Push<'a> {
    store: &'a Arc<Inner>,
    client: &'a Client,
    name: &'a Reference,
    progress: &'a ProgressSender,
    lease: &'a Arc<Lease>,
}

impl Push<'_> {
    async fn image(&self, image: &Image) -> Result<()> {
        image.layers.iter().for_each(|chain| self.lease.pin(chain));
        let layers = self.store.layers_of(image)?;
        for layer in layers.iter().rev() {
            tell(self.progress, Progress::layer(layer.diff_id.short(), "Preparing")).await;
        }
        for layer in layers.iter().rev().skip(PARALLEL) {
            tell(self.progress, Progress::layer(layer.diff_id.short(), "Waiting")).await;
        }
        for source in layers.iter().flat_map(|layer| self.mountable(layer)) {
            self.client.also_pull(&source);
        }
        // Collected: a future that holds the closure would not be known to be Send.
        let work: Vec<_> = layers.iter().map(|layer| self.layer(layer)).collect();
        let blobs: Vec<Blob> =
            futures_util::stream::iter(work).buffered(PARALLEL).try_collect().await?;
        let config = self.config(image).await?;
        self.manifest(config, &blobs).await
    }

    /// Repositories of the same registry that have the layer.
    fn mountable(&self, layer: &Layer) -> Vec<String> {
        let prefix = format!("{}/", self.name.domain());
        let paths = layer.sources.iter().filter_map(|source| source.strip_prefix(&prefix));
        paths.filter(|path| *path != self.name.path()).map(str::to_owned).collect()
    }

    async fn layer(&self, layer: &Arc<Layer>) -> Result<Blob> {
        let short = layer.diff_id.short();
        let blob = self.pushable(layer).await?;
        let done = if self.exists(&blob.digest).await? {
            "Layer already exists".to_owned()
        } else {
            match self.mount(layer, &blob.digest).await? {
                Some(from) => format!("Mounted from {from}"),
                None => {
                    let path = self.store.blob_path(&blob.digest);
                    retried(|| self.upload(&path, &blob, Some(short))).await?;
                    "Pushed".to_owned()
                }
            }
        };
        tell(self.progress, Progress::layer(short, done)).await;
        let (store, chain, repository) =
            (self.store.clone(), layer.chain.clone(), self.name.name());
        blocking(move || store.update_layer(&chain, |layer| note_source(layer, &repository)))
            .await?;
        Ok(blob)
    }

    /// The blob as it travels: as it came, or gzip'd now if it never did.
    async fn pushable(&self, layer: &Arc<Layer>) -> Result<Blob> {
        if let Some(blob) = &layer.blob
            && (blob.media_type != manifest::LAYER_ZSTD || !layer.sources.is_empty())
        {
            return Ok(blob.clone());
        }
        let (store, layer, lease) = (self.store.clone(), layer.clone(), self.lease.clone());
        blocking(move || {
            let blob = store.new_blob()?;
            let mut gzip = flate2::write::GzEncoder::new(blob, flate2::Compression::fast());
            store.write_tar(&layer, &mut gzip)?;
            let blob = gzip.finish().map_err(Error::Stream)?;
            let (digest, size_bytes) = blob.keep(&store, &lease)?;
            let blob = Blob { digest, size_bytes, media_type: manifest::DOCKER_LAYER.to_owned() };
            store.update_layer(&layer.chain, |layer| layer.blob = Some(blob.clone()))?;
            Ok(blob)
        })
        .await
    }

    async fn exists(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let path = self.client.path(&format!("blobs/{digest}"));
        let reply = self.client.request(Method::HEAD, &path, HeaderMap::new(), empty).await?;
        match reply.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(self.client.refusal(status, reply, "").await),
        }
    }

    /// Asks the registry to take the blob from another of its repositories. A refusal only means upload.
    async fn mount(&self, layer: &Layer, digest: &Digest) -> Result<Option<String>, RegistryError> {
        for from in self.mountable(layer) {
            let path = self.client.path(&format!("blobs/uploads/?mount={digest}&from={from}"));
            let reply = self.client.request(Method::POST, &path, length(0), empty).await?;
            if reply.status() == StatusCode::CREATED {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    async fn upload(
        &self,
        file: &std::path::Path,
        blob: &Blob,
        shown: Option<&str>,
    ) -> Result<(), RegistryError> {
        let begin = self.client.path("blobs/uploads/");
        let reply = self.client.request(Method::POST, &begin, length(0), empty).await?;
        let status = reply.status();
        let location = reply
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let Some(location) = location.filter(|_| status == StatusCode::ACCEPTED) else {
            return Err(self.client.refusal(status, reply, "").await);
        };
        let separator = if location.contains('?') { '&' } else { '?' };
        let finish = format!("{location}{separator}digest={}", blob.digest);
        let mut headers = length(blob.size_bytes);
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/octet-stream"),
        );
        let body = || self.stream(file.to_owned(), blob.size_bytes, shown.map(str::to_owned));
        let reply = self.client.request(Method::PUT, &finish, headers, body).await?;
        match reply.status() {
            StatusCode::CREATED => Ok(()),
            status => Err(self.client.refusal(status, reply, "").await),
        }
    }

    /// A blob's file as a request body, with progress.
    fn stream(&self, path: PathBuf, total: u64, shown: Option<String>) -> super::connect::Outgoing {
        struct Reading {
            file: Option<tokio::fs::File>,
            path: PathBuf,
            done: u64,
            told: u64,
        }
        let progress = self.progress.clone();
        let start = Reading { file: None, path, done: 0, told: 0 };
        let chunks = futures_util::stream::try_unfold(start, move |mut at| {
            let (progress, shown) = (progress.clone(), shown.clone());
            async move {
                let file = match &mut at.file {
                    Some(file) => file,
                    none => none.insert(tokio::fs::File::open(&at.path).await?),
                };
                let mut chunk = bytes::BytesMut::with_capacity(CHUNK);
                if file.read_buf(&mut chunk).await? == 0 {
                    return Ok(None);
                }
                at.done += chunk.len() as u64;
                if let Some(id) =
                    shown.filter(|_| at.done >= at.told + TELL_EVERY || at.done == total)
                {
                    at.told = at.done;
                    let _full = progress.try_send(Progress::bytes(id, "Pushing", at.done, total));
                }
                Ok::<_, std::io::Error>(Some((Frame::data(chunk.freeze()), at)))
            }
        });
        StreamBody::new(chunks).boxed_unsync()
    }

    async fn config(&self, image: &Image) -> Result<Descriptor> {
        let digest = Digest::parse(image.id.as_str()).ok_or(Error::LayerMismatch)?;
        let (store, wanted) = (self.store.clone(), digest.clone());
        let document = blocking(move || store.read_blob(&wanted)).await?;
        let size_bytes = document.len() as u64;
        if !self.exists(&digest).await? {
            let path = self.store.blob_path(&digest);
            let blob = Blob { digest: digest.clone(), size_bytes, media_type: String::new() };
            retried(|| self.upload(&path, &blob, None)).await?;
        }
        Ok(Descriptor::new(manifest::DOCKER_CONFIG, digest, size_bytes))
    }

    /// Docker's schema 2, unless a layer has a compression that only OCI knows.
    async fn manifest(&self, config: Descriptor, blobs: &[Blob]) -> Result<()> {
        let oci = blobs.iter().any(|blob| blob.media_type == manifest::LAYER_ZSTD);
        let (kind, config_kind) = if oci {
            (manifest::OCI_MANIFEST, manifest::OCI_CONFIG)
        } else {
            (manifest::DOCKER_MANIFEST, manifest::DOCKER_CONFIG)
        };
        let layer = |blob: &Blob| {
            let kind = match blob.media_type.as_str() {
                manifest::LAYER_ZSTD => manifest::LAYER_ZSTD,
                _ if oci => manifest::LAYER_GZIP,
                _ => manifest::DOCKER_LAYER,
            };
            Descriptor::new(kind, blob.digest.clone(), blob.size_bytes)
        };
        let document = Manifest {
            schema_version: 2,
            media_type: Some(kind.to_owned()),
            config: Descriptor { media_type: config_kind.to_owned(), ..config },
            layers: blobs.iter().map(layer).collect(),
        };
        let bytes = Bytes::from(serde_json::to_vec_pretty(&document).map_err(Error::Config)?);
        let digest = Digest::of(&bytes);
        let tag = self.name.tag().map_or_else(|| digest.to_string(), str::to_owned);
        retried(|| self.put_manifest(&tag, kind, bytes.clone())).await?;
        let (store, name) = (self.store.clone(), self.name.with_digest(&digest));
        let id = types::ImageId::new(document.config.digest.as_str());
        let (lease, kept) = (self.lease.clone(), bytes.clone());
        lease.pin(&digest);
        blocking(move || {
            store.put_blob(&kept)?;
            store.set_references([name], &id)
        })
        .await?;
        let closing = format!("{tag}: digest: {digest} size: {}", bytes.len());
        tell(self.progress, Progress::status(closing)).await;
        let aux = serde_json::json!({ "Tag": tag, "Digest": digest, "Size": bytes.len() });
        tell(
            self.progress,
            Progress { progress_detail: Some(Default::default()), ..Progress::aux(aux) },
        )
        .await;
        Ok(())
    }

    async fn put_manifest(
        &self,
        tag: &str,
        kind: &'static str,
        bytes: Bytes,
    ) -> Result<(), RegistryError> {
        let mut headers = length(bytes.len() as u64);
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
        let path = self.client.path(&format!("manifests/{tag}"));
        let reply =
            self.client.request(Method::PUT, &path, headers, || full(bytes.clone())).await?;
        match reply.status() {
            StatusCode::CREATED | StatusCode::OK => body(reply).await.map(drop),
            status => Err(self.client.refusal(status, reply, "").await),
        }
    }
}

fn length(bytes: u64) -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_LENGTH, header::HeaderValue::from(bytes))])
}
