//! Layers: a directory for overlayfs made from a tar stream, and back.
//!
//! A layer is known by its chain id (itself and all below it). Its directory never changes once
//! registered, so its canonical tar can be made again at any time.

pub(crate) mod compression;
pub(crate) mod layout;
pub(crate) mod pack;
pub(crate) mod unpack;

use crate::Digest;
use serde::{Deserialize, Serialize};

/// An unpacked layer. Written once by the store, as `layer.json`; only `blob` and `sources` may grow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Names the layer with everything below it.
    pub chain: Digest,
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// Chain id of the layer below.
    pub parent: Option<Digest>,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// Bytes of the uncompressed tar.
    pub tar_bytes: u64,
    /// Name of the symlink in `l/`.
    pub link: String,
    /// The layer as it travelled. `None`: our own, its tar is made anew from the directory.
    pub blob: Option<Blob>,
    /// Repositories (`domain/path`) known to hold `blob`.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// A layer's tar in the blob store, compressed or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub digest: Digest,
    pub size_bytes: u64,
    pub media_type: String,
}
