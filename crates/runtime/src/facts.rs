//! What this machine and this daemon can give to containers, for `ocispec`. Observed once, when the engine opens.

use nix::sys::resource::{Resource, getrlimit};
use ocispec::{ALL_CAPABILITIES, Controller, Facts};
use std::collections::BTreeMap;
use std::path::Path;

const LIMITS: &[(&str, Resource)] = &[
    ("RLIMIT_AS", Resource::RLIMIT_AS),
    ("RLIMIT_CORE", Resource::RLIMIT_CORE),
    ("RLIMIT_CPU", Resource::RLIMIT_CPU),
    ("RLIMIT_DATA", Resource::RLIMIT_DATA),
    ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
    ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
    ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("RLIMIT_NICE", Resource::RLIMIT_NICE),
    ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
    ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
    ("RLIMIT_RSS", Resource::RLIMIT_RSS),
    ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RLIMIT_RTTIME", Resource::RLIMIT_RTTIME),
    ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("RLIMIT_STACK", Resource::RLIMIT_STACK),
];

/// Reads them from `/proc` and `/sys`. What cannot be read counts as not there.
pub fn observe_facts() -> Facts {
    let cgroup_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mounts = if cgroup_v2 { Vec::new() } else { v1_mounts() };
    let there = match cgroup_v2 {
        true => read("/sys/fs/cgroup/cgroup.controllers").trim().replace(' ', ","),
        false => mounts.join(","),
    };
    Facts {
        cgroup_v2,
        cgroup_v1_mounts: mounts,
        swap_limit: swap_limit(cgroup_v2),
        without: without(&there).into_iter().chain(without_weight(cgroup_v2)).collect(),
        capabilities: capabilities(&read("/proc/self/status")),
        hard_limits: hard_limits(),
        oom_score_adj: read("/proc/self/oom_score_adj").trim().parse().unwrap_or(0),
        arch: std::env::consts::ARCH.to_owned(),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn v1_mounts() -> Vec<String> {
    let mounts = read("/proc/self/mountinfo");
    let mut names: Vec<String> = mounts
        .lines()
        .filter(|line| line.contains(" - cgroup "))
        .filter_map(|line| {
            line.split(' ').nth(4)?.strip_prefix("/sys/fs/cgroup/").map(str::to_owned)
        })
        .filter(|name| !name.contains('/'))
        .collect();
    names.sort();
    names
}

/// The controllers that are not among `there`, separated by commas; one mount of v1 may have several.
fn without(there: &str) -> Vec<Controller> {
    let known = [
        (Controller::Memory, ["memory", "memory"]),
        (Controller::Cpu, ["cpu", "cpu"]),
        (Controller::Cpuset, ["cpuset", "cpuset"]),
        (Controller::Pids, ["pids", "pids"]),
        (Controller::Io, ["io", "blkio"]),
    ];
    let absent =
        known.into_iter().filter(|(_, names)| !there.split(',').any(|n| names.contains(&n)));
    absent.map(|(controller, _)| controller).collect()
}

/// The first version shows it in its root, the second nowhere but below.
fn without_weight(cgroup_v2: bool) -> Option<Controller> {
    let files = ["blkio.weight", "blkio.bfq.weight"];
    let there = files.iter().any(|file| Path::new("/sys/fs/cgroup/blkio").join(file).exists());
    (!cgroup_v2 && !there).then_some(Controller::IoWeight)
}

fn swap_limit(cgroup_v2: bool) -> bool {
    // v2 has it in every cgroup but the root; the swap file tells whether the machine accounts for swap.
    cgroup_v2 || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

/// The names of the effective set's bits: what is not effective cannot be handed on.
fn capabilities(status: &str) -> Vec<String> {
    let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = bits.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0);
    let held = ALL_CAPABILITIES.iter().enumerate().filter(|(bit, _)| bits >> bit & 1 == 1);
    held.map(|(_, name)| (*name).to_owned()).collect()
}

fn hard_limits() -> BTreeMap<String, u64> {
    LIMITS
        .iter()
        .filter_map(|(name, resource)| Some(((*name).to_owned(), getrlimit(*resource).ok()?.1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_told_by_their_names_in_both_versions() {
        assert_eq!(without("cpuset,cpu,io,memory,pids,rdma"), []);
        assert_eq!(without("cpu,cpuacct,memory,blkio"), [Controller::Cpuset, Controller::Pids]);
    }

    #[test]
    fn bits_become_names() {
        let names = capabilities("Name:\tx\nCapEff:\t0000000000000003\n");
        assert_eq!(names, ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    }
}
