//! Manifests and indexes, Docker's and OCI's: read alike, told apart by their content.

use crate::{Digest, Platform};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
pub(crate) const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(crate) const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What `Accept` says, most wanted first.
pub(crate) const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// A pointer to a blob or manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Foreign layers' download addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) urls: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<DescriptorPlatform>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        let media_type = media_type.to_owned();
        Descriptor { media_type, digest, size, urls: None, annotations: None, platform: None }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DescriptorPlatform {
    pub(crate) architecture: String,
    pub(crate) os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) variant: String,
}

/// An OCI index or a Docker manifest list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) manifests: Vec<Descriptor>,
}

/// An OCI manifest or a Docker schema 2 one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// The index in `bytes`, if that is what it is.
pub(crate) fn as_index(bytes: &[u8]) -> Option<Index> {
    serde_json::from_slice(bytes).ok()
}

/// The entry for `platform`: the same variant before a lower one before an unnamed one. Attestations and
/// other platforms' images are never taken.
pub(crate) fn choose<'a>(entries: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    let score = |entry: &Descriptor| match &entry.platform {
        None => (entries.len() == 1).then_some(0),
        Some(its) if its.os != platform.os || its.architecture != platform.architecture => None,
        Some(its) if its.variant == platform.variant => Some(100),
        Some(its) if its.variant.is_empty() || platform.variant.is_empty() => Some(1),
        Some(its) => (its.variant < platform.variant)
            .then(|| 1 + its.variant.trim_start_matches('v').parse::<u32>().unwrap_or(0).min(98)),
    };
    let mut best: Option<(u32, &Descriptor)> = None;
    for entry in entries {
        if let Some(score) = score(entry)
            && best.is_none_or(|(other, _)| score > other)
        {
            best = Some((score, entry));
        }
    }
    best.map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, platform: Option<&str>) -> Descriptor {
        let platform = platform.map(|text| {
            let mut parts = text.split('/').map(str::to_owned);
            let mut next = || parts.next().unwrap_or_default();
            DescriptorPlatform { os: next(), architecture: next(), variant: next() }
        });
        Descriptor { platform, ..Descriptor::new(OCI_MANIFEST, Digest::of(name.as_bytes()), 1) }
    }

    #[test]
    fn the_nearest_variant_that_runs_here_is_chosen() {
        let entries = [
            entry("attestation", Some("unknown/unknown")),
            entry("amd64", Some("linux/amd64")),
            entry("v6", Some("linux/arm/v6")),
            entry("v7", Some("linux/arm/v7")),
            entry("arm64", Some("linux/arm64")),
        ];
        let chosen = |text: &str| {
            choose(&entries, &Platform::parse(text).unwrap()).map(|found| found.digest.clone())
        };
        assert_eq!(chosen("linux/amd64"), Some(Digest::of(b"amd64")));
        assert_eq!(chosen("linux/arm/v7"), Some(Digest::of(b"v7")));
        assert_eq!(chosen("linux/arm/v5"), None);
        assert_eq!(chosen("linux/arm64"), Some(Digest::of(b"arm64")));
        assert_eq!(chosen("linux/s390x"), None);
    }
}
