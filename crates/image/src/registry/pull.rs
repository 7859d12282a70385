//! Pull: manifest, configuration, layers, name.

use super::client::{Access, Client, Fetched};
use super::download::download;
use super::error::RegistryError;
use super::manifest::{self, Descriptor, Manifest};
use crate::arrival::{Layers, Origin, Travelling, send};
use crate::store::gc::Lease;
use crate::store::{Image, blocking, chains};
use crate::{Digest, Error, Platform, Progress, ProgressSender, Reference, Result, Store};
use bytes::Bytes;
use std::sync::Arc;
use types::image::{AuthConfig, ImageConfig};

/// Who asks, and for what machine.
#[derive(Debug, Clone, Default)]
pub struct PullOptions {
    /// This machine when `None`; then an image for another one is taken if it is the only one.
    pub platform: Option<Platform>,
    pub auth: AuthConfig,
}

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct PullOutcome {
    pub image: Arc<Image>,
    /// Of the manifest or index that the name stands for.
    pub digest: Digest,
    /// The name stood for something else before.
    pub updated: bool,
}

/// A manifest chosen for a platform, with all that leads to it.
struct Target {
    /// What the name stands for in the registry.
    digest: Digest,
    manifest: Manifest,
    /// From what the name stands for down to the manifest: they prove to other nodes what the digest means.
    documents: Vec<Bytes>,
}

impl Store {
    /// Fetches `reference` (with `:latest` when it says nothing) and names it here. Nothing is reported
    /// before the registry has answered for the manifest.
    pub async fn pull(
        &self,
        reference: &Reference,
        options: &PullOptions,
        progress: &ProgressSender,
    ) -> Result<PullOutcome> {
        let reference = reference.clone().or_latest();
        let config = &self.0.registry;
        let clients = Client::connect(config, &reference, &options.auth, Access::Pull).await?;
        let mut last = None;
        for client in &clients {
            match target(client, &reference, options).await {
                Ok(target) => {
                    return self.pull_from(client, &reference, target, options, progress).await;
                }
                Err(err) => last = Some(err),
            }
        }
        Err(last.map_or(Error::Cancelled, Error::Registry))
    }

    /// All tags that the registry has of this repository.
    pub async fn remote_tags(
        &self,
        repository: &Reference,
        auth: &AuthConfig,
    ) -> Result<Vec<String>> {
        let clients = Client::connect(&self.0.registry, repository, auth, Access::Pull).await?;
        let client = clients.last().ok_or(Error::Cancelled)?;
        Ok(client.tags().await?)
    }

    /// What a name stands for in the registry, for `GET /distribution/{name}/json`: its descriptor and
    /// the platforms there are.
    pub async fn distribution(
        &self,
        reference: &Reference,
        auth: &AuthConfig,
    ) -> Result<(String, Digest, u64, Vec<Platform>)> {
        let reference = reference.clone().or_latest();
        let clients = Client::connect(&self.0.registry, &reference, auth, Access::Pull).await?;
        let client = clients.last().ok_or(Error::Cancelled)?;
        let fetched = client.manifest(&wanted(&reference)).await?;
        let platforms = match manifest::as_index(&fetched.bytes) {
            Some(index) => index
                .manifests
                .into_iter()
                .filter_map(|entry| entry.platform)
                .map(|its| Platform {
                    os: its.os,
                    architecture: its.architecture,
                    variant: its.variant,
                })
                .collect(),
            None => vec![self.platform_of(client, &fetched).await?],
        };
        let kind = super::client::media_type(&fetched.bytes);
        Ok((kind, fetched.digest, fetched.bytes.len() as u64, platforms))
    }

