//! The mounts that every container has, and the paths that are hidden or read-only in it.

use crate::input::{Input, Mount, Shm};

/// Hidden from containers that are not privileged.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only in containers that are not privileged.
pub const READONLY_PATHS: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's default when `ShmSize` is 0.
const SHM_BYTES: i64 = 64 << 20;

/// All mounts in the order in which they are to be made: defaults, then the user's, shallow before deep.
pub(crate) fn all(input: &Input<'_>) -> Vec<Mount> {
    let mut user = input.mounts.clone();
    user.sort_by_key(|mount| mount.destination.split('/').filter(|part| !part.is_empty()).count());
    let replaced = |destination: &str| {
        user.iter().any(|mount| {
            mount.destination == destination
                || (mount.destination == "/dev" && destination.starts_with("/dev/"))
        })
    };
    let mut mounts = defaults(input);
    mounts.retain(|mount| !replaced(&mount.destination));
    if let crate::Init::File(path) = &input.init {
        mounts.push(mount("/sbin/docker-init", "bind", path, "bind ro"));
    }
    mounts.extend(user);
    mounts
}

fn defaults(input: &Input<'_>) -> Vec<Mount> {
    let system = match input.host.privileged {
        true => "nosuid noexec nodev rw",
        false => "nosuid noexec nodev ro",
    };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", "nosuid noexec nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid noexec newinstance ptmxmode=0666 mode=0620 gid=5",
        ),
        mount("/sys", "sysfs", "sysfs", system),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", system),
    ];
    // The queues are those of the IPC namespace that mounts them, also where it is the host's.
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", "nosuid noexec nodev"));
    match &input.shm {
        Shm::Private => {
            let bytes = if input.host.shm_size > 0 { input.host.shm_size } else { SHM_BYTES };
            let options = format!("nosuid noexec nodev mode=1777 size={bytes}");
            mounts.push(mount("/dev/shm", "tmpfs", "shm", &options));
        }
        Shm::Bind(source) => {
            mounts.push(mount("/dev/shm", "bind", source, "rbind rprivate nosuid noexec nodev"));
        }
        Shm::Absent => {}
    }
    mounts
}

/// On cgroup v1 the runtimes mount each controller writable below a read-only directory: a container could
/// raise its own limits. Each is made read-only by name, the directory last.
pub(crate) fn readonly_cgroups(input: &Input<'_>) -> Vec<String> {
    if input.facts.cgroup_v2 || input.host.privileged {
        return Vec::new();
    }
    let controllers = input.facts.cgroup_v1_mounts.iter();
    let mut paths: Vec<String> = controllers.map(|name| format!("/sys/fs/cgroup/{name}")).collect();
    paths.push("/sys/fs/cgroup".to_owned());
    paths
}

fn mount(destination: &str, kind: &str, source: &str, options: &str) -> Mount {
    Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.split(' ').map(str::to_owned).collect(),
    }
}
