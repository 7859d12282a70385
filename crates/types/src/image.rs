//! Images: the OCI configuration document, and what the API answers about images.
//!
//! The document ([`ImageConfig`]) is written once, by whoever makes the image; its digest is the image's id.

use crate::container::Config;
use crate::{ImageId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The configuration document of an image, as registries and archives carry it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// Go's word for it: `amd64`, `arm64`.
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The container it was committed from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    #[serde(deserialize_with = "null_is_default")]
    pub config: Config,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<Config>,
    #[serde(deserialize_with = "null_is_default")]
    pub created: Timestamp,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub docker_version: String,
    #[serde(deserialize_with = "null_is_default")]
    pub history: Vec<History>,
    pub os: String,
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    pub rootfs: DiffIds,
}

fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// The digests of the uncompressed layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffIds {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<String>,
}

impl Default for DiffIds {
    fn default() -> Self {
        DiffIds { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One step of an image's making, oldest first in the document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    #[serde(deserialize_with = "null_is_default")]
    pub created: Timestamp,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The step changed the configuration only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// One image of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Summary {
    pub id: ImageId,
    /// Empty when it has none.
    pub parent_id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Seconds since the epoch.
    pub created: i64,
    /// Bytes of all layers, unpacked.
    pub size: i64,
    /// Bytes of layers that other images use too; -1 when not asked for.
    pub shared_size: i64,
    /// The same as `size`; only clients before API 1.44 read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    pub labels: Option<BTreeMap<String, String>>,
    /// How many containers use it; -1 when not counted.
    pub containers: i64,
}

/// `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Inspect {
    pub id: ImageId,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub parent: String,
    pub comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub container: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<Config>,
    pub docker_version: String,
    pub author: String,
    pub config: Option<Config>,
    pub architecture: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    pub size: i64,
    /// The same as `size`; only clients before API 1.44 read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<i64>,
    pub graph_driver: GraphDriver,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    pub metadata: Metadata,
}

/// Where the layers lie on this host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GraphDriver {
    pub name: String,
    pub data: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RootFs {
    #[serde(rename = "Type")]
    pub kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
}

/// What this engine, not the image's maker, knows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Metadata {
    pub last_tag_time: Timestamp,
}

/// One line of `GET /images/{name}/history`, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HistoryItem {
    /// `<missing>` for steps whose image is not here.
    pub id: String,
    /// Seconds since the epoch.
    pub created: i64,
    pub created_by: String,
    pub tags: Option<Vec<String>>,
    pub size: i64,
    pub comment: String,
}

/// One hit of `GET /images/search`. Field names as the registries of old have them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    pub star_count: i64,
    pub is_official: bool,
    pub name: String,
    /// No registry builds images by itself any more.
    pub is_automated: bool,
    pub description: String,
}

/// One line of the reply to `DELETE /images/{name}`: exactly one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Deleted {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untagged: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<String>,
}

/// `POST /images/prune`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PruneReport {
    pub images_deleted: Option<Vec<Deleted>>,
    pub space_reclaimed: u64,
}

/// Registry credentials, as `X-Registry-Auth` carries them (base64url of this as JSON).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    /// base64 of `user:password`, used when those are empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub auth: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serveraddress: String,
    /// An OAuth2 refresh token.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub identitytoken: String,
    /// A bearer token to be sent as it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub registrytoken: String,
}

/// `GET /distribution/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DistributionInspect {
    pub descriptor: Descriptor,
    pub platforms: Vec<DistributionPlatform>,
}

/// A pointer to a manifest, in OCI's own spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: i64,
}

/// A platform, in OCI's own spelling.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributionPlatform {
    pub architecture: String,
    pub os: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// One message of the JSON stream of pull, push, load, import and build (Docker's `jsonmessage`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    /// A terminal's rendering of `progress_detail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The layer (twelve digits) or tag it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

/// Bytes done and to do; `{}` when unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    pub message: String,
}

impl Progress {
    /// A line without an id.
    pub fn status(status: impl Into<String>) -> Self {
        Progress { status: Some(status.into()), ..Progress::default() }
    }
    /// A line of the build and load kind.
    pub fn stream(text: impl Into<String>) -> Self {
        Progress { stream: Some(text.into()), ..Progress::default() }
    }
    /// A state of one layer, with an empty `progressDetail` as Docker sends it.
    pub fn layer(id: impl Into<String>, status: impl Into<String>) -> Self {
        Progress { progress_detail: Some(ProgressDetail::default()), ..Progress::about(id, status) }
    }
    /// A line about `id` without `progressDetail`.
    pub fn about(id: impl Into<String>, status: impl Into<String>) -> Self {
        Progress { id: Some(id.into()), ..Progress::status(status) }
    }
    /// How far one layer is, in bytes; `total` 0 is unknown.
    pub fn bytes(
        id: impl Into<String>,
        status: impl Into<String>,
        current: u64,
        total: u64,
    ) -> Self {
        let detail = ProgressDetail { current: Some(current), total: (total > 0).then_some(total) };
        Progress {
            progress_detail: Some(detail),
            progress: Some(bar(current, total)),
            ..Progress::about(id, status)
        }
    }
    /// Data for the client's program rather than for its user.
    pub fn aux(value: serde_json::Value) -> Self {
        Progress { aux: Some(value), ..Progress::default() }
    }
    /// The last message of a stream that failed after its head was sent.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Progress {
            error_detail: Some(ErrorDetail { code: None, message: message.clone() }),
            error: Some(message),
            ..Progress::default()
        }
    }
}

/// Docker's bar of fifty columns: `[====>   ]  1.2MB/3.4MB`.
fn bar(current: u64, total: u64) -> String {
    if total == 0 {
        return size(current);
    }
    let done = usize::try_from(current.min(total) * 50 / total).unwrap_or(50);
    let space = " ".repeat(50_usize.saturating_sub(done));
    format!("[{}>{space}]  {}/{}", "=".repeat(done.min(50)), size(current), size(total))
}

/// Bytes in powers of ten with four significant digits, as Docker prints them (`1.234MB`).
fn size(bytes: u64) -> String {
    let mut unit = 0;
    #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
    let mut value = bytes as f64;
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let mut text = format!("{value:.digits$}");
    if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    text + UNITS[unit]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_as_dockerd_writes_it() {
        let line = |message: &Progress| serde_json::to_string(message).unwrap();
        assert_eq!(
            line(&Progress::layer("abc", "Pulling fs layer")),
            r#"{"status":"Pulling fs layer","progressDetail":{},"id":"abc"}"#
        );
        assert_eq!(
            line(&Progress::bytes("abc", "Downloading", 540_000, 1_080_000)),
            r#"{"status":"Downloading","progressDetail":{"current":540000,"total":1080000},"progress":"[=========================>                         ]     540kB/1.08MB","id":"abc"}"#
                .replace("]     540kB", "]  540kB").as_str()
        );
        assert_eq!(
            line(&Progress::error("no")),
            r#"{"errorDetail":{"message":"no"},"error":"no"}"#
        );
    }

    #[test]
    fn a_document_written_by_docker_with_nulls_is_read() {
        let text = r#"{"architecture":"amd64","config":{"Cmd":["sh"],"Env":null},"created":null,
            "history":[{"created":"2023-01-01T00:00:00Z","created_by":"x"}],"os":"linux",
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert!(config.rootfs.diff_ids.is_empty() && config.created.is_zero());
    }
}
