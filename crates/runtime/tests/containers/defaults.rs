//! Containers with the specification that Docker's defaults come to, as `ocispec` builds it.

use crate::world::{Which, World, both, in_time};
use ocispec::{ExecUser, Init, Input, Namespace, Shm};
use std::collections::BTreeMap;
use types::container::{Config, HostConfig};

/// Replaces the world's specification by the default one for `host`.
pub(crate) fn docker(world: &mut World, host: &HostConfig, init: Init) {
    let facts = runtime::observe_facts();
    let config = Config::default();
    let cgroup_path = format!("/smp-test-{0}/{0}", world.id);
    let rootfs = world.rootfs();
    let input = Input {
        config: &config,
        host,
        args: vec!["true".to_owned()],
        env: vec!["PATH=/bin".to_owned()],
        cwd: "/",
        user: ExecUser::default(),
        rootfs: &rootfs,
        mounts: Vec::new(),
        devices: Vec::new(),
        block_devices: BTreeMap::new(),
        network: Namespace::Private,
        pid: Namespace::Private,
        ipc: Namespace::Private,
        uts: Namespace::Private,
        cgroupns: Namespace::Host,
        shm: Shm::Private,
        hostname: "box",
        cgroup_path: &cgroup_path,
        init,
        facts: &facts,
    };
    world.spec = serde_json::to_value(ocispec::build(&input).unwrap().0).unwrap();
}

const RAISE_LIMIT: &str = "for f in $(find /sys/fs/cgroup -name memory.limit_in_bytes -o -name memory.max); \
    do found=found; echo 900000000 > $f && echo raised $f; done 2>/dev/null; echo $found";

both! {
async fn a_container_cannot_raise_its_own_limits(mut world in World) {
    docker(&mut world, &HostConfig { memory: 32 << 20, ..HostConfig::default() }, Init::Command);
    assert_eq!(world.output_of(&["sh", "-c", RAISE_LIMIT]).await, (0, "found\n".to_owned()));
}

async fn the_default_filter_and_capabilities_hold(mut world in World) {
    docker(&mut world, &HostConfig::default(), Init::Command);
    let script = "mkdir /tmp/ok && echo made; mount -t tmpfs x /tmp 2>/dev/null || echo no mount; \
        grep -E '^(CapEff|Seccomp):' /proc/self/status; hostname; \
        echo x 2>/dev/null > /proc/sys/kernel/hostname || echo read-only";
    let (code, out) = world.output_of(&["sh", "-c", script]).await;
    let expected = "made\nno mount\nCapEff:\t00000000a80425fb\nSeccomp:\t2\nbox\nread-only\n";
    assert_eq!((code, out.as_str()), (0, expected));
}

async fn a_privileged_container_gets_what_the_daemon_has(mut world in World) {
    docker(&mut world, &HostConfig { privileged: true, ..HostConfig::default() }, Init::Command);
    let script = "mount -t tmpfs x /tmp && echo mounted; grep -E '^Seccomp:' /proc/self/status";
    assert_eq!(world.output_of(&["sh", "-c", script]).await, (0, "mounted\nSeccomp:\t0\n".to_owned()));
}
}

#[tokio::test]
async fn the_built_in_init_reaps_and_passes_signals_on() {
    in_time(built_in_init(World::new(Which::Embedded))).await;
}

async fn built_in_init(mut world: World) {
    docker(&mut world, &HostConfig::default(), Init::BuiltIn);
    let script = "trap 'exit 4' TERM; echo pid $$; while :; do sleep 0.01; done";
    let shim = world.run(&["sh", "-c", script]).await;
    world.logs("pid 2\n").await;
    shim.signal(libc::SIGTERM).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 4);
}
