//! What callers may ask of a container, as data.

use crate::Filters;
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use types::Timestamp;
use types::container::{Config, RestartPolicy, WaitResponse};

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// The newest N, whatever their state; 0 is no limit.
    pub limit: usize,
    pub size: bool,
    pub filters: Filters,
}

/// `DELETE /containers/{id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RemoveOptions {
    pub force: bool,
    /// Anonymous volumes too.
    pub volumes: bool,
    pub link: bool,
}

/// `POST /containers/{id}/stop` and `/restart`.
#[derive(Debug, Clone, Default)]
pub struct StopOptions {
    /// Seconds before SIGKILL; -1 waits without end; the container's own when `None`.
    pub timeout: Option<i64>,
    pub signal: Option<String>,
}

/// `GET /containers/{id}/logs`.
#[derive(Debug, Clone, Default)]
pub struct LogsOptions {
    pub follow: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub timestamps: bool,
    pub details: bool,
    /// The last N lines; all when `None`.
    pub tail: Option<u64>,
    /// One header for neighbouring lines of a stream ([`logs::Framing::Joined`]).
    pub joined: bool,
}

/// `GET /containers/{id}/stats`.
#[derive(Debug, Clone, Copy, Default)]
pub struct StatsOptions {
    pub stream: bool,
    /// Do not wait a second for a previous sample.
    pub one_shot: bool,
}

/// What `POST /containers/{id}/wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    #[default]
    NotRunning,
    NextExit,
    Removed,
}

impl WaitCondition {
    /// Docker's word; `None` when it is unknown.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "not-running" => Some(WaitCondition::NotRunning),
            "next-exit" => Some(WaitCondition::NextExit),
            "removed" => Some(WaitCondition::Removed),
            _ => None,
        }
    }
}

/// Resolves with the exit. It counts from the moment it was given out, before it is first polled.
pub type WaitHandle = Pin<Box<dyn Future<Output = WaitResponse> + Send>>;

/// `POST /containers/{id}/update`: only what is set changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateRequest {
    pub restart_policy: Option<RestartPolicy>,
    pub cpu_shares: Option<i64>,
    pub memory: Option<i64>,
    pub memory_swap: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub nano_cpus: Option<i64>,
    pub cpu_period: Option<i64>,
    pub cpu_quota: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub blkio_weight: Option<u16>,
    pub pids_limit: Option<i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UpdateResponse {
    pub warnings: Option<Vec<String>>,
}

/// `POST /commit`.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub container: String,
    pub repo: String,
    pub tag: String,
    pub comment: String,
    pub author: String,
    pub pause: bool,
    /// Dockerfile lines.
    pub changes: Vec<String>,
    pub config: Option<Config>,
}

/// `X-Docker-Container-Path-Stat`, as JSON before base64.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArchiveStat {
    pub name: String,
    pub size: i64,
    /// Go's `os.FileMode` bits.
    pub mode: u32,
    pub mtime: Timestamp,
    pub link_target: String,
}
