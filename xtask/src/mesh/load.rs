//! Who asks: requests at a steady rate, whatever becomes of those before, each by a connection of its own.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use testkit::Namespace;

/// Threads that ask; more than are busy at a time, so that a slow answer holds nobody up.
const THREADS: u32 = 100;
/// An answer that takes longer has failed.
const LATEST: Duration = Duration::from_secs(30);

/// What came of the requests.
#[derive(Debug, Default, Clone)]
pub(super) struct Counts {
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) reasons: BTreeMap<String, u64>,
    took: Vec<Duration>,
}

impl Counts {
    /// Milliseconds.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let mut took = self.took.clone();
        took.sort_unstable();
        let at = (took.len() as f64 * part) as usize;
        took.get(at.min(took.len().saturating_sub(1))).map_or(0.0, |took| took.as_secs_f64() * 1e3)
    }
}

#[derive(Default)]
struct Shared {
    counts: Mutex<Counts>,
    /// Requests that are due and not answered yet.
    open: AtomicU64,
    stop: AtomicBool,
}

/// Requests that go on until it is dropped.
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Asks `targets` in turn, `rate` times in a second, from within a namespace.
    pub(super) fn start(from: &Namespace, targets: Vec<SocketAddr>, rate: u32) -> Load {
        let (shared, targets) = (Arc::new(Shared::default()), Arc::new(targets));
        let turn = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let name = from.name().to_owned();
        let ask = |_| {
            let (shared, targets, turn) =
                (Arc::clone(&shared), Arc::clone(&targets), Arc::clone(&turn));
            let name = name.clone();
            thread::spawn(move || {
                let work = || {
                    steadily(&shared, &targets, &turn, began, rate);
                    Ok(())
                };
                let inside = Namespace::existing(&name).and_then(|from| from.inside(work));
                if let Err(err) = inside {
                    shared.fail(format!("not in the namespace: {err:#}"));
                }
            })
        };
        let threads = (0..THREADS).map(ask).collect();
        Load { shared, threads }
    }

    /// What came of the requests since the last time.
    pub(super) fn take(&self) -> Counts {
        std::mem::take(&mut *self.shared.counts())
    }

    /// The same once all that are under way now have ended.
    pub(super) fn settle(&self) -> Counts {
        // Under a steady load somebody always asks: what is open now has ended after the longest time.
        let until = Instant::now() + LATEST;
        while self.shared.open.load(Ordering::SeqCst) > u64::from(THREADS) / 4 {
            if Instant::now() >= until {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        self.take()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            // It has said why in the counts.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        let mut counts = self.counts();
        counts.failed += 1;
        *counts.reasons.entry(why).or_default() += 1;
    }
}

/// Takes the next request that is due, waits for its time, asks.
fn steadily(shared: &Shared, targets: &[SocketAddr], turn: &AtomicU64, began: Instant, rate: u32) {
    while !shared.stop.load(Ordering::SeqCst) {
        let number = turn.fetch_add(1, Ordering::SeqCst);
        let due = began + Duration::from_secs(1).mul_f64(number as f64 / f64::from(rate));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let target = targets[usize::try_from(number).unwrap_or(0) % targets.len()];
        shared.open.fetch_add(1, Ordering::SeqCst);
        let started = Instant::now();
        let asked = ask(target);
        shared.open.fetch_sub(1, Ordering::SeqCst);
        match asked {
            Ok(()) => {
                let mut counts = shared.counts();
                counts.answered += 1;
                counts.took.push(started.elapsed());
            }
            Err(why) => shared.fail(format!("{target}: {why}")),
        }
    }
}

fn ask(target: SocketAddr) -> Result<(), String> {
    let connect = TcpStream::connect_timeout(&target, LATEST);
    let mut stream = connect.map_err(|err| format!("connect: {err}"))?;
    let mut talk = || -> std::io::Result<String> {
        stream.set_read_timeout(Some(LATEST))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said)
    };
    let said = talk().map_err(|err| format!("answer: {err}"))?;
    let good = said.starts_with("HTTP/1.1 200") && said.ends_with("ok\n");
    if good { Ok(()) } else { Err(format!("answer: {said:?}")) }
}
