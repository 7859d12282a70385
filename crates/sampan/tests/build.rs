//! The classic builder through the `docker` client: what people see, what they get, what is left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tempfile::TempDir;
use testkit::{Daemon, Options, eventually};

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

/// A context with a Dockerfile and a few files.
fn context(dockerfile: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    for (name, text) in [("Dockerfile", dockerfile), ("a.txt", "aaa\n"), ("sub/b.txt", "bbb\n")] {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn words<'a>(dir: &'a TempDir, flags: &[&'a str]) -> Vec<&'a str> {
    let path = dir.path().to_str().unwrap();
    [&["build", "--network", "none"], flags, &[path]].concat()
}

#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} is missing or misplaced in {text:?}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn the_steps_are_shown_and_the_second_time_they_come_from_the_cache() {
    let daemon = started();
    let dir = context(
        "FROM busybox\nENV A=1\nRUN echo a is $A\nCOPY . /x/\nWORKDIR /x/sub\nCMD cat b.txt\n",
    );
    let first = daemon.docker(&words(&dir, &["-t", "one"])).ok();
    in_order(
        &first,
        &[
            "Step 1/6 : FROM busybox\n ---> ",
            "Step 3/6 : RUN echo a is $A\n ---> Running in ",
            "\na is 1\n",
            "Removing intermediate container ",
            "Step 6/6 : CMD cat b.txt\n ---> ",
            "Successfully built ",
            "Successfully tagged one:latest",
        ],
    );
    assert!(!first.contains("Using cache"), "{first}");
    let second = daemon.docker(&words(&dir, &["-t", "one"])).ok();
    assert_eq!(second.matches(" ---> Using cache").count(), 5, "{second}");
    assert_eq!(first.lines().rev().nth(1), second.lines().rev().nth(1));
    // A changed file changes what was copied, and nothing before.
    fs::write(dir.path().join("sub/b.txt"), "new\n").unwrap();
    let third = daemon.docker(&words(&dir, &["-t", "one"])).ok();
    assert_eq!(third.matches(" ---> Using cache").count(), 2, "{third}");
    assert_eq!(daemon.docker(&["run", "--rm", "--network", "none", "one"]).ok().trim(), "new");
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
}

#[test]
fn cache_from_goes_on_from_the_middle_of_an_image_from_elsewhere_and_looks_nowhere_else() {
    let daemon = started();
    let dir = context("FROM busybox\nENV A=1\nRUN echo made > /first\nRUN echo old > /second\n");
    daemon.docker(&words(&dir, &["-t", "one"])).ok();
    // As on another machine: the image without the steps that made it.
    let archive = dir.path().join("one.tar");
    daemon.docker(&["save", "-o", &archive.display().to_string(), "one"]).ok();
    daemon.docker(&["rmi", "one"]).ok();
    daemon.docker(&["load", "-i", &archive.display().to_string()]).ok();
    fs::remove_file(&archive).unwrap();
    fs::write(
        dir.path().join("Dockerfile"),
        "FROM busybox\nENV A=1\nRUN echo made > /first\nRUN echo new > /second\n",
    )
    .unwrap();
    let built = daemon.docker(&words(&dir, &["-t", "two", "--cache-from", "one"])).ok();
    assert_eq!(built.matches(" ---> Using cache").count(), 2, "{built}");
    let seen = ["run", "--rm", "--network", "none", "two", "cat", "/first", "/second"];
    assert_eq!(daemon.docker(&seen).ok(), "made\nnew");
    let layers = |name: &str| {
        let words = ["image", "inspect", "--format", "{{index .RootFS.Layers 1}}", name];
        daemon.docker(&words).ok()
    };
    assert_eq!(layers("one"), layers("two"));

    let elsewhere = daemon.docker(&words(&dir, &["-t", "two", "--cache-from", "nothing"])).ok();
    assert_eq!(elsewhere.matches(" ---> Using cache").count(), 0, "{elsewhere}");
}

#[test]
fn stages_heredocs_owners_and_modes_make_the_image_they_say() {
    let daemon = started();
    let dir = context(concat!(
        "ARG WHO=nobody\nFROM busybox AS made\nARG WHO\nRUN <<E\necho $WHO > /who\nE\n",
        "FROM busybox\nCOPY --from=made --chown=7:8 --chmod=600 /who /who\n",
        "COPY <<E /doc\nfor $PATH\nE\nENTRYPOINT [\"stat\", \"-c\", \"%u:%g %a\"]\nCMD [\"/who\"]\n",
    ));
    let flags = ["-q", "--build-arg", "WHO=me", "-t", "two"];
    daemon.docker(&words(&dir, &flags)).ok();
    let run = |args: &[&str]| {
        let head = ["run", "--rm", "--network", "none"];
        daemon.docker(&[&head[..], args].concat()).ok().trim().to_owned()
    };
    assert_eq!(run(&["two"]), "7:8 600");
    assert_eq!(run(&["--entrypoint", "cat", "two", "/who"]), "me");
    assert!(run(&["--entrypoint", "cat", "two", "/doc"]).starts_with("for /"));
}

#[test]
fn failures_are_dockers_sentences() {
    let daemon = started();
    for (dockerfile, want) in [
        ("", "the Dockerfile (Dockerfile) cannot be empty"),
        ("FROM busybox\n\nFOO x\n", "dockerfile parse error on line 3: unknown instruction: FOO"),
        (
            "FROM busybox\nRUN exit 3\n",
            "The command '/bin/sh -c exit 3' returned a non-zero code: 3",
        ),
        (
            "FROM busybox\nCOPY nope /\n",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nope: file does not exist",
        ),
        (
            "FROM busybox\nCOPY ../x /\n",
            "COPY failed: forbidden path outside the build context: ../x ()",
        ),
        (
            "FROM busybox\nCOPY a.txt sub /x\n",
            "When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        ("FROM busybox\nENV X=${A:?no}\n", "failed to process \"${A:?no}\": A: no"),
        ("FROM ${X}\n", "base name (${X}) should not be blank"),
        ("FROM busybox\nSTOPSIGNAL FOO\n", "Invalid signal: FOO"),
    ] {
        let dir = context(dockerfile);
        let said = daemon.docker(&words(&dir, &["--force-rm"])).err();
        assert!(said.contains(want), "{want:?} is missing in {said:?}");
    }
    let dir = context("FROM busybox AS x\n");
    let said = daemon.docker(&words(&dir, &["--target", "y"])).err();
    assert!(said.contains("failed to reach build target y in Dockerfile"), "{said}");
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
}

#[test]
fn a_build_whose_client_leaves_leaves_nothing() {
    let daemon = started();
    let dir = context("FROM busybox\nRUN echo under way; sleep 1000\n");
    let mut client = daemon
        .docker_command()
        .args(words(&dir, &[]))
        .env("DOCKER_BUILDKIT", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let seen = lines.map_while(Result::ok).find(|line| line == "under way");
    assert!(seen.is_some(), "the step was never under way");
    client.kill().unwrap();
    client.wait().unwrap();
    eventually("the container to be gone", || {
        daemon.docker(&["ps", "-aq"]).ok().is_empty().then_some(())
    });
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}
