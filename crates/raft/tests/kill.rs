//! A manager as a process of its own, killed while it writes, again and again.
#![expect(clippy::unwrap_used, reason = "a test")]

use async_trait::async_trait;
use bytes::Bytes;
use raft::{Keys, Options, Peer, Peers, Raft, Tuning};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use store::{Change, Entry, Transaction};
use types::swarm::cluster::Cluster;
use types::swarm::secret::{Config, ConfigSpec};
use types::{ClusterId, ConfigId, NodeId, Timestamp};

/// Tells the test's own program to be the manager, in this directory.
const DIR: &str = "RAFT_KILL_TEST_DIR";

struct Nobody;

#[async_trait]
impl Peers for Nobody {
    async fn call(&self, _to: &Peer, _request: Bytes) -> io::Result<Bytes> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

async fn start(dir: &Path) -> Raft {
    let keys = dir.join("keys");
    let keys = Keys::load(&keys, "").or_else(|_| Keys::create(&keys, "")).unwrap();
    // Small segments and frequent snapshots, so that the kill hits all that is done with files.
    let tuning = Tuning {
        segment_bytes: 16 << 10,
        snapshot_entries: 25,
        kept_entries: 5,
        ..Tuning::default()
    };
    let options = Options {
        dir: dir.join("raft"),
        node: NodeId::new(format!("{:0>25}", 1)),
        addr: "127.0.0.1:1".to_owned(),
        keys,
        peers: Arc::new(Nobody),
        tuning,
    };
    match Raft::open(options.clone()).await {
        Err(raft::Error::Empty(_)) => {
            let mut cluster = Cluster { id: ClusterId::new("c"), ..Cluster::default() };
            cluster.spec.name = "default".to_owned();
            let first = Entry::one(Timestamp(1), vec![Change::Create(cluster.into())]);
            Raft::bootstrap(options, first).await.unwrap()
        }
        opened => opened.unwrap(),
    }
}

/// The manager: writes without end, and names each write once it is acknowledged.
async fn write(dir: &Path) {
    let raft = start(dir).await;
    let before = raft.read().await.unwrap().configs().iter().count();
    for number in before.. {
        let name = format!("c{number}");
        let spec = ConfigSpec { name: name.clone(), data: "x".repeat(2000), ..Default::default() };
        let config = Config { id: ConfigId::new(&name), spec, ..Config::default() };
        let transaction = Transaction::from(vec![Change::Create(config.into())]);
        let outcome = raft.propose(vec![transaction]).await.unwrap();
        assert!(outcome[0].is_ok());
        let mut out = io::stdout().lock();
        writeln!(out, "\nwritten {name}").and_then(|()| out.flush()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    if let Some(dir) = std::env::var_os(DIR) {
        return write(Path::new(&dir)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "what_was_acknowledged_before_a_kill_is_there_after_it",
                "--nocapture",
            ])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut names = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| Some(line.strip_prefix("written ")?.to_owned()));
        // Another number each time: segments end and snapshots are made at different ones.
        acknowledged.extend(names.by_ref().take(40 + round * 17));
        child.kill().unwrap();
        acknowledged.extend(names);
        child.wait().unwrap();
    }
    let raft = start(dir.path()).await;
    let state = raft.read().await.unwrap();
    let lost = acknowledged.iter().filter(|name| state.configs().get(name.as_str()).is_none());
    assert_eq!(lost.count(), 0, "of {}", acknowledged.len());
    assert!(acknowledged.len() >= 6 * 40);
    assert!(raft.failed().is_none());
}
