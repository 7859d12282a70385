//! The kit itself, proven on Debian's dockerd: base images do what their names promise, and leaks are seen.

use testkit::{Daemon, eventually};

#[test]
fn the_base_images_run_under_dockerd() {
    let daemon = Daemon::dockerd(&["busybox", "redis:alpine", "python:3.7-alpine", "nginx:latest"]);

    assert_eq!(daemon.docker(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");

    daemon.docker(&["run", "-d", "--name", "store", "redis:alpine"]).ok();
    let pong = eventually("redis answers", || {
        let reply = daemon.docker(&["exec", "store", "redis-cli", "ping"]);
        (reply.status == 0).then_some(reply.stdout)
    });
    assert_eq!(pong.trim(), "PONG");
    let whose = daemon.docker(&["exec", "store", "stat", "-c", "%U", "/data", "/proc/1"]).ok();
    assert_eq!(whose, "redis\nredis");

    daemon.docker(&["run", "-d", "-p", "8080:80", "nginx:latest"]).ok();
    let page = eventually("nginx serves", || daemon.fetch(8080, "/").ok());
    assert_eq!((page.status, page.text().contains("Welcome to nginx!")), (200, true));

    let install =
        "pip install flask redis >/dev/null && python -c 'import flask, redis; print(\"both\")'";
    let args = ["run", "--rm", "--network", "none", "python:3.7-alpine", "sh", "-c", install];
    assert_eq!(daemon.docker(&args).ok(), "both");
}

#[test]
fn what_a_container_leaves_is_seen_until_it_is_removed() {
    let mut daemon = Daemon::dockerd(&["busybox"]);
    daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
    daemon.rebase();

    daemon.docker(&["run", "-d", "--name", "sleeper", "busybox", "sleep", "600"]).ok();
    // The container has started a moment before its process is called `sleep`.
    for kind in ["process sleep 600", "mount ", "cgroup ", "link veth"] {
        eventually(kind, || daemon.additions().iter().any(|it| it.contains(kind)).then_some(()));
    }

    daemon.docker(&["rm", "-f", "sleeper"]).ok();
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}