    async fn pull_from(
        &self,
        client: &Client,
        reference: &Reference,
        target: Target,
        options: &PullOptions,
        progress: &ProgressSender,
    ) -> Result<PullOutcome> {
        let shown = wanted(reference);
        send(progress, Progress::about(shown, format!("Pulling from {}", reference.path()))).await;
        let lease = Arc::new(self.0.pins.lease());
        let document = self.document(client, &target.manifest.config, &lease).await?;
        let config: ImageConfig = serde_json::from_slice(&document).map_err(Error::Config)?;
        check_platform(&config, reference, options)?;
        let chains = chains(&config)?;
        let blobs = &target.manifest.layers;
        if chains.len() != blobs.len() {
            return Err(Error::LayerMismatch);
        }
        chains
            .iter()
            .chain(blobs.iter().map(|blob| &blob.digest))
            .for_each(|digest| lease.pin(digest));
        let blobs: Vec<Travelling> = blobs.iter().cloned().map(Travelling::blob).collect();
        let origin = Origin::Registry { client, repository: reference.name() };
        target.documents.iter().for_each(|document| lease.pin(&Digest::of(document)));
        let layers = Layers { store: &self.0, origin, chains: &chains, blobs: &blobs, progress };
        layers.fetch(&config).await?;
        let (inner, by_digest) = (self.0.clone(), reference.with_digest(&target.digest));
        let reference = reference.clone();
        let digest = target.digest.clone();
        let (image, updated) = blocking(move || {
            let _held = lease;
            let image = inner.put_image(&document, None)?;
            for document in &target.documents {
                inner.put_blob(document)?;
            }
            let updated = inner.index().lookup(&reference) != Some(&image.id);
            let names = if reference.digest().is_some() {
                vec![by_digest]
            } else {
                vec![reference, by_digest]
            };
            inner.set_references(names, &image.id).map(|image| (image, updated))
        })
        .await?;
        Ok(PullOutcome { image, digest, updated })
    }

    /// What a single image runs on, told by its configuration.
    async fn platform_of(&self, client: &Client, fetched: &Fetched) -> Result<Platform> {
        let manifest = single(&fetched.bytes)?;
        let lease = self.0.pins.lease();
        let document = self.document(client, &manifest.config, &lease).await?;
        let config: ImageConfig = serde_json::from_slice(&document).map_err(Error::Config)?;
        Ok(Platform { os: config.os, architecture: config.architecture, variant: config.variant })
    }

    async fn document(
        &self,
        client: &Client,
        config: &Descriptor,
        lease: &Lease,
    ) -> Result<Vec<u8>> {
        lease.pin(&config.digest);
        download(&self.0, client, config, |_| {}).await?;
        let (inner, digest) = (self.0.clone(), config.digest.clone());
        blocking(move || inner.read_blob(&digest)).await
    }
}

impl PullOutcome {
    /// The two lines that end a pull.
    pub fn closing(&self, reference: &Reference) -> [Progress; 2] {
        let name = reference.clone().or_latest().familiar();
        let status = if self.updated {
            format!("Status: Downloaded newer image for {name}")
        } else {
            format!("Status: Image is up to date for {name}")
        };
        [Progress::status(format!("Digest: {}", self.digest)), Progress::status(status)]
    }
}

/// The tag or digest to ask for.
fn wanted(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    }
}

async fn target(
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
) -> Result<Target, RegistryError> {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let top = client.manifest(&wanted(reference)).await?;
    let mut bytes = top.bytes;
    let mut documents = vec![bytes.clone()];
    while let Some(index) = manifest::as_index(&bytes) {
        let chosen = manifest::choose(&index.manifests, &platform)
            .ok_or_else(|| RegistryError::NoPlatform { platform: platform.to_string() })?;
        bytes = client.manifest(chosen.digest.as_str()).await?.bytes;
        documents.push(bytes.clone());
    }
    Ok(Target { digest: top.digest, manifest: single(&bytes)?, documents })
}

/// A manifest of one image.
fn single(bytes: &[u8]) -> Result<Manifest, RegistryError> {
    serde_json::from_slice(bytes)
        .map_err(|_| RegistryError::Manifest("neither a Docker schema 2 nor an OCI manifest"))
}

fn check_platform(
    config: &ImageConfig,
    reference: &Reference,
    options: &PullOptions,
) -> Result<(), RegistryError> {
    let Some(wanted) = &options.platform else { return Ok(()) };
    if config.os == wanted.os && config.architecture == wanted.architecture {
        return Ok(());
    }
    Err(RegistryError::PlatformMismatch {
        name: reference.familiar(),
        its: format!("{}/{}", config.os, config.architecture),
        wanted: wanted.to_string(),
    })
}
