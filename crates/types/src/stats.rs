//! What a container uses: `GET /containers/{id}/stats`, in Docker's own spelling.
//!
//! The counters of one sample are the kernel's totals; clients take the difference of two samples.

use crate::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One sample. All zero for a container that does not run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stats {
    pub read: Timestamp,
    /// When `precpu_stats` were taken; never for the first sample.
    pub preread: Timestamp,
    pub pids_stats: Pids,
    pub blkio_stats: Blkio,
    /// Always 0 on Linux, as `storage_stats` is always empty.
    pub num_procs: u32,
    pub storage_stats: BTreeMap<String, u64>,
    pub cpu_stats: Cpu,
    pub precpu_stats: Cpu,
    pub memory_stats: Memory,
    /// With its leading slash.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// By interface; left out for a container in another's network namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub networks: BTreeMap<String, Network>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// The largest number for "no limit" under cgroup v2, left out under v1.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// `null` where the kernel keeps no such counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Blkio {
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
    pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
    pub io_queue_recursive: Option<Vec<BlkioEntry>>,
    pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
    pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
    pub io_merged_recursive: Option<Vec<BlkioEntry>>,
    pub io_time_recursive: Option<Vec<BlkioEntry>>,
    pub sectors_recursive: Option<Vec<BlkioEntry>>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlkioEntry {
    pub major: u64,
    pub minor: u64,
    /// `Read`, `Write`, … under cgroup v1; `read`, `write` under v2.
    pub op: String,
    pub value: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cpu {
    pub cpu_usage: CpuUsage,
    /// Nanoseconds of the whole machine, idle time included.
    #[serde(skip_serializing_if = "is_zero")]
    pub system_cpu_usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub online_cpus: u64,
    pub throttling_data: Throttling,
}

/// Nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    pub total_usage: u64,
    /// cgroup v1 only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_usage: Vec<u64>,
    pub usage_in_kernelmode: u64,
    pub usage_in_usermode: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
}

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Page cache included; clients subtract `stats.total_inactive_file` (v1) or `inactive_file` (v2).
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// cgroup v1 only.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_usage: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stats: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "is_zero")]
    pub failcnt: u64,
    /// The machine's memory when there is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

impl Memory {
    /// Without the pages of files that nobody has read lately: what `docker stats` shows.
    pub fn in_use(&self) -> u64 {
        let cache = ["total_inactive_file", "inactive_file"];
        let cache = cache.iter().find_map(|key| self.stats.get(*key)).copied().unwrap_or(0);
        self.usage.checked_sub(cache).unwrap_or(self.usage)
    }
}

/// What all containers of a node use together: part of `sampan node top`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeUsage {
    /// The node's id; empty in no cluster.
    pub node: String,
    /// Billionths of a processor.
    #[serde(rename = "NanoCPUs")]
    pub nano_cpus: u64,
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dockerd answers for a container that was created and never started.
    #[test]
    fn a_container_that_does_not_run_has_dockers_zeros() {
        let stats = Stats { id: "a6".into(), name: "/x".into(), ..Stats::default() };
        let want = concat!(
            r#"{"read":"0001-01-01T00:00:00Z","preread":"0001-01-01T00:00:00Z","pids_stats":{},"#,
            r#""blkio_stats":{"io_service_bytes_recursive":null,"io_serviced_recursive":null,"#,
            r#""io_queue_recursive":null,"io_service_time_recursive":null,"io_wait_time_recursive":null,"#,
            r#""io_merged_recursive":null,"io_time_recursive":null,"sectors_recursive":null},"num_procs":0,"#,
            r#""storage_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"#,
            r#""usage_in_usermode":0},"throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"#,
            r#""precpu_stats":{"cpu_usage":{"total_usage":0,"usage_in_kernelmode":0,"usage_in_usermode":0},"#,
            r#""throttling_data":{"periods":0,"throttled_periods":0,"throttled_time":0}},"memory_stats":{},"#,
            r#""name":"/x","id":"a6"}"#,
        );
        assert_eq!(serde_json::to_string(&stats).unwrap(), want);
    }
}
