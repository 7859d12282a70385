//! Containers where cgroup version 2 is all there is, as on most machines of today.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::{Daemon, Options};

/// Makes a node of the tunnel device, which no container has by default, and opens it.
const OPEN_TUNNEL: &str = "mknod /node c 10 200 && : < /node";

#[test]
fn a_container_lives_and_is_confined() {
    let daemon =
        Daemon::start(Options { unified_cgroups: true, ..Options::with_images(&["busybox"]) });
    let info = daemon.get("/v1.51/info").json();
    assert_eq!(info["CgroupVersion"], "2");

    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "86400"]).ok();
    daemon.docker(&["exec", "alpha", "true"]).ok();
    daemon.docker(&["pause", "alpha"]).ok();
    let status = daemon.docker(&["ps", "--format", "{{.Status}}"]).ok();
    assert!(status.contains("(Paused)"), "{status}");
    daemon.docker(&["unpause", "alpha"]).ok();
    assert!(daemon.docker(&["top", "alpha"]).ok().contains("sleep 86400"));
    daemon.docker(&["stats", "--no-stream", "alpha"]).ok();
    daemon.docker(&["kill", "alpha"]).ok();
    daemon.docker(&["rm", "alpha"]).ok();

    // What the machine cannot limit is said, and the container runs.
    let limited = daemon.docker(&["run", "--rm", "-m", "64m", "busybox", "true"]);
    let discarded = "memory limit capabilities or the cgroup is not mounted. Limitation discarded.";
    assert_eq!(limited.stderr.contains(discarded), info["MemoryLimit"] == false, "{limited:?}");
    limited.ok();

    // Device rules are a program of the kernel's here, not a controller.
    let run = |options: &[&str]| {
        let command = ["busybox", "sh", "-c", OPEN_TUNNEL];
        daemon.docker(&[&["run", "--rm"], options, &command].concat())
    };
    assert!(run(&[]).err().contains("Operation not permitted"));
    run(&["--device-cgroup-rule", "c 10:200 r"]).ok();
    run(&["--privileged"]).ok();
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}
