//! What a client learns of a container's life beside its own answers: events, and execs that nobody attends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;

use serde_json::json;
use testkit::{Daemon, Options, eventually};

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

#[test]
fn a_container_that_ends_says_which_networks_it_leaves() {
    let daemon = started();
    daemon.docker(&["run", "--name", "alpha", "busybox", "true"]).ok();
    let follows = ["events", "--since", "0", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    let wanted =
        "container create, network connect, container start, container die, network disconnect";
    eventually("all of it is told", || {
        let seen = daemon.docker(&follows).ok();
        let of_alpha = |line: &&str| {
            ["container create", "container start", "container die"].contains(line)
                || line.starts_with("network ") && line.contains("connect")
        };
        (seen.lines().filter(of_alpha).collect::<Vec<_>>().join(", ") == wanted).then_some(())
    });
}

#[test]
fn an_exec_whose_client_leaves_at_once_does_not_run_for_ever() {
    let daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sleep", "86400"]).ok();
    let mut left = Vec::new();
    for _ in 0..10 {
        let config = json!({"Cmd": ["true"], "AttachStdout": true});
        let made = daemon.post("/v1.41/containers/alpha/exec", &config).json();
        let id = made["Id"].as_str().unwrap().to_owned();
        let mut stream = daemon.connect().unwrap();
        let body = r#"{"Detach":false,"Tty":false}"#;
        write!(
            stream,
            "POST /v1.41/exec/{id}/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        drop(stream);
        left.push(id);
    }
    // Whoever came before has been heard by now.
    daemon.docker(&["exec", "alpha", "true"]).ok();
    for id in left {
        eventually("it is over", || {
            let exec = daemon.get(&format!("/v1.41/exec/{id}/json")).json();
            (exec["Running"] == false).then_some(())
        });
    }
}

#[test]
fn a_link_follows_the_other_when_it_starts_again() {
    let mut daemon = started();
    let address = |daemon: &Daemon, name: &str| {
        daemon.docker(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]).ok()
    };
    let run = |daemon: &Daemon, name: &str, more: &[&str]| {
        let words = ["run", "-d", "--name", name];
        daemon.docker(&[&words[..], more, &["busybox", "sleep", "86400"]].concat()).ok();
    };
    run(&daemon, "db", &["--hostname", "base"]);
    run(&daemon, "web", &["--link", "db:store"]);
    let before = address(&daemon, "db");
    daemon.docker(&["stop", "-t", "0", "db"]).ok();
    // A new daemon does not know whose address it was, and gives it to somebody else.
    daemon.restart();
    run(&daemon, "other", &[]);
    assert_eq!(address(&daemon, "other"), before);
    daemon.docker(&["start", "db"]).ok();
    let now = address(&daemon, "db");
    assert_ne!(now, before);
    let line = daemon.docker(&["exec", "web", "grep", "store", "/etc/hosts"]).ok();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [now.as_str(), "store", "base", "db"]);
}

#[test]
fn a_health_check_that_takes_too_long_keeps_what_it_said() {
    let daemon = started();
    let check = ["--health-cmd", "echo said; sleep 600", "--health-timeout", "1500ms"];
    let mut words = vec!["run", "-d", "--name", "alpha", "--health-interval", "100ms"];
    words.extend(check);
    words.extend(["busybox", "sleep", "600"]);
    daemon.docker(&words).ok();
    eventually("a late check's words are kept", || {
        let shown = daemon.docker(&["inspect", "-f", "{{json .State.Health.Log}}", "alpha"]).ok();
        shown.contains("Health check exceeded timeout (1.5s): said").then_some(())
    });
    daemon.docker(&["rm", "-f", "alpha"]).ok();
}
