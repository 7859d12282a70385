//! What may befall a node's disk and directory: a copy that is started too, a log that lost its end. The error says what it
//! is, nothing that was acknowledged is lost, and there is a way on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use testkit::{Daemon, Hosts, Options, eventually};

fn create(daemon: &Daemon, name: &str, data: &str) -> testkit::Response {
    daemon.post("/v1.41/configs/create", &json!({ "Name": name, "Data": data }))
}

/// The configs' names, sorted.
fn configs(daemon: &Daemon) -> Vec<String> {
    let list = daemon.get("/v1.41/configs").json();
    let rows = list.as_array().unwrap();
    let mut names: Vec<String> =
        rows.iter().map(|row| row["Spec"]["Name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// `State` and `Error` of the swarm, as `docker info` has them.
fn swarm_of(daemon: &Daemon) -> (String, String) {
    let swarm = daemon.get("/v1.41/info").json()["Swarm"].clone();
    let text = |name: &str| swarm[name].as_str().unwrap_or_default().to_owned();
    (text("LocalNodeState"), text("Error"))
}

fn is_ready(hosts: &Hosts, name: &str) -> bool {
    let format = "{{.Hostname}} {{.Status}}";
    let nodes = hosts[0].docker(&["node", "ls", "--format", format]);
    nodes.stdout.lines().any(|line| line == format!("{name} Ready"))
}

fn log_segment(daemon: &Daemon) -> PathBuf {
    let dir = daemon.data_root().join("swarm/raft");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_segment =
        |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("log-");
    paths.filter(is_segment).max().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, to) = (entry.as_ref().unwrap(), to.join(entry.as_ref().unwrap().file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_copied_data_directory_is_refused_while_its_node_runs() {
    let mut hosts = Hosts::start(3, &Options::default());
    let address = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--advertise-addr", &address]).ok();
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    let join = ["swarm", "join", "--token", &token, &format!("{address}:2377")];
    hosts[1].docker(&join).ok();

    hosts[1].stop();
    hosts[2].stop();
    copy(&hosts[1].data_root().join("swarm"), &hosts[2].data_root().join("swarm"));
    hosts[1].again();
    eventually("the node is back", || is_ready(&hosts, "node2").then_some(()));
    hosts[2].again();
    let (state, error) = swarm_of(&hosts[2]);
    assert_eq!(state, "error");
    assert!(error.contains("runs already, it answers at 10.213.9.2:2377"), "{error}");
    assert!(is_ready(&hosts, "node2"));

    hosts[2].docker(&["swarm", "leave", "--force"]).ok();
    hosts[2].docker(&join).ok();
    eventually("it is a node of its own", || is_ready(&hosts, "node3").then_some(()));
}

#[test]
fn a_log_that_lost_its_end_is_made_whole_by_the_others() {
    let mut hosts = Hosts::start(3, &Options::default());
    hosts.swarm(3);
    for number in 0..10 {
        assert_eq!(create(&hosts[2], &format!("c{number}"), "eA==").status, 201);
    }
    let before = configs(&hosts[0]);
    hosts[2].kill9();
    let segment = log_segment(&hosts[2]);
    let bytes = fs::read(&segment).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    fs::File::options().write(true).open(&segment).unwrap().set_len(end - 700).unwrap();
    hosts[2].again();
    // It answers only from what a majority confirmed.
    let now = eventually("it takes part again", || {
        let reply = hosts[2].get("/v1.41/configs");
        (reply.status == 200).then(|| configs(&hosts[2]))
    });
    assert_eq!(now, before);
    assert_eq!(create(&hosts[2], "after", "eA==").status, 201);
}
