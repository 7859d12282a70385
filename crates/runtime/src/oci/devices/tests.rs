//! The kernel itself takes the programs: a process in a cgroup of version 2 tries the devices.

use super::*;
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

fn rules(rules: &serde_json::Value) -> Vec<LinuxDeviceCgroup> {
    serde_json::from_value(rules.clone()).unwrap()
}

/// A cgroup below the machine's mount of version 2, which the hybrid layout has too; gone at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts.lines().find(|line| line.contains(" - cgroup2 ")).expect("cgroup2");
        let mount = Path::new(line.split(' ').nth(4).unwrap());
        let dir = mount.join(format!("smp-devices-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        Directory(dir)
    }

    /// Whether `command` of a shell in the cgroup succeeds.
    fn may(&self, command: &str) -> bool {
        let script =
            format!("echo 0 > {}/cgroup.procs && exec sh -c '{command}'", self.0.display());
        let quiet = std::process::Stdio::null;
        Command::new("sh")
            .args(["-c", &script])
            .stderr(quiet())
            .stdout(quiet())
            .status()
            .unwrap()
            .success()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn the_kernel_applies_the_rules() {
    let dir = Directory::new();
    let node = std::env::temp_dir().join(format!("smp-node-{}", std::process::id()));
    let node = node.display();
    let rules = rules(&json!([
        { "allow": false, "type": "a", "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" },
        { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "r" },
        { "allow": true, "type": "c", "major": 1, "minor": 9, "access": "rw" },
        { "allow": false, "type": "c", "major": 1, "minor": 9, "access": "w" },
    ]));
    assert!(dir.may("head -c 1 /dev/full"), "before there are rules");
    let program = program(&rules).unwrap();
    sys::bpf::attach_device_rules(File::open(&dir.0).unwrap().as_fd(), &program).unwrap();
    for (command, allowed) in [
        ("echo > /dev/null", true),
        ("head -c 1 /dev/zero", true),
        ("echo 2> /dev/null > /dev/zero", false),
        ("head -c 1 /dev/full", false),
        ("head -c 1 /dev/urandom", true),
        ("echo > /dev/urandom", false),
        (&format!("mknod {node} c 1 7 && rm {node}"), true),
        (&format!("mknod {node} b 7 250 && rm {node}"), false),
    ] {
        assert_eq!(dir.may(command), allowed, "{command}");
    }
}

#[test]
fn what_allows_everything_needs_no_program() {
    assert_eq!(program(&rules(&json!([{ "allow": true, "type": "a", "access": "rwm" }]))), None);
}

#[test]
fn rules_before_one_for_everything_are_never_reached() {
    let all = json!({ "allow": false, "type": "a", "access": "rwm" });
    let one = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
    let short = program(&rules(&json!([all])));
    assert_eq!(program(&rules(&json!([one, all]))), short);
    assert_ne!(program(&rules(&json!([all, one]))), short);
}
