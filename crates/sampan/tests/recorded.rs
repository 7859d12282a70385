//! Ours answers as dockerd did when its answers were recorded (`cargo xtask record`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use testkit::{Daemon, Options, recorded};

/// The files are `recorded/*.txt`; each has a daemon of its own.
#[track_caller]
fn answers_as_recorded(name: &str) {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(format!("{name}.txt"));
    let cases = recorded::parse(&fs::read_to_string(path).unwrap()).unwrap();
    let daemon = Daemon::start(Options::with_images(&["busybox"]));
    let told = recorded::compare(&daemon, &cases).unwrap();
    assert!(told.is_empty(), "{} answers differ:\n{}", told.len(), told.join("\n"));
}

#[test]
fn the_system_answers_as_dockerd() {
    answers_as_recorded("system");
}

#[test]
fn containers_answer_as_dockerd() {
    answers_as_recorded("containers");
}

#[test]
fn options_of_containers_are_taken_and_refused_as_by_dockerd() {
    answers_as_recorded("options");
}

#[test]
fn images_answer_as_dockerd() {
    answers_as_recorded("images");
}

#[test]
fn volumes_answer_as_dockerd() {
    answers_as_recorded("volumes");
}

#[test]
fn networks_answer_as_dockerd() {
    answers_as_recorded("networks");
}

#[test]
fn the_rest_of_the_parameters_is_read_as_by_dockerd() {
    answers_as_recorded("parameters");
}
