//! One sample of one container.

use crate::files::Files;
use crate::{v1, v2};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use types::stats::{Network, Stats};

/// Samples a container by its cgroup's path (`/sampan/<id>`) and its init's pid. The caller adds name, id
/// and the previous sample. Fails when the process is gone.
pub fn sample(cgroup: &str, pid: i32) -> io::Result<Stats> {
    Sampler::default().sample(cgroup, pid)
}

/// What all that is in a cgroup (`/sampan`) uses together. Zeros where there is no such cgroup: nothing ever ran in it.
pub fn group(cgroup: &str) -> Stats {
    Sampler::default().group(cgroup)
}

/// Where the kernel's files are, and a buffer for them.
#[derive(Debug)]
pub struct Sampler {
    cgroups: PathBuf,
    proc: PathBuf,
    files: Files,
}

impl Default for Sampler {
    fn default() -> Self {
        Sampler::at("/sys/fs/cgroup", "/proc")
    }
}

impl Sampler {
    /// With these directories in place of the kernel's.
    pub fn at(cgroups: impl Into<PathBuf>, proc: impl Into<PathBuf>) -> Self {
        Sampler { cgroups: cgroups.into(), proc: proc.into(), files: Files::default() }
    }

    /// See [`sample`].
    pub fn sample(&mut self, cgroup: &str, pid: i32) -> io::Result<Stats> {
        let process = self.proc.join(pid.to_string());
        std::fs::metadata(&process)?;
        let mut stats = self.group(cgroup);
        if self.has_own_network(&process) {
            stats.networks = networks(self.files.text(&process, "net/dev"));
        }
        Ok(stats)
    }

    /// See [`group`].
    pub fn group(&mut self, cgroup: &str) -> Stats {
        let mut stats = Stats { read: SystemTime::now().into(), ..Stats::default() };
        let path = Path::new(cgroup.trim_start_matches('/'));
        if self.cgroups.join("cgroup.controllers").exists() {
            v2::fill(&mut self.files, &self.cgroups.join(path), &mut stats);
        } else {
            v1::fill(&mut self.files, &self.cgroups, path, &mut stats);
        }
        self.machine(&mut stats);
        stats
    }

    /// What only the whole machine knows: its processor time, its memory.
    fn machine(&mut self, stats: &mut Stats) {
        let text = self.files.text(&self.proc, "stat");
        let mut lines = text.lines().take_while(|line| line.starts_with("cpu"));
        if let Some(total) = lines.next() {
            // user, nice, system, idle, iowait, irq, softirq: what dockerd adds up.
            let ticks = total.split_whitespace().skip(1).take(7);
            let ticks: u64 = ticks.filter_map(|number| number.parse::<u64>().ok()).sum();
            stats.cpu_stats.system_cpu_usage = ticks * v1::TICK_NANOS;
        }
        stats.cpu_stats.online_cpus = lines.count() as u64;
        let mut kibibytes = 0;
        for line in self.files.text(&self.proc, "meminfo").lines() {
            if let Some(rest) = line.strip_prefix("MemTotal:") {
                kibibytes = rest.trim().trim_end_matches(" kB").parse().unwrap_or(0);
                break;
            }
        }
        let memory = &mut stats.memory_stats;
        if memory.usage > 0 && kibibytes > 0 {
            memory.limit = memory.limit.min(kibibytes * 1024);
        }
    }

    /// A container in the host's network has no counters of its own.
    fn has_own_network(&self, process: &Path) -> bool {
        let theirs = std::fs::read_link(process.join("ns/net"));
        let ours = std::fs::read_link(self.proc.join("self/ns/net"));
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => theirs != ours,
            _ => false,
        }
    }
}

/// `/proc/<pid>/net/dev` without the loopback.
fn networks(text: &str) -> BTreeMap<String, Network> {
    let mut found = BTreeMap::new();
    for (name, counters) in text.lines().filter_map(|line| line.split_once(':')) {
        let name = name.trim();
        let numbers = counters.split_whitespace().map_while(|number| number.parse::<u64>().ok());
        let numbers: Vec<u64> = numbers.collect();
        let [
            rx_bytes,
            rx_packets,
            rx_errors,
            rx_dropped,
            _,
            _,
            _,
            _,
            tx_bytes,
            tx_packets,
            tx_errors,
            tx_dropped,
            ..,
        ] = numbers[..]
        else {
            continue;
        };
        if name != "lo" {
            let network = Network {
                rx_bytes,
                rx_packets,
                rx_errors,
                rx_dropped,
                tx_bytes,
                tx_packets,
                tx_errors,
                tx_dropped,
            };
            found.insert(name.to_owned(), network);
        }
    }
    found
}

#[cfg(test)]
mod tests;
