//! cgroup v2: `/sys/fs/cgroup/<path>`.

use crate::files::Files;
use std::path::Path;
use types::stats::{Blkio, BlkioEntry, Memory, Pids, Stats};

/// Fills in all that the cgroup at `dir` tells.
pub(crate) fn fill(files: &mut Files, dir: &Path, stats: &mut Stats) {
    let cpu = &mut stats.cpu_stats;
    let (usage, throttling) = (&mut cpu.cpu_usage, &mut cpu.throttling_data);
    files.table(dir, "cpu.stat", |name, value| match name {
        "usage_usec" => usage.total_usage = value * 1000,
        "user_usec" => usage.usage_in_usermode = value * 1000,
        "system_usec" => usage.usage_in_kernelmode = value * 1000,
        "nr_periods" => throttling.periods = value,
        "nr_throttled" => throttling.throttled_periods = value,
        "throttled_usec" => throttling.throttled_time = value * 1000,
        _ => {}
    });
    stats.memory_stats = memory(files, dir);
    stats.pids_stats =
        Pids { current: files.number(dir, "pids.current"), limit: files.number(dir, "pids.max") };
    stats.blkio_stats = blkio(files.text(dir, "io.stat"));
}

fn memory(files: &mut Files, dir: &Path) -> Memory {
    let mut memory = Memory {
        usage: files.number(dir, "memory.current"),
        limit: files.number(dir, "memory.max"),
        ..Memory::default()
    };
    files.table(dir, "memory.stat", |name, value| {
        memory.stats.insert(name.to_owned(), value);
    });
    files.table(dir, "memory.events", |name, value| {
        if name == "oom" {
            memory.failcnt = value;
        }
    });
    memory
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn blkio(text: &str) -> Blkio {
    let (mut bytes, mut counts) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((Ok(major), Ok(minor))) = device.map(|(a, b)| (a.parse(), b.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let entry = |op: &str| BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: value.parse().unwrap_or(0),
            };
            match key {
                "rbytes" => bytes.push(entry("read")),
                "wbytes" => bytes.push(entry("write")),
                "rios" => counts.push(entry("read")),
                "wios" => counts.push(entry("write")),
                _ => {}
            }
        }
    }
    Blkio {
        io_service_bytes_recursive: Some(bytes),
        io_serviced_recursive: Some(counts),
        ..Blkio::default()
    }
}
