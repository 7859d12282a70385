//! The client beside the real docker CLI on one daemon: the same words must give the same answer.
//!
//! Runs on our daemon; `TESTKIT_ENGINE=dockerd` asks what Docker's daemon makes of it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use testkit::{Daemon, Options, Output};

fn daemon() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

/// Our name is the only difference there may be.
fn as_docker(text: &str) -> String {
    text.replace("sampan", "docker")
        .replace("Sampan", "Docker")
        .replace("See 'docker", "Run 'docker")
}

fn seen(output: &Output) -> (i32, String, String) {
    (output.status, as_docker(&output.stdout), as_docker(&output.stderr))
}

/// Runs each command line with both clients and returns where they differ.
fn differences(daemon: &Daemon, lines: &[&[&str]]) -> Vec<String> {
    let compare = |words: &&[&str]| {
        let (docker, ours) = (seen(&daemon.docker(words)), seen(&daemon.sampan(words)));
        (docker != ours).then(|| format!("{words:?}\n  docker: {docker:?}\n  ours:   {ours:?}"))
    };
    lines.iter().filter_map(compare).collect()
}

#[test]
fn listings_and_inspection_look_the_same() {
    let daemon = daemon();
    let run = ["run", "-d", "--name", "c1", "-p", "8080:80", "-v", "data:/d", "-l", "a=b"];
    daemon.sampan(&[&run[..], &["busybox", "sleep", "1000"]].concat()).ok();
    daemon
        .sampan(&["create", "--name", "c2", "busybox", "sh", "-c", "echo a rather long command"])
        .ok();
    let lines: &[&[&str]] = &[
        &["ps", "-q"],
        &["ps", "-aq", "--no-trunc"],
        &[
            "ps",
            "-a",
            "--format",
            "{{.ID}} {{.Image}} {{.Command}} {{.Ports}} {{.Names}} {{.State}}",
        ],
        &["ps", "-a", "--format", "table {{.Names}}\t{{.Labels}}\t{{.Mounts}}\t{{.Networks}}"],
        &["ps", "--filter", "name=c1", "--format", "{{.Label \"a\"}}"],
        &["images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}} {{.Size}}"],
        &["network", "ls"],
        &["volume", "ls"],
        &["port", "c1"],
        &["port", "c1", "80"],
        &["inspect", "c2"],
        &["inspect", "-f", "{{.State.Status}} {{json .Config.Labels}}", "c1"],
        &["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "c1"],
        &["network", "inspect", "bridge"],
        &["history", "--no-trunc", "-q", "busybox"],
    ];
    let differences = differences(&daemon, lines);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn mistakes_get_dockers_words_and_exit_codes() {
    let daemon = daemon();
    let lines: &[&[&str]] = &[
        &["run", "--foo", "busybox"],
        &["run", "-m", "xx", "busybox"],
        &["run", "-p", "99999", "busybox"],
        &["run", "--restart", "foo", "busybox", "true"],
        &["run", "--rm", "--restart", "always", "busybox", "true"],
        &["run", "-it", "busybox", "true"],
        &["rm"],
        &["rm", "nosuch"],
        &["stop", "nosuch", "neither"],
        &["start", "nosuch"],
        &["ps", "extra"],
        &["ps", "--format", "{{.ID"],
        &["inspect", "nosuch"],
        &["exec", "nosuch", "ls"],
        &["logs", "nosuch"],
        &["tag", "nosuch", "b"],
        &["cp", "a", "b"],
        &["volume", "inspect", "nosuch"],
    ];
    let differences = differences(&daemon, lines);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn run_ends_as_its_container_ended() {
    let daemon = daemon();
    let run = |words: &[&str]| daemon.sampan(&[&["run", "--rm", "busybox"], words].concat());
    let split = run(&["sh", "-c", "echo out; echo err >&2; exit 5"]);
    assert_eq!((split.status, &*split.stdout, &*split.stderr), (5, "out\n", "err\n"));
    assert_eq!(run(&["nosuchprogram"]).status, 127);
    assert_eq!(run(&["/etc"]).status, 126);
    assert_eq!(daemon.sampan(&["run", "--network", "nosuch", "busybox", "true"]).status, 125);
    assert_eq!(run(&["echo", "--rm", "-e", "x"]).ok(), "--rm -e x");
}

#[test]
fn more_input_than_any_buffer_comes_back_whole() {
    let daemon = daemon();
    let mut command = daemon.sampan_command().unwrap();
    command.args(["run", "--rm", "-i", "busybox", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut stdin = child.stdin.take().unwrap();
    let copy = sent.clone();
    let writer = std::thread::spawn(move || stdin.write_all(&copy).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == sent, "{} of {} bytes came back", output.stdout.len(), sent.len());
}

#[test]
fn files_travel_both_ways() {
    let daemon = daemon();
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tree/inner")).unwrap();
    fs::write(dir.path().join("tree/inner/file"), "content").unwrap();
    daemon.sampan(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    let here = |words: &[&str]| daemon.sampan_in(dir.path(), words);
    here(&["cp", "tree", "c1:/tmp/copy"]).ok();
    here(&["cp", "tree/.", "c1:/tmp"]).ok();
    assert_eq!(
        here(&["exec", "c1", "cat", "/tmp/copy/inner/file", "/tmp/inner/file"]).ok(),
        "contentcontent"
    );
    here(&["cp", "c1:/tmp/copy", "back"]).ok();
    assert_eq!(fs::read_to_string(dir.path().join("back/inner/file")).unwrap(), "content");
}

#[test]
fn a_build_sends_what_the_ignore_file_leaves() {
    let daemon = daemon();
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    file("Dockerfile", "FROM busybox\nARG X=1\nRUN echo x is $X\nCOPY . /app\n");
    file(".dockerignore", "secret\n");
    file("secret", "s");
    file("shown", "t");
    let built =
        daemon.sampan_in(dir.path(), &["build", "-t", "app:1", "--build-arg", "X=9", "."]).ok();
    assert!(built.contains("Step 1/4 : FROM busybox"), "{built}");
    assert!(built.contains("x is 9"), "{built}");
    assert!(built.ends_with("Successfully tagged app:1"), "{built}");
    assert_eq!(daemon.sampan(&["run", "--rm", "app:1", "ls", "/app"]).ok(), "Dockerfile\nshown");
}
