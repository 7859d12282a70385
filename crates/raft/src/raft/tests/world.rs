//! Managers in one process over a wire in memory, each with a directory of its own.

use crate::{Keys, Options, Peer, Peers, Raft, Tuning};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::{Change, Entry, Object, Transaction};
use tempfile::TempDir;
use types::swarm::cluster::Cluster;
use types::swarm::secret::{Config, ConfigSpec};
use types::{ClusterId, ConfigId, NodeId, Timestamp};

/// How long anything may take on the slowest machine.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// Who can reach whom.
#[derive(Default)]
pub(super) struct Wire {
    rafts: Mutex<BTreeMap<String, Raft>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
}

struct Port {
    me: NodeId,
    wire: Arc<Wire>,
}

#[async_trait]
impl Peers for Port {
    async fn call(&self, to: &Peer, request: Bytes) -> io::Result<Bytes> {
        let gone = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let there = self.wire.rafts.lock().unwrap().get(&to.addr).cloned();
        let there = there.ok_or_else(gone)?;
        if self.wire.is_cut(&self.me, &to.node) {
            return Err(gone());
        }
        // As over a real wire: the other end works on, whatever becomes of who asked.
        let me = self.me.clone();
        let answer = tokio::spawn(async move { there.handle(&me, request).await }).await;
        if self.wire.is_cut(&self.me, &to.node) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        answer.map_err(io::Error::other)
    }
}

impl Wire {
    fn is_cut(&self, one: &NodeId, other: &NodeId) -> bool {
        let cut = self.cut.lock().unwrap();
        cut.contains(&(one.clone(), other.clone())) || cut.contains(&(other.clone(), one.clone()))
    }
}

pub(super) struct World {
    pub(super) dir: TempDir,
    pub(super) wire: Arc<Wire>,
    pub(super) tuning: Tuning,
}

pub(super) fn node(number: usize) -> NodeId {
    NodeId::new(format!("{number:0>25}"))
}
fn addr(number: usize) -> String {
    format!("10.0.0.{number}:2377")
}

impl World {
    pub(super) fn new() -> World {
        let tuning = Tuning { segment_bytes: 256 << 10, ..Tuning::default() };
        World { dir: tempfile::tempdir().unwrap(), wire: Arc::default(), tuning }
    }
    pub(super) fn path(&self, number: usize) -> PathBuf {
        self.dir.path().join(number.to_string())
    }
    pub(super) fn keys_path(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("{number}-keys.json"))
    }
    pub(super) fn options(&self, number: usize) -> Options {
        let path = self.keys_path(number);
        let keys = match path.exists() {
            true => Keys::load(&path, "").unwrap(),
            false => Keys::create(&path, "").unwrap(),
        };
        self.options_with(number, keys)
    }
    pub(super) fn options_with(&self, number: usize, keys: Keys) -> Options {
        Options {
            dir: self.path(number),
            node: node(number),
            addr: addr(number),
            keys,
            peers: Arc::new(Port { me: node(number), wire: self.wire.clone() }),
            tuning: self.tuning.clone(),
        }
    }
    fn plug(&self, number: usize, raft: Raft) -> Raft {
        self.wire.rafts.lock().unwrap().insert(addr(number), raft.clone());
        raft
    }
    pub(super) async fn first(&self) -> Raft {
        let raft =
            Raft::bootstrap(self.options(1), Entry::one(Timestamp(1), vec![cluster()])).await;
        self.plug(1, raft.unwrap())
    }
    pub(super) async fn join(&self, number: usize, through: &Raft) -> Raft {
        let raft = self.plug(number, Raft::join(self.options(number)).await.unwrap());
        through.add(&node(number), &addr(number)).await.unwrap();
        raft
    }
    /// Managers 1 to `size`, by number; 0 is none.
    pub(super) async fn cluster(&self, size: usize) -> Vec<Option<Raft>> {
        let first = self.first().await;
        let mut rafts = vec![None, Some(first.clone())];
        for number in 2..=size {
            rafts.push(Some(self.join(number, &first).await));
        }
        rafts
    }
    pub(super) async fn open(&self, number: usize) -> Raft {
        self.plug(number, Raft::open(self.options(number)).await.unwrap())
    }
    pub(super) fn plug_in(&self, number: usize, raft: &Raft) {
        self.plug(number, raft.clone());
    }
    /// Stops a manager without a word, whoever still holds a handle. What it was doing ends where it was.
    pub(super) fn kill(&self, number: usize, rafts: &mut [Option<Raft>]) {
        self.unplug(number);
        if let Some(raft) = rafts[number].take() {
            raft.node().stop.cancel();
        }
    }
    pub(super) fn unplug(&self, number: usize) {
        self.wire.rafts.lock().unwrap().remove(&addr(number));
    }
    /// Cuts a manager off from all others.
    pub(super) fn cut_off(&self, number: usize) {
        for other in (1..10).filter(|other| *other != number) {
            self.wire.cut.lock().unwrap().insert((node(number), node(other)));
        }
    }
    pub(super) fn heal(&self) {
        self.wire.cut.lock().unwrap().clear();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The wire holds the managers, and they hold the wire.
        self.wire.rafts.lock().unwrap().clear();
    }
}

pub(super) fn cluster() -> Change {
    let mut cluster = Cluster { id: ClusterId::new("c"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    Change::Create(cluster.into())
}

pub(super) fn config(name: &str, data: &str) -> Config {
    let spec = ConfigSpec { name: name.to_owned(), data: data.to_owned(), ..Default::default() };
    Config { id: ConfigId::new(name), spec, ..Config::default() }
}

/// Writes a config of that name; true if it was not there.
pub(super) async fn create(raft: &Raft, name: &str, data: &str) -> bool {
    let change = Change::Create(config(name, data).into());
    let transaction = Transaction::from(vec![change]);
    raft.propose(vec![transaction]).await.unwrap()[0].is_ok()
}

pub(super) fn has(raft: &Raft, name: &str) -> bool {
    raft.snapshot().configs().get(name).is_some()
}

/// A config's data and version.
pub(super) fn get(state: &store::Snapshot, name: &str) -> Option<(String, types::swarm::Version)> {
    let row = state.configs().get(name)?;
    Some((row.spec.data.clone(), row.meta.version))
}

pub(super) fn update(state: &store::Snapshot, name: &str, data: &str) -> Change {
    let mut row = Config::clone(state.configs().get(name).unwrap());
    row.spec.data = data.to_owned();
    Change::Update(Object::from(row))
}

/// Waits for something to become true.
pub(super) async fn until<F: Future<Output = bool>>(what: &str, mut is: impl FnMut() -> F) {
    let waited = tokio::time::timeout(LIMIT, async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}

/// The number of the manager that leads, as it says itself.
pub(super) async fn leader(rafts: &[Option<Raft>]) -> usize {
    let mut found = 0;
    let leads = |raft: &Option<Raft>| {
        raft.as_ref().is_some_and(|raft| raft.leadership().borrow().is_leader)
    };
    let looking = tokio::time::timeout(LIMIT, async {
        while found == 0 {
            found = rafts.iter().position(leads).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(looking.await.is_ok(), "nobody leads");
    found
}
