//! What a daemon should have cleaned up: taken as a snapshot, compared with an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::namespace::Namespace;
use crate::sweep;

/// What there is at one moment. Everything a leak could be is a line of text, with how often it is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    lines: BTreeMap<String, usize>,
}

impl Snapshot {
    pub(crate) fn take(token: &str, namespace: &Namespace, daemon: Option<u32>) -> Self {
        let mut snapshot = Snapshot::default();
        for process in
            sweep::processes(token).into_iter().filter(|process| Some(process.pid) != daemon)
        {
            snapshot.add(format!("process {}", process.command));
        }
        for mount in sweep::mounts(token) {
            snapshot.add(format!("mount {}", mount.display()));
        }
        for cgroup in cgroups(token) {
            snapshot.add(format!("cgroup {}", cgroup.display()));
        }
        for link in links(namespace) {
            snapshot.add(format!("link {link}"));
        }
        for rule in rules(namespace) {
            snapshot.add(format!("nft {rule}"));
        }
        for descriptor in daemon.map(descriptors).unwrap_or_default() {
            snapshot.add(format!("descriptor {descriptor}"));
        }
        snapshot
    }

    fn add(&mut self, line: String) {
        *self.lines.entry(line).or_default() += 1;
    }
}

/// Sockets and pipes come and go with what a daemon happens to be doing; one leaked at each turn soon exceeds this.
const DESCRIPTOR_SLACK: usize = 2;

/// What `now` has more of than `before`.
pub(crate) fn compare(before: &Snapshot, now: &Snapshot) -> Vec<String> {
    let grown = |(line, &count): (&String, &usize)| {
        let old = before.lines.get(line).copied().unwrap_or(0);
        let slack = if line.starts_with("descriptor ") { DESCRIPTOR_SLACK } else { 0 };
        match old {
            old if count <= old + slack => None,
            0 if count == 1 => Some(line.clone()),
            old => Some(format!("{line} ({old} → {count})")),
        }
    };
    now.lines.iter().filter_map(grown).collect()
}

pub(crate) fn cgroups(token: &str) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for root in sweep::cgroup_roots(token) {
        below(&root, &mut found);
    }
    found
}

fn below(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
            found.insert(entry.path());
        }
    }
}

fn links(namespace: &Namespace) -> Vec<String> {
    let text = namespace.run(&["ip", "-o", "link", "show"]).unwrap_or_default();
    let name = |line: &str| {
        line.split(": ").nth(1).map(|name| name.split('@').next().unwrap_or(name).to_owned())
    };
    text.lines().filter_map(name).collect()
}

fn rules(namespace: &Namespace) -> Vec<String> {
    let text = namespace.run(&["nft", "--stateless", "list", "ruleset"]).unwrap_or_default();
    text.lines()
        .map(str::trim)
        .filter(|line| !matches!(*line, "" | "}"))
        .map(str::to_owned)
        .collect()
}

/// Open descriptors of the daemon by what they lead to; sockets and pipes without their numbers.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| {
            let target = target.display().to_string();
            match target.split_once(":[") {
                Some((kind @ ("socket" | "pipe" | "net" | "mnt"), _)) => kind.to_owned(),
                _ => target,
            }
        })
        .collect()
}
