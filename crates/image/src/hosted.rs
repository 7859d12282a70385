//! This store as a registry: what it has, and what others push into it.
//!
//! A repository is a name with its domain, as clients call it (`10.0.0.1:5000/app`), so that what was pushed is found by
//! the name under which it was. Manifests are kept byte for byte beside the blobs for as long as a name by their digest
//! lasts; an image that was never pushed gets one when it is first asked for.
//!
//! ```text
//! ingest/upload-<id>   an upload under way; survives restarts
//! hosted.json          name:tag → digest of the manifest that was pushed under it
//! ```

use crate::arrival::{Layers, Origin, Travelling};
use crate::digest::Hasher;
use crate::registry::manifest::{self, Descriptor, Manifest, as_index, choose};
use crate::store::gc::Lease;
use crate::store::{Inner, blocking, chains, durable};
use crate::stream::ByteStream;
use crate::{Digest, Error, Platform, Reference, Result, Store};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher as _};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use types::ImageId;
use types::image::ImageConfig;

/// How long a pushed blob waits for the manifest that names it.
const WAITS: Duration = Duration::from_secs(60 * 60);
/// Digits of an upload's id.
const UPLOAD_ID: usize = 32;

/// What a push has brought so far.
#[derive(Default)]
pub(crate) struct Pushed(Mutex<Vec<(Instant, Lease)>>);

/// A manifest as it is served.
#[derive(Debug, Clone)]
pub struct Hosted {
    pub bytes: Bytes,
    pub digest: Digest,
    pub media_type: String,
}

