//! What this machine and this daemon can give, for `ocispec`. Observed once, at start.

use crate::error::RuntimeError;
use ocispec::Facts;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const CGROUP: &str = "/sys/fs/cgroup";
/// Names of `/proc/self/limits` and OCI's for the same.
const LIMITS: [(&str, &str); 16] = [
    ("Max cpu time", "RLIMIT_CPU"),
    ("Max file size", "RLIMIT_FSIZE"),
    ("Max data size", "RLIMIT_DATA"),
    ("Max stack size", "RLIMIT_STACK"),
    ("Max core file size", "RLIMIT_CORE"),
    ("Max resident set", "RLIMIT_RSS"),
    ("Max processes", "RLIMIT_NPROC"),
    ("Max open files", "RLIMIT_NOFILE"),
    ("Max locked memory", "RLIMIT_MEMLOCK"),
    ("Max address space", "RLIMIT_AS"),
    ("Max file locks", "RLIMIT_LOCKS"),
    ("Max pending signals", "RLIMIT_SIGPENDING"),
    ("Max msgqueue size", "RLIMIT_MSGQUEUE"),
    ("Max nice priority", "RLIMIT_NICE"),
    ("Max realtime priority", "RLIMIT_RTPRIO"),
    ("Max realtime timeout", "RLIMIT_RTTIME"),
];

/// Reads `/proc/self` and `/sys/fs/cgroup`.
pub fn observe_facts() -> Result<Facts, RuntimeError> {
    let status = read("/proc/self/status")?;
    let limits = read("/proc/self/limits")?;
    let oom = read("/proc/self/oom_score_adj")?;
    let cgroup_v2 = Path::new(CGROUP).join("cgroup.controllers").exists();
    let swap = Path::new(CGROUP).join("memory/memory.memsw.limit_in_bytes").exists();
    Ok(Facts {
        cgroup_v2,
        cgroup_v1_mounts: if cgroup_v2 { Vec::new() } else { controllers() },
        swap_limit: cgroup_v2 || swap,
        capabilities: capabilities(&status),
        hard_limits: hard_limits(&limits),
        oom_score_adj: oom.trim().parse().unwrap_or(0),
        arch: std::env::consts::ARCH.to_owned(),
    })
}

fn read(path: &str) -> Result<String, RuntimeError> {
    fs::read_to_string(path).map_err(|source| RuntimeError::File {
        action: "read",
        path: PathBuf::from(path),
        source,
    })
}

fn controllers() -> Vec<String> {
    let entries = fs::read_dir(CGROUP).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// The effective set of `/proc/self/status`: what is not effective cannot be handed on.
fn capabilities(status: &str) -> Vec<String> {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    let all = ocispec::ALL_CAPABILITIES.into_iter().enumerate();
    all.filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| name.to_owned()).collect()
}

/// The finite hard limits.
fn hard_limits(limits: &str) -> BTreeMap<String, u64> {
    let of_line = |line: &str| {
        let (name, rest) =
            LIMITS.iter().find_map(|(text, name)| Some((name, line.strip_prefix(text)?)))?;
        let hard = rest.split_whitespace().nth(1)?.parse().ok()?;
        Some(((*name).to_owned(), hard))
    };
    limits.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_bit_is_a_missing_capability() {
        let caps = capabilities("Name:\tx\nCapEff:\t000001fffeffffff\n");
        assert!(!caps.contains(&"CAP_SYS_RESOURCE".to_owned()));
        assert_eq!(caps.len(), 40);
    }

    #[test]
    fn only_finite_limits_are_limits() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max cpu time              unlimited            unlimited            seconds   \n\
                    Max open files            1024                 4096                 files     \n";
        assert_eq!(hard_limits(text), BTreeMap::from([("RLIMIT_NOFILE".to_owned(), 4096)]));
    }
}
