//! cgroup v1: `/sys/fs/cgroup/<controller>/<path>`.

use crate::files::Files;
use std::path::{Path, PathBuf};
use types::stats::{Blkio, BlkioEntry, CpuUsage, Memory, Pids, Stats, Throttling};

/// Nanoseconds of one tick of `cpuacct.stat` and `/proc/stat`: `USER_HZ` is 100 on every Linux we run on.
pub(crate) const TICK_NANOS: u64 = 10_000_000;

/// Fills in all that the controllers tell about `path` (without its leading slash).
pub(crate) fn fill(files: &mut Files, root: &Path, path: &Path, stats: &mut Stats) {
    let of = |controller: &str| -> PathBuf { root.join(controller).join(path) };
    stats.cpu_stats.cpu_usage = cpu_usage(files, &of("cpuacct"));
    stats.cpu_stats.throttling_data = throttling(files, &of("cpu"));
    stats.memory_stats = memory(files, &of("memory"));
    stats.pids_stats = pids(files, &of("pids"));
    stats.blkio_stats = blkio(files, &of("blkio"));
}

fn cpu_usage(files: &mut Files, dir: &Path) -> CpuUsage {
    let mut usage =
        CpuUsage { total_usage: files.number(dir, "cpuacct.usage"), ..CpuUsage::default() };
    let each = files.text(dir, "cpuacct.usage_percpu").split_whitespace();
    usage.percpu_usage = each.filter_map(|number| number.parse().ok()).collect();
    files.table(dir, "cpuacct.stat", |name, ticks| match name {
        "user" => usage.usage_in_usermode = ticks * TICK_NANOS,
        "system" => usage.usage_in_kernelmode = ticks * TICK_NANOS,
        _ => {}
    });
    usage
}

fn throttling(files: &mut Files, dir: &Path) -> Throttling {
    let mut data = Throttling::default();
    files.table(dir, "cpu.stat", |name, value| match name {
        "nr_periods" => data.periods = value,
        "nr_throttled" => data.throttled_periods = value,
        "throttled_time" => data.throttled_time = value,
        _ => {}
    });
    data
}

fn memory(files: &mut Files, dir: &Path) -> Memory {
    let mut memory = Memory {
        usage: files.number(dir, "memory.usage_in_bytes"),
        max_usage: files.number(dir, "memory.max_usage_in_bytes"),
        failcnt: files.number(dir, "memory.failcnt"),
        limit: files.number(dir, "memory.limit_in_bytes"),
        ..Memory::default()
    };
    files.table(dir, "memory.stat", |name, value| {
        memory.stats.insert(name.to_owned(), value);
    });
    memory
}

fn pids(files: &mut Files, dir: &Path) -> Pids {
    let limit = files.number(dir, "pids.max");
    Pids {
        current: files.number(dir, "pids.current"),
        limit: if limit == u64::MAX { 0 } else { limit },
    }
}

/// Only what the throttling layer counts: it does so with every scheduler. The other lists are empty, as
/// dockerd's are without CFQ.
fn blkio(files: &mut Files, dir: &Path) -> Blkio {
    let mut list = |name: &str| {
        let lines = files.text(dir, name).lines();
        Some(lines.filter_map(entry).collect::<Vec<_>>())
    };
    Blkio {
        io_service_bytes_recursive: list("blkio.throttle.io_service_bytes_recursive"),
        io_serviced_recursive: list("blkio.throttle.io_serviced_recursive"),
        io_queue_recursive: Some(Vec::new()),
        io_service_time_recursive: Some(Vec::new()),
        io_wait_time_recursive: Some(Vec::new()),
        io_merged_recursive: Some(Vec::new()),
        io_time_recursive: Some(Vec::new()),
        sectors_recursive: Some(Vec::new()),
    }
}

/// `8:0 Read 4096`.
fn entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split_whitespace();
    let (major, minor) = words.next()?.split_once(':')?;
    Some(BlkioEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        op: words.next()?.to_owned(),
        value: words.next()?.parse().ok()?,
    })
}
