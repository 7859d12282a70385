//! Many clients write and read while managers are killed, cut off and lose the ends of their logs. Every
//! acknowledged write must be there, and what clients saw of one register must have an order
//! (linearizability, checked as Wing and Gong do).

use super::world::{World, create, get, until, update};
use crate::{ProposeError, Raft};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One call of a client: between these two moments it took place.
#[derive(Debug, Clone)]
struct Call {
    begun: u64,
    /// `u64::MAX`: it never came back, and may have taken place at any time later, or never.
    ended: u64,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Read(u64),
    /// Compare and set: to the second, if it was the first.
    Moved(u64, u64),
}

/// Whether the calls can be put into an order that respects time and in which each makes sense.
fn linearizable(calls: &[Call]) -> bool {
    let mut done = vec![false; calls.len()];
    search(calls, &mut done, 0, &mut HashSet::new())
}

fn search(
    calls: &[Call],
    done: &mut Vec<bool>,
    value: u64,
    known: &mut HashSet<(Vec<bool>, u64)>,
) -> bool {
    let open = |done: &[bool]| {
        let left = calls.iter().zip(done).filter(|(_, done)| !**done);
        left.map(|(call, _)| call.ended).min().unwrap_or(u64::MAX)
    };
    let first_end = open(done);
    // Those in doubt need not have happened.
    if first_end == u64::MAX {
        return true;
    }
    if !known.insert((done.clone(), value)) {
        return false;
    }
    for at in 0..calls.len() {
        if done[at] || calls[at].begun > first_end {
            continue;
        }
        let next = match calls[at].kind {
            Kind::Read(seen) if seen == value => value,
            Kind::Moved(from, to) if from == value => to,
            _ => continue,
        };
        done[at] = true;
        if search(calls, done, next, known) {
            return true;
        }
        done[at] = false;
    }
    false
}

#[test]
fn the_checker_tells_orders_from_disorders() {
    let call = |begun, ended, kind| Call { begun, ended, kind };
    let fine = [
        call(0, 10, Kind::Moved(0, 1)),
        call(5, 6, Kind::Read(0)),
        call(7, 8, Kind::Read(1)),
        call(11, u64::MAX, Kind::Moved(1, 2)),
        call(20, 21, Kind::Read(1)),
        call(22, 23, Kind::Read(2)),
    ];
    assert!(linearizable(&fine));
    let stale = [call(0, 1, Kind::Moved(0, 1)), call(2, 3, Kind::Read(0))];
    assert!(!linearizable(&stale));
    let back =
        [call(0, 9, Kind::Moved(0, 1)), call(1, 2, Kind::Read(1)), call(3, 4, Kind::Read(0))];
    assert!(!linearizable(&back));
    let twice = [call(0, 1, Kind::Moved(0, 1)), call(0, 1, Kind::Moved(0, 2))];
    assert!(!linearizable(&twice));
}

/// What all clients share.
struct Shared {
    rafts: Mutex<Vec<Option<Raft>>>,
    clock: AtomicU64,
    calls: Mutex<Vec<Call>>,
    written: Mutex<Vec<String>>,
    value: AtomicU64,
    over: AtomicBool,
}

impl Shared {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }
    fn any(&self, random: &mut StdRng) -> Option<Raft> {
        let rafts = self.rafts.lock().unwrap();
        let at = random.random_range(1..rafts.len());
        rafts[at].clone()
    }
}

/// Moves the register and reads it, through whichever manager.
async fn client(shared: Arc<Shared>, mut random: StdRng) {
    while !shared.over.load(Ordering::SeqCst) {
        let Some(raft) = shared.any(&mut random) else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let begun = shared.tick();
        let Ok(state) = raft.read().await else { continue };
        let (text, _) = get(&state, "register").unwrap();
        let seen: u64 = text.parse().unwrap();
        let ended = shared.tick();
        shared.calls.lock().unwrap().push(Call { begun, ended, kind: Kind::Read(seen) });
        if random.random_bool(0.5) {
            let to = shared.value.fetch_add(1, Ordering::SeqCst) + 1;
            let change = update(&state, "register", &to.to_string());
            let begun = shared.tick();
            let kind = Kind::Moved(seen, to);
            let ended = match raft.propose(vec![vec![change].into()]).await {
                Ok(outcomes) if outcomes[0].is_ok() => shared.tick(),
                Err(ProposeError::Lost) => u64::MAX,
                // Refused, or certainly not written.
                _ => continue,
            };
            shared.calls.lock().unwrap().push(Call { begun, ended, kind });
        } else {
            let name = format!("w{}", random.random::<u64>());
            let change = store::Change::Create(super::world::config(&name, "x").into());
            if matches!(raft.propose(vec![vec![change].into()]).await, Ok(outcomes) if outcomes[0].is_ok())
            {
                shared.written.lock().unwrap().push(name);
            }
        }
        // Few enough for the checker.
        tokio::time::sleep(Duration::from_millis(random.random_range(10..40))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_see_has_an_order_and_nothing_acknowledged_is_lost() {
    let mut world = World::new();
    // Snapshots are taken and installed on the way.
    world.tuning.snapshot_entries = 100;
    world.tuning.kept_entries = 20;
    world.tuning.patience = Duration::from_secs(6);
    let size = 5;
    let rafts = world.cluster(size).await;
    assert!(create(rafts[1].as_ref().unwrap(), "register", "0").await);
    let shared = Arc::new(Shared {
        rafts: Mutex::new(rafts),
        clock: AtomicU64::new(0),
        calls: Mutex::default(),
        written: Mutex::default(),
        value: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let clients: Vec<_> = (0..6)
        .map(|_| tokio::spawn(client(shared.clone(), StdRng::seed_from_u64(random.random()))))
        .collect();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..800))).await;
        let (one, two) = (random.random_range(1..=size), random.random_range(1..=size));
        if random.random_bool(0.3) {
            world.cut_off(one);
        }
        // A minority, and one of it loses the end of its log.
        let taken: Vec<usize> = if one == two { vec![one] } else { vec![one, two] };
        for number in &taken {
            world.kill(*number, &mut shared.rafts.lock().unwrap());
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        world.heal();
        for (turn, number) in taken.into_iter().enumerate() {
            if turn == 0 && random.random_bool(0.5) {
                super::disk::lose_end(&world.path(number), random.random_range(1..2000)).await;
            }
            let raft = world.open(number).await;
            shared.rafts.lock().unwrap()[number] = Some(raft);
        }
    }
    // A slow machine has had time for few: a run of few says nothing.
    until("the clients have written and read enough", || async {
        shared.written.lock().unwrap().len() > 20 && shared.calls.lock().unwrap().len() > 40
    })
    .await;
    shared.over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let raft = shared.rafts.lock().unwrap()[1].clone().unwrap();
    let mut state = raft.read().await;
    // The last fault may still be healing.
    for _ in 0..10 {
        if state.is_ok() {
            break;
        }
        state = raft.read().await;
    }
    let state = state.unwrap();
    let written = shared.written.lock().unwrap();
    let lost: Vec<&String> =
        written.iter().filter(|name| state.configs().get(name.as_str()).is_none()).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged writes are lost", lost.len(), written.len());
    let mut calls = shared.calls.lock().unwrap().clone();
    calls.sort_by_key(|call| call.begun);
    assert!(linearizable(&calls), "{calls:?}");
}
