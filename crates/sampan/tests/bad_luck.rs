//! What may befall a node's disk, directory and clock: a copy that is started too, damage, no room left, a wrong day. The error
//! says what it is, `sampan doctor` names it, nothing that was acknowledged is lost, and there is a way on.

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

/// The newest of the manager's files that begin so: `log-`, `snapshot-`.
fn raft_file(daemon: &Daemon, begins: &str) -> Option<PathBuf> {
    let dir = daemon.data_root().join("swarm/raft");
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(begins) && !name.ends_with(".new")
    };
    paths.filter(is_meant).max()
}

/// Changes a bit in the middle of what was written to the file; returns what is in it then.
fn damage(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end / 2] ^= 1;
    fs::write(path, &bytes).unwrap();
    bytes
}

/// What `sampan doctor` says is wrong. It fails then.
fn doctor(daemon: &Daemon) -> String {
    let told = daemon.sampan(&["doctor"]);
    assert_ne!(told.status, 0, "the doctor found nothing:\n{}", told.stdout);
    let problems = told.stdout.lines().filter(|line| line.contains(" problem "));
    problems.map(|line| format!("{line}\n")).collect()
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
    let segment = raft_file(&hosts[2], "log-").unwrap();
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

/// The third manager forgets what it was, the others let it go, and it joins anew.
fn come_back_anew(hosts: &Hosts) {
    hosts[2].docker(&["swarm", "leave", "--force"]).ok();
    let old = hosts[0].docker(&["node", "ls", "--filter", "name=node3", "-q"]).ok();
    hosts[0].docker(&["node", "demote", &old]).ok();
    let vote = ["node", "ls", "--filter", "name=node3", "--format", "{{.ManagerStatus}}"];
    eventually("it has no vote any more", || hosts[0].docker(&vote).ok().is_empty().then_some(()));
    eventually("the others let it go", || {
        (hosts[0].docker(&["node", "rm", "--force", &old]).status == 0).then_some(())
    });
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "manager"]).ok();
    let at = format!("{}:2377", hosts[0].address());
    hosts[2].docker(&["swarm", "join", "--token", &token, &at]).ok();
}

#[test]
fn a_damaged_log_or_snapshot_is_named_and_its_manager_comes_back_from_the_others() {
    let mut hosts = Hosts::start(3, &Options::default());
    hosts.swarm(3);
    for number in 0..20 {
        assert_eq!(create(&hosts[2], &format!("c{number:02}"), "eA==").status, 201);
    }
    let before = configs(&hosts[0]);
    for kind in ["log-", "snapshot-"] {
        let file = eventually("there is such a file", || raft_file(&hosts[2], kind));
        hosts[2].stop();
        let file = raft_file(&hosts[2], kind).unwrap_or(file);
        let bytes = damage(&file);
        hosts[2].again();
        let (_, error) = swarm_of(&hosts[2]);
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(error.contains("is damaged") && error.contains(&name), "{error}");
        assert!(doctor(&hosts[2]).contains(&name), "{}", doctor(&hosts[2]));
        assert_eq!(fs::read(&file).unwrap(), bytes, "nothing was changed");
        hosts[2].docker(&["ps"]).ok();
        assert_eq!(create(&hosts[1], &format!("without-{kind}1"), "eA==").status, 201);

        come_back_anew(&hosts);
        let now = configs(&hosts[2]);
        assert!(before.iter().all(|name| now.contains(name)), "{now:?}");
        assert!(now.contains(&format!("without-{kind}1")));
        // The next turn needs a snapshot.
        hosts[0].docker(&["swarm", "update", "--snapshot-interval", "5"]).ok();
        for number in 0..10 {
            assert_eq!(create(&hosts[2], &format!("{kind}{number}"), "eA==").status, 201);
        }
    }
}