/// Why something that was pushed is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("upload is unknown")]
    UnknownUpload,
    #[error("the chunk does not begin where the upload ends, at {0}")]
    Range(u64),
    #[error("provided digest did not match uploaded content")]
    WrongDigest,
    #[error("manifest invalid: {0}")]
    Manifest(String),
    #[error("blob unknown to registry: {0}")]
    UnknownBlob(Digest),
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Store {
    /// The manifest that `reference` (with a tag or a digest) names here.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn hosted(&self, reference: &Reference) -> Result<Option<Hosted>> {
        let (inner, reference) = (self.0.clone(), reference.clone());
        blocking(move || inner.hosted(&reference)).await
    }

    /// The tags of the repository of `reference`, in order.
    pub fn hosted_tags(&self, reference: &Reference) -> Vec<String> {
        let index = self.0.index();
        let of_it = index.references.keys().filter(|name| name.same_repository(reference));
        let tags: BTreeSet<String> =
            of_it.filter_map(|name| name.tag().map(str::to_owned)).collect();
        tags.into_iter().collect()
    }

    /// Repositories below `domain`, in order.
    pub fn hosted_repositories(&self, domain: &str) -> Vec<String> {
        let index = self.0.index();
        let of_it = index.references.keys().filter(|name| name.domain() == domain);
        let paths: BTreeSet<String> = of_it.map(|name| name.path().to_owned()).collect();
        paths.into_iter().collect()
    }

    /// Takes what a push brings as the manifest called `reference`; its parts must be here.
    ///
    /// # Errors
    /// When they are not, or it is no image's manifest; when the disk fails.
    pub async fn host(&self, reference: &Reference, bytes: Bytes) -> Result<Digest, Refused> {
        let digest = Digest::of(&bytes);
        if reference.digest().is_some_and(|wanted| *wanted != digest) {
            return Err(Refused::WrongDigest);
        }
        let lease = self.0.pins.lease();
        lease.pin(&digest);
        let image = match as_index(&bytes) {
            Some(index) => self.image_of_index(&index).await?,
            None => self.image_of_manifest(&bytes, &lease).await?,
        };
        let (inner, reference, kept) = (self.0.clone(), reference.clone(), digest.clone());
        blocking(move || {
            let _held = lease;
            inner.put_blob(&bytes)?;
            let mut names = vec![reference.with_digest(&kept)];
            if reference.tag().is_some() {
                inner.note_hosted(&reference, &kept)?;
                names.push(reference);
            }
            inner.set_references(names, &image)
        })
        .await?;
        Ok(digest)
    }

    async fn image_of_index(&self, index: &manifest::Index) -> Result<ImageId, Refused> {
        let here = Platform::host();
        let chosen = choose(&index.manifests, &here).or(index.manifests.first());
        let chosen = chosen.ok_or_else(|| Refused::Manifest("an index of nothing".to_owned()))?;
        for part in &index.manifests {
            if !self.0.has_blob(&part.digest) {
                return Err(Refused::UnknownBlob(part.digest.clone()));
            }
        }
        let (inner, digest) = (self.0.clone(), chosen.digest.clone());
        let bytes = blocking(move || inner.read_blob(&digest)).await?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|_| Refused::Manifest("an index of indexes".to_owned()))?;
        Ok(ImageId::new(manifest.config.digest.as_str()))
    }

    async fn image_of_manifest(&self, bytes: &[u8], lease: &Lease) -> Result<ImageId, Refused> {
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|err| Refused::Manifest(err.to_string()))?;
        for part in manifest.layers.iter().chain([&manifest.config]) {
            lease.pin(&part.digest);
            if !self.0.has_blob(&part.digest) {
                return Err(Refused::UnknownBlob(part.digest.clone()));
            }
        }
        let (inner, digest) = (self.0.clone(), manifest.config.digest.clone());
        let document = blocking(move || inner.read_blob(&digest)).await?;
        let no_image = || Refused::Manifest("its configuration is not an image's".to_owned());
        let config: ImageConfig = serde_json::from_slice(&document).map_err(|_| no_image())?;
        let chains = chains(&config).map_err(|_| no_image())?;
        if chains.len() != manifest.layers.len() || config.os.is_empty() {
            return Err(no_image());
        }
        chains.iter().for_each(|chain| lease.pin(chain));
        let blobs: Vec<Travelling> = manifest.layers.into_iter().map(Travelling::blob).collect();
        let (progress, mut unread) = tokio::sync::mpsc::channel(16);
        let layers = Layers {
            store: &self.0,
            origin: Origin::Here,
            chains: &chains,
            blobs: &blobs,
            progress: &progress,
        };
        let reader = async { while unread.recv().await.is_some() {} };
        tokio::pin!(reader);
        tokio::select! {
            done = layers.fetch(&config) => done?,
            () = &mut reader => {}
        }
        let inner = self.0.clone();
        let image = blocking(move || inner.put_image(&document, None)).await?;
        Ok(image.id.clone())
    }

    /// The size of a blob that is here; layers of our own count as blobs by their diff id.
    ///
    /// # Errors
    /// When the disk fails; so below.
    pub async fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        Ok(self
            .source(digest)
            .await?
            .filter(|source| source.is_whole())
            .map(|source| source.size()))
    }

    /// Its bytes from `at` on.
    pub async fn blob(&self, digest: &Digest, at: u64, bytes: u64) -> Result<Option<ByteStream>> {
        let source = self.source(digest).await?.filter(|source| source.is_whole());
        Ok(source.map(|source| crate::peers::serve::streamed(source, at, bytes)))
    }

    /// Begins an upload; returns its id.
    pub async fn begin_upload(&self) -> Result<String> {
        let inner = self.0.clone();
        let random = || std::hash::RandomState::new().build_hasher().finish();
        let seed = format!("{} {} {:?}", random(), random(), std::time::SystemTime::now());
        let id = Digest::of(seed.as_bytes()).hex()[..UPLOAD_ID].to_owned();
        blocking(move || {
            let path = inner.upload_path(&id);
            File::create_new(&path).map(|_| id).map_err(Error::io("create", &path))
        })
        .await
    }

    /// How much of an upload is here.
    pub async fn upload_size(&self, id: &str) -> Result<u64, Refused> {
        let path = self.upload(id)?;
        let size = blocking(move || fs::metadata(path).map(|meta| meta.len())).await;
        size.map_err(|_| Refused::UnknownUpload)
    }

    /// Adds `chunk`, which must begin where the upload ends when `from` says where it begins. Returns what is there then,
    /// however the chunk ended.
    pub async fn append_upload<S, E>(
        &self,
        id: &str,
        from: Option<u64>,
        chunk: S,
    ) -> Result<u64, Refused>
    where
        S: Stream<Item = Result<Bytes, E>> + Unpin,
    {
        let path = self.upload(id)?;
        let have = self.upload_size(id).await?;
        if from.is_some_and(|from| from != have) {
            return Err(Refused::Range(have));
        }
        let mut file =
            OpenOptions::new().append(true).open(&path).map_err(|_| Refused::UnknownUpload)?;
        let mut chunk = chunk;
        while let Some(Ok(bytes)) = chunk.next().await {
            // Into the page cache: not worth a thread hop.
            file.write_all(&bytes).map_err(Error::io("write", &path))?;
        }
        self.upload_size(id).await
    }

    /// Makes a finished upload the blob `digest`.
    pub async fn finish_upload(&self, id: &str, digest: &Digest) -> Result<(), Refused> {
        let path = self.upload(id)?;
        let (inner, digest) = (self.0.clone(), digest.clone());
        blocking(move || {
            let hasher = hash(&path).map_err(|_| Refused::UnknownUpload)?;
            if hasher.digest() != digest {
                durable::remove(&path)?;
                return Err(Refused::WrongDigest);
            }
            inner.expect(&digest);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(Error::io("write", &path))?;
            Ok(durable::rename(&path, &inner.blob_path(&digest))?)
        })
        .await
    }

    /// Forgets an upload.
    pub async fn cancel_upload(&self, id: &str) -> Result<(), Refused> {
        let path = self.upload(id)?;
        blocking(move || fs::remove_file(path)).await.map_err(|_| Refused::UnknownUpload)
    }

    /// Keeps a blob that is here for the manifest that will name it; false when it is not.
    pub fn expect_blob(&self, digest: &Digest) -> bool {
        self.0.expect(digest);
        self.0.has_blob(digest)
    }

    fn upload(&self, id: &str) -> Result<PathBuf, Refused> {
        let is_one = id.len() == UPLOAD_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_one { Ok(self.0.upload_path(id)) } else { Err(Refused::UnknownUpload) }
    }
}

