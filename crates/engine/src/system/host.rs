//! Looking at the machine: kernel, distribution, cgroups, our own capabilities.

use nix::sys::statfs::{self, CGROUP2_SUPER_MAGIC, FsType};
use std::fs;
use std::path::{Path, PathBuf};
use types::system::Info;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

pub(super) fn kernel() -> String {
    read("/proc/sys/kernel/osrelease")
}

pub(super) fn name() -> String {
    read("/proc/sys/kernel/hostname")
}

pub(super) fn ipv4_forwarding() -> bool {
    read("/proc/sys/net/ipv4/ip_forward") != "0"
}

pub(super) fn has_seccomp() -> bool {
    Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

pub(super) fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

pub(super) fn memory_bytes() -> u64 {
    let text = read("/proc/meminfo");
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = total.and_then(|total| total.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// A proxy of the environment, without its password.
pub(super) fn proxy(names: [&str; 2]) -> String {
    let value =
        names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    let value = value.unwrap_or_default();
    match (value.split_once("://"), value.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        _ => value,
    }
}

/// Go's word for this architecture.
pub(super) fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Docker's word for the file system below `path`.
pub(super) fn file_system(path: &Path) -> &'static str {
    let Ok(found) = statfs::statfs(path) else { return "<unknown>" };
    let known: [(FsType, &str); 6] = [
        (statfs::EXT4_SUPER_MAGIC, "extfs"),
        (statfs::XFS_SUPER_MAGIC, "xfs"),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (statfs::TMPFS_MAGIC, "tmpfs"),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
        (statfs::F2FS_SUPER_MAGIC, "f2fs"),
    ];
    known
        .iter()
        .find(|(magic, _)| *magic == found.filesystem_type())
        .map_or("<unknown>", |(_, name)| name)
}

#[derive(Debug, Default)]
pub(super) struct OsRelease {
    pub(super) pretty_name: String,
    pub(super) version_id: String,
}

pub(super) fn os_release() -> OsRelease {
    let text = match fs::read_to_string("/etc/os-release") {
        Ok(text) => text,
        Err(_) => read("/usr/lib/os-release"),
    };
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let pretty_name = value("PRETTY_NAME");
    OsRelease {
        pretty_name: if pretty_name.is_empty() { "Linux".to_owned() } else { pretty_name },
        version_id: value("VERSION_ID"),
    }
}

/// Capabilities without which some containers get less than they ask for, and what they miss.
const USEFUL: [(u32, &str, &str); 3] = [
    (24, "CAP_SYS_RESOURCE", "ulimits cannot be raised and negative oom_score_adj is not applied"),
    (21, "CAP_SYS_ADMIN", "containers cannot be started"),
    (12, "CAP_NET_ADMIN", "networks cannot be made"),
];

/// One warning for each useful capability that this process lacks.
pub(super) fn missing_capabilities() -> Vec<String> {
    let status = read("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Vec::new();
    };
    let missing = USEFUL.iter().filter(|(bit, ..)| effective & (1 << bit) == 0);
    missing.map(|(_, name, lost)| format!("WARNING: The daemon lacks {name}: {lost}")).collect()
}

/// Which controls the kernel offers, on either layout.
#[derive(Debug)]
pub(super) enum Cgroups {
    /// Each controller's mount point; hybrid layouts count as this.
    V1 {
        mounts: Vec<(String, PathBuf)>,
    },
    V2 {
        controllers: Vec<String>,
    },
}

impl Cgroups {
    pub(super) fn look() -> Self {
        let unified = statfs::statfs("/sys/fs/cgroup")
            .is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC);
        if unified {
            let controllers = read("/sys/fs/cgroup/cgroup.controllers");
            return Cgroups::V2 {
                controllers: controllers.split(' ').map(str::to_owned).collect(),
            };
        }
        Cgroups::V1 { mounts: v1_mounts(&read("/proc/self/mountinfo")) }
    }

    pub(super) fn is_unified(&self) -> bool {
        matches!(self, Cgroups::V2 { .. })
    }

    /// Whether `controller` is there and, on v1, has `file`.
    fn has(&self, controller: &str, file: &str) -> bool {
        match self {
            Cgroups::V2 { controllers } => controllers.iter().any(|name| name == controller),
            Cgroups::V1 { mounts } => mounts.iter().any(|(name, dir)| {
                name == controller && (file.is_empty() || dir.join(file).exists())
            }),
        }
    }

    /// Fills in what can be limited here.
    pub(super) fn describe(&self, info: &mut Info) {
        let v1 = !self.is_unified();
        info.cgroup_driver = "cgroupfs".to_owned();
        info.cgroup_version = if v1 { "1" } else { "2" }.to_owned();
        info.memory_limit = self.has("memory", "memory.limit_in_bytes");
        info.swap_limit = self.has("memory", "memory.memsw.limit_in_bytes")
            && (v1 || Path::new("/proc/swaps").exists());
        info.kernel_memory_tcp = v1 && self.has("memory", "memory.kmem.tcp.limit_in_bytes");
        info.oom_kill_disable = v1 && self.has("memory", "memory.oom_control");
        info.cpu_cfs_period = self.has("cpu", "cpu.cfs_period_us");
        info.cpu_cfs_quota = self.has("cpu", "cpu.cfs_quota_us");
        info.cpu_shares = self.has("cpu", "cpu.shares");
        info.cpu_set = self.has("cpuset", "");
        info.pids_limit = self.has("pids", "");
    }

    /// dockerd's warnings for what cannot be limited here.
    pub(super) fn warnings(&self, info: &Info) -> Vec<String> {
        let v1 = !self.is_unified();
        let throttle = |file: &str| {
            self.has(if v1 { "blkio" } else { "io" }, &format!("blkio.throttle.{file}_device"))
        };
        let io = |v2: &str, file: &str| {
            if v1 { format!("blkio throttle.{file}_device") } else { format!("io.max ({v2})") }
        };
        let checks = [
            (info.memory_limit, "memory limit".to_owned()),
            (info.swap_limit, "swap limit".to_owned()),
            (!v1 || info.oom_kill_disable, "oom kill disable".to_owned()),
            (info.cpu_cfs_quota, "cpu cfs quota".to_owned()),
            (info.cpu_cfs_period, "cpu cfs period".to_owned()),
            (info.cpu_shares, "cpu shares".to_owned()),
            (info.cpu_set, "cpuset".to_owned()),
            (info.pids_limit, "pids limit".to_owned()),
            (throttle("read_bps"), io("rbps", "read_bps")),
            (throttle("write_bps"), io("wbps", "write_bps")),
            (throttle("read_iops"), io("riops", "read_iops")),
            (throttle("write_iops"), io("wiops", "write_iops")),
        ];
        let absent = checks.into_iter().filter(|(there, _)| !there);
        let mut warnings: Vec<_> =
            absent.map(|(_, what)| format!("WARNING: No {what} support")).collect();
        if !info.ipv4_forwarding {
            warnings.push("WARNING: IPv4 forwarding is disabled".to_owned());
        }
        warnings
    }
}

/// `(controller, mount point)` of each v1 hierarchy; one mount may carry several.
fn v1_mounts(mountinfo: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let mut source = source.split(' ');
        if source.next() != Some("cgroup") {
            continue;
        }
        let Some(target) = mount.split(' ').nth(4) else { continue };
        let options = source.nth(1).unwrap_or_default();
        found.extend(options.split(',').map(|option| (option.to_owned(), PathBuf::from(target))));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_that_share_a_mount_are_all_found() {
        let text = "31 25 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
                    32 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let mounts = v1_mounts(text);
        assert!(
            mounts.contains(&("cpuacct".to_owned(), PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")))
        );
        assert!(!mounts.iter().any(|(_, dir)| dir.ends_with("unified")));
    }

    #[test]
    fn what_is_missing_is_warned_of_in_dockers_words() {
        let cgroups = Cgroups::V2 { controllers: vec!["memory".to_owned(), "cpu".to_owned()] };
        let mut info = Info { ipv4_forwarding: true, ..Info::default() };
        cgroups.describe(&mut info);
        let warnings = cgroups.warnings(&info);
        assert!(info.memory_limit && !info.pids_limit);
        assert!(warnings.contains(&"WARNING: No cpuset support".to_owned()));
        assert!(warnings.contains(&"WARNING: No io.max (rbps) support".to_owned()));
        assert!(!warnings.iter().any(|warning| warning.contains("memory")));
    }
}
