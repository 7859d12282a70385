//! Writes per second of 64 clients, on one and on three managers in this process, with real disks and a
//! wire in memory. `cargo run --release -p raft --example bench [seconds] [directory] [bytes]`

use async_trait::async_trait;
use bytes::Bytes;
use raft::{Keys, Options, Peer, Peers, Raft, Tuning};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{Change, Entry, Transaction};
use types::swarm::cluster::Cluster;
use types::swarm::secret::{Config, ConfigSpec};
use types::{ClusterId, ConfigId, NodeId, Timestamp};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Default)]
struct Wire(Arc<Mutex<BTreeMap<String, Raft>>>);

struct Port(NodeId, Wire);

#[async_trait]
impl Peers for Port {
    async fn call(&self, to: &Peer, request: Bytes) -> io::Result<Bytes> {
        let there = self.1.0.lock().unwrap_or_else(PoisonError::into_inner).get(&to.addr).cloned();
        let there = there.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(there.handle(&self.0, request).await)
    }
}

fn options(dir: &Path, number: usize, wire: &Wire) -> Result<Options, Failure> {
    let node = NodeId::new(format!("{number:0>25}"));
    std::fs::create_dir_all(dir)?;
    Ok(Options {
        dir: dir.join(format!("m{number}")),
        addr: format!("m{number}"),
        keys: Keys::create(&dir.join(format!("k{number}")), "")?,
        peers: Arc::new(Port(node.clone(), wire.clone())),
        tuning: Tuning::default(),
        node,
    })
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let dir = arguments.next().unwrap_or_else(|| "target/raft-bench".to_owned());
    let bytes: usize = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    for (managers, clients) in [(1, 1), (1, 64), (3, 1), (3, 64)] {
        let dir = Path::new(&dir).join(format!("{}-{managers}-{clients}", std::process::id()));
        let (writes, times) =
            runtime.block_on(run(&dir, managers, clients, bytes, Duration::from_secs(seconds)))?;
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
        println!(
            "{managers} managers, {clients} clients, {bytes} B: {:.0} writes/s, p50 {:?}, p99 {:?}",
            writes as f64 / seconds as f64,
            at(0.5).unwrap_or_default(),
            at(0.99).unwrap_or_default(),
        );
        std::fs::remove_dir_all(&dir)?;
    }
    for round in 0..5 {
        let dir = Path::new(&dir).join(format!("{}-over-{round}", std::process::id()));
        let took = runtime.block_on(fail_over(&dir))?;
        println!("leader gone, a write by another manager accepted after {took:?}");
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

/// So many managers, the first of them leading.
async fn cluster(dir: &Path, managers: usize, wire: &Wire) -> Result<Vec<Raft>, Failure> {
    let plug = |name: String, raft: &Raft| {
        wire.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, raft.clone());
    };
    let mut cluster = Cluster { id: ClusterId::new("c"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    let first = Entry::one(Timestamp(1), vec![Change::Create(cluster.into())]);
    let first = Raft::bootstrap(options(dir, 1, wire)?, first).await?;
    plug("m1".to_owned(), &first);
    let mut rafts = vec![first.clone()];
    for number in 2..=managers {
        let options = options(dir, number, wire)?;
        let (node, addr) = (options.node.clone(), options.addr.clone());
        let raft = Raft::join(options).await?;
        plug(addr.clone(), &raft);
        first.add(&node, &addr).await?;
        rafts.push(raft);
    }
    first.read().await?;
    Ok(rafts)
}

/// From the leader's end until another manager has written something.
async fn fail_over(dir: &Path) -> Result<Duration, Failure> {
    let wire = Wire::default();
    let mut rafts = cluster(dir, 3, &wire).await?;
    let mut leadership = rafts[1].leadership();
    leadership.wait_for(|now| now.leader.is_some()).await?;
    wire.0.lock().unwrap_or_else(PoisonError::into_inner).remove("m1");
    drop(rafts.remove(0));
    let began = Instant::now();
    let outcome = rafts[0].propose(vec![Transaction::from(vec![create("after", 10)])]).await?;
    let took = began.elapsed();
    outcome.into_iter().collect::<Result<Vec<()>, _>>()?;
    wire.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    for raft in rafts {
        raft.shutdown().await;
    }
    Ok(took)
}

fn create(name: &str, bytes: usize) -> Change {
    let spec = ConfigSpec { name: name.to_owned(), data: "x".repeat(bytes), ..Default::default() };
    Change::Create(Config { id: ConfigId::new(name), spec, ..Config::default() }.into())
}

async fn run(
    dir: &Path,
    managers: usize,
    clients: usize,
    bytes: usize,
    time: Duration,
) -> Result<(u64, Vec<Duration>), Failure> {
    let wire = Wire::default();
    let rafts = cluster(dir, managers, &wire).await?;
    let (over, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for client in 0..clients {
        let raft = rafts[client % rafts.len()].clone();
        let (over, written) = (over.clone(), written.clone());
        tasks.push(tokio::spawn(async move {
            let (mut times, mut turn) = (Vec::new(), 0u64);
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let name = format!("c{client}-{turn}");
                let change = Transaction::from(vec![create(&name, bytes)]);
                match raft.propose(vec![change]).await {
                    Ok(outcomes) if outcomes.iter().all(Result::is_ok) => {
                        written.fetch_add(1, Ordering::Relaxed);
                        times.push(began.elapsed());
                    }
                    other => eprintln!("{other:?}"),
                }
                turn += 1;
            }
            times
        }));
    }
    tokio::time::sleep(time).await;
    let writes = written.load(Ordering::Relaxed);
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await?);
    }
    times.sort();
    wire.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    for raft in rafts {
        raft.shutdown().await;
    }
    Ok((writes, times))
}