#[test]
fn a_full_disk_refuses_writes_and_keeps_what_it_took() {
    let disk_bytes = Some(32 << 20);
    let mut daemon = Daemon::start(Options { disk_bytes, ..Options::default() });
    daemon.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1"]).ok();
    let data = "eHh4".repeat(64 << 10);
    let mut taken = Vec::new();
    let write = |daemon: &Daemon, taken: &mut Vec<String>| {
        let name = format!("c{:03}", taken.len());
        let reply = create(daemon, &name, &data);
        if reply.status == 201 {
            taken.push(name);
            return None;
        }
        Some(reply.message())
    };
    write(&daemon, &mut taken);
    // Something else takes the room while writes go on.
    let hog = daemon.data_root().join("hog");
    let filling = std::thread::spawn({
        let hog = hog.clone();
        move || {
            let mut file = fs::File::create(hog).unwrap();
            while std::io::Write::write_all(&mut file, &[7; 64 << 10]).is_ok() {}
        }
    });
    let refused = loop {
        if let Some(message) = write(&daemon, &mut taken) {
            break message;
        }
        assert!(taken.len() < 1000, "a disk of 32 MB takes 200 MB");
    };
    filling.join().unwrap();
    assert!(refused.contains("no space left"), "{refused}");
    assert_eq!(configs(&daemon), taken);
    let named = doctor(&daemon);
    assert!(named.contains("no space left on the disk of"), "{named}");

    daemon.kill9();
    daemon.again();
    eventually("it leads again", || (daemon.get("/v1.41/configs").status == 200).then_some(()));
    assert_eq!(configs(&daemon), taken);
    fs::remove_file(hog).unwrap();
    let before = taken.len();
    eventually("there is room again", || write(&daemon, &mut taken).is_none().then_some(()));
    assert_eq!(configs(&daemon).len(), before + 1);
}

/// A daemon whose clock is what `clock` in this directory says (`+1d`), from its next start on.
fn with_clock(dir: &Path, host: &str) -> (PathBuf, Options) {
    let library = ["x86_64", "aarch64"]
        .map(|cpu| format!("/usr/lib/{cpu}-linux-gnu/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    let clock = dir.join(host);
    fs::write(&clock, "+0").unwrap();
    let env = [
        ("LD_PRELOAD", library.expect("libfaketime is installed")),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap().to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
    (clock, Options { env, images: vec!["busybox"], ..Options::default() })
}

#[test]
fn a_wrong_clock_is_named_and_an_expired_node_comes_back_by_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let clocks = ["node1", "node2", "node3"].map(|host| with_clock(dir.path(), host));
    let mut hosts = Hosts::start(0, &Options::default());
    for (_, options) in &clocks {
        hosts.add(options).unwrap();
    }
    let set = |host: usize, offset: &str| fs::write(&clocks[host].0, offset).unwrap();
    let address = hosts[0].address().to_string();
    hosts[0].docker(&["swarm", "init", "--advertise-addr", &address]).ok();
    let token = hosts[0].docker(&["swarm", "join-token", "-q", "worker"]).ok();
    let join = ["swarm", "join", "--token", &token, &format!("{address}:2377")];

    // Behind by a day: the manager's certificate is not valid yet there.
    set(2, "-1d");
    hosts[2].restart();
    let refused = hosts[2].docker(&join).err();
    assert!(refused.contains("clock"), "{refused}");
    assert_eq!(swarm_of(&hosts[2]).0, "inactive");

    // Ahead by a day: it can take part, and is named.
    set(1, "+1d");
    hosts[1].restart();
    hosts[1].docker(&join).ok();
    let named = doctor(&hosts[0]);
    assert!(named.contains("clock") && named.contains("behind node node2's"), "{named}");
    set(1, "+0");
    hosts[1].restart();
    eventually("it is ready", || is_ready(&hosts, "node2").then_some(()));

    // Off for longer than certificates live.
    let wait = "trap 'exit 0' TERM; sleep 86400 & wait";
    let service = ["service", "create", "--detach", "--name", "web", "--mode", "global"];
    hosts[0].docker(&[&service[..], &["busybox", "sh", "-c", wait]].concat()).ok();
    let container = eventually("its task runs there", || {
        let id = hosts[1].docker(&["ps", "-q", "--no-trunc"]).ok();
        (!id.is_empty()).then_some(id)
    });
    let who = |hosts: &Hosts| hosts[1].docker(&["info", "-f", "{{.Swarm.NodeID}}"]).ok();
    let before = who(&hosts);
    for host in 0..2 {
        hosts[host].stop();
        set(host, "+100d");
    }
    for host in 0..2 {
        hosts[host].again();
    }
    // The only manager signs for itself; the worker needs somebody's word.
    eventually("the manager leads", || {
        (hosts[0].docker(&["node", "ls"]).status == 0).then_some(())
    });
    let named = doctor(&hosts[1]);
    assert!(named.contains("certificate expired at"), "{named}");
    let rotated = hosts[0].docker(&["swarm", "join-token", "-q", "--rotate", "worker"]).ok();
    let at = format!("{address}:2377");
    let refused = hosts[1].docker(&join).err();
    assert!(refused.contains("valid join token"), "{refused}");
    hosts[1].docker(&["swarm", "join", "--token", &rotated, &at]).ok();
    assert_eq!(who(&hosts), before, "it is another node now");
    eventually("it is ready", || is_ready(&hosts, "node2").then_some(()));
    assert_eq!(hosts[1].docker(&["ps", "-q", "--no-trunc"]).ok(), container, "its task went on");
}
