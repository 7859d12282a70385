//! What processes weigh, from `/proc/<pid>/smaps_rollup`.

use std::collections::BTreeMap;
use std::fs;

use crate::sweep;

/// Sums over the processes of one program name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight {
    pub processes: u64,
    pub rss_bytes: u64,
    /// Each shared page divided by the number of processes that share it.
    pub pss_bytes: u64,
    /// Private clean and dirty pages.
    pub private_bytes: u64,
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.processes += other.processes;
        self.rss_bytes += other.rss_bytes;
        self.pss_bytes += other.pss_bytes;
        self.private_bytes += other.private_bytes;
    }
}

pub(crate) fn weigh(token: &str, daemon: Option<u32>) -> Vec<(String, Weight)> {
    let mut by_name: BTreeMap<String, Weight> = BTreeMap::new();
    for process in sweep::processes(token) {
        let is_container = process.in_cgroup && Some(process.pid) != daemon;
        if is_container || process.name == "docker" {
            continue;
        }
        if let Some(weight) = weigh_one(process.pid) {
            let role = if Some(process.pid) == daemon { "daemon" } else { process.name.as_str() };
            *by_name.entry(role.to_owned()).or_default() += weight;
        }
    }
    by_name.into_iter().collect()
}

fn weigh_one(pid: u32) -> Option<Weight> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let sum = |fields: &[&str]| -> u64 {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .filter(|(name, _)| fields.contains(name))
            .filter_map(|(_, value)| value.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .sum::<u64>()
            * 1024
    };
    Some(Weight {
        processes: 1,
        rss_bytes: sum(&["Rss"]),
        pss_bytes: sum(&["Pss"]),
        private_bytes: sum(&["Private_Clean", "Private_Dirty"]),
    })
}