fn hash(path: &std::path::Path) -> io::Result<Hasher> {
    let (mut file, mut hasher) = (File::open(path)?, Hasher::default());
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher),
            n => hasher.update(&buffer[..n]),
        }
    }
}

impl Inner {
    fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("ingest").join(format!("upload-{id}"))
    }

    /// Keeps a blob for a while.
    fn expect(&self, digest: &Digest) {
        let lease = self.pins.lease();
        lease.pin(digest);
        let mut pushed = self.pushed.0.lock().unwrap_or_else(PoisonError::into_inner);
        pushed.retain(|(since, _)| since.elapsed() < WAITS);
        pushed.push((Instant::now(), lease));
    }

    fn hosted_path(&self) -> PathBuf {
        self.root.join("hosted.json")
    }

    fn hosted_digests(&self) -> BTreeMap<String, Digest> {
        // A damaged file costs the digests of tags: manifests are made anew.
        durable::read_json(&self.hosted_path()).unwrap_or_default()
    }

    /// Remembers what was pushed under a tag.
    pub(crate) fn note_hosted(&self, reference: &Reference, digest: &Digest) -> Result<()> {
        let mut known = self.hosted_digests();
        let index = self.index();
        known.retain(|name, _| {
            Reference::parse(name).is_ok_and(|name| index.references.contains_key(&name))
        });
        known.insert(reference.to_string(), digest.clone());
        durable::write_json(&self.tmp(), &self.hosted_path(), &known)
    }

    fn hosted(&self, reference: &Reference) -> Result<Option<Hosted>> {
        let image = self.index().references.get(reference).cloned();
        let Some(image) = image else { return Ok(None) };
        if let Some(digest) = reference.digest() {
            return self.manifest_of(digest);
        }
        if let Some(digest) = self.pushed_under(reference)
            && let Some(hosted) = self.manifest_of(&digest)?
        {
            return Ok(Some(hosted));
        }
        self.make_manifest(reference, &image).map(Some)
    }

    /// The digest of what was pushed under a tag, if the tag still means it.
    pub(crate) fn pushed_under(&self, reference: &Reference) -> Option<Digest> {
        let digest = self.hosted_digests().remove(&reference.to_string())?;
        let index = self.index();
        let by_tag = index.references.get(reference)?;
        let by_digest = index.references.get(&reference.with_digest(&digest));
        (by_digest == Some(by_tag)).then_some(digest)
    }

    fn manifest_of(&self, digest: &Digest) -> Result<Option<Hosted>> {
        match self.read_blob(digest) {
            Ok(bytes) => {
                let media_type = crate::registry::client::media_type(&bytes);
                Ok(Some(Hosted { bytes: bytes.into(), digest: digest.clone(), media_type }))
            }
            Err(Error::MissingBlob(_)) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// The manifest of an image that came without one, from then on known by its digest.
    fn make_manifest(&self, reference: &Reference, id: &ImageId) -> Result<Hosted> {
        let image = self.index().images.get(id).cloned();
        let image = image.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        let config = Digest::parse(id.as_str()).ok_or(Error::LayerMismatch)?;
        let size = self.read_blob(&config)?.len() as u64;
        let layers = crate::peers::offer::layers(self, &image)?;
        let document = Manifest {
            schema_version: 2,
            media_type: Some(manifest::OCI_MANIFEST.to_owned()),
            config: Descriptor::new(manifest::OCI_CONFIG, config, size),
            layers: layers.into_iter().map(|layer| oci(layer.content)).collect(),
        };
        let bytes = serde_json::to_vec(&document).map_err(Error::Config)?;
        let digest = Digest::of(&bytes);
        self.expect(&digest);
        self.put_blob(&bytes)?;
        self.note_hosted(reference, &digest)?;
        self.set_references_as_of([reference.with_digest(&digest)], id, Some(image.tagged))?;
        let media_type = manifest::OCI_MANIFEST.to_owned();
        Ok(Hosted { bytes: bytes.into(), digest, media_type })
    }
}

/// Docker's words for layers in OCI's.
fn oci(layer: Descriptor) -> Descriptor {
    let media_type = match layer.media_type.as_str() {
        manifest::DOCKER_LAYER => manifest::LAYER_GZIP.to_owned(),
        _ => layer.media_type,
    };
    Descriptor { media_type, ..layer }
}

/// The manifests that are here of these digests, and of those that are indexes the manifests below them.
pub(crate) fn manifests(store: &Inner, digests: &[Digest]) -> Vec<String> {
    let read = |digest: &Digest| String::from_utf8(store.read_blob(digest).ok()?).ok();
    let mut documents: Vec<String> = digests.iter().filter_map(read).collect();
    let below: Vec<Digest> = documents.iter().flat_map(|document| parts(document)).collect();
    documents.extend(below.iter().filter(|digest| !digests.contains(digest)).filter_map(read));
    documents
}

/// What an index consists of; nothing for a manifest.
fn parts(document: &str) -> Vec<Digest> {
    let index = as_index(document.as_bytes());
    let parts = index.into_iter().flat_map(|index| index.manifests);
    parts.map(|part| part.digest).collect()
}

impl Inner {
    /// Manifests below indexes that names stand for: they stay with them.
    pub(crate) fn manifests_below(&self) -> Vec<Digest> {
        let named: Vec<Digest> =
            self.index().references.keys().filter_map(|name| name.digest().cloned()).collect();
        let documents = named.iter().filter_map(|digest| self.read_blob(digest).ok());
        let documents = documents.filter_map(|bytes| String::from_utf8(bytes).ok());
        documents.flat_map(|document| parts(&document)).collect()
    }
}

/// Of the manifests that came with the image `id` those that are its own, by digest.
pub(crate) fn own_manifests(documents: &[String], id: &ImageId) -> BTreeMap<Digest, Arc<str>> {
    let direct = |bytes: &[u8]| {
        serde_json::from_slice::<Manifest>(bytes)
            .is_ok_and(|manifest| manifest.config.digest.as_str() == id.as_str())
    };
    let mut own: BTreeMap<Digest, Arc<str>> = BTreeMap::new();
    for document in documents.iter().filter(|document| direct(document.as_bytes())) {
        own.insert(Digest::of(document.as_bytes()), Arc::from(document.as_str()));
    }
    for document in documents {
        let index = as_index(document.as_bytes());
        let leads = index
            .is_some_and(|index| index.manifests.iter().any(|part| own.contains_key(&part.digest)));
        if leads {
            own.insert(Digest::of(document.as_bytes()), Arc::from(document.as_str()));
        }
    }
    own
}
