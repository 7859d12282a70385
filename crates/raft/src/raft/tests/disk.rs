//! Disks that are full, slow, cut short, damaged; what lies on them.

use super::world::{LIMIT, World, cluster, config, create, get, has, leader, until};
use crate::{Error, Keys, KeysError, ProposeError, Raft};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use store::{Change, Entry};
use types::Timestamp;

fn log_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("log-"))
        .collect();
    files.sort();
    files
}

/// Where the last byte lies that is not zero.
fn end_of(path: &Path) -> usize {
    let bytes = fs::read(path).unwrap();
    bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1
}

fn cut(path: &Path, to: usize) {
    fs::File::options().write(true).open(path).unwrap().set_len(to as u64).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_lost_the_end_of_its_log_gets_it_back_before_it_votes() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let (cut_one, other) = (led % 3 + 1, (led + 1) % 3 + 1);
    for number in 0..20 {
        create(rafts[led].as_ref().unwrap(), &format!("c{number}"), "x").await;
    }
    world.kill(cut_one, &mut rafts);
    let file = log_files(&world.path(cut_one)).pop().unwrap();
    cut(&file, end_of(&file) - 700);
    let again = world.open(cut_one).await;
    rafts[cut_one] = Some(again.clone());
    let trouble = again.trouble().unwrap_or_default();
    assert!(!again.node().log.state().lost || trouble.contains("lost its end"), "{trouble}");
    // With the leader gone too, only the third has all: nobody else may lead, nothing may be lost.
    until("it is whole again", || async { !again.node().log.state().lost }).await;
    world.kill(led, &mut rafts);
    let state = rafts[other].as_ref().unwrap().read().await.unwrap();
    assert_eq!(state.configs().iter().count(), 20);
    assert_eq!(again.read().await.unwrap().configs().iter().count(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_short_logs_do_not_outvote_the_long_one() {
    let world = World::new();
    let mut rafts = world.cluster(5).await;
    let led = leader(&rafts).await;
    let others: Vec<usize> = (1..=5).filter(|number| *number != led).collect();
    // Two that were never told, and two that were; one of these loses it, and the leader dies.
    world.cut_off(others[0]);
    world.cut_off(others[1]);
    let raft = rafts[led].clone().unwrap();
    assert!(create(&raft, "precious", "x").await);
    let holder = rafts[others[2]].clone().unwrap();
    until("both hold it", || async { holder.read().await.is_ok() && has(&holder, "precious") })
        .await;
    drop((raft, holder));
    for number in 1..=5 {
        world.kill(number, &mut rafts);
    }
    let file = log_files(&world.path(others[3])).pop().unwrap();
    cut(&file, end_of(&file) - 10);
    world.heal();
    for number in others {
        rafts[number] = Some(world.open(number).await);
    }
    let next = leader(&rafts).await;
    let state = rafts[next].as_ref().unwrap().read().await.unwrap();
    assert!(get(&state, "precious").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_every_manager_lost_its_end_the_longest_log_leads() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let raft = rafts[leader(&rafts).await].clone().unwrap();
    for number in 0..20 {
        assert!(create(&raft, &format!("c{number}"), "x").await);
    }
    for other in rafts.iter().flatten() {
        other.read().await.unwrap();
    }
    drop(raft);
    for number in 1..=3 {
        world.kill(number, &mut rafts);
        let file = log_files(&world.path(number)).pop().unwrap();
        cut(&file, end_of(&file) - [10, 900, 2000][number % 3]);
    }
    for (number, raft) in rafts.iter_mut().enumerate().skip(1) {
        *raft = Some(world.open(number).await);
    }
    let lasts: Vec<_> = rafts.iter().flatten().map(|raft| raft.node().log.last()).collect();
    // All are there: nobody waits for somebody who might know more.
    let next = leader(&rafts).await;
    assert_eq!(Some(&lasts[next - 1]), lasts.iter().max(), "manager {next} of {lasts:?}");
    assert!(rafts[1].as_ref().unwrap().read().await.unwrap().configs().iter().count() > 10);
    assert!(create(rafts[3].as_ref().unwrap(), "after", "x").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_cut_of_the_last_record_opens_and_any_damage_before_it_is_refused() {
    let world = World::new();
    let mut rafts = world.cluster(1).await;
    for number in 0..5 {
        create(rafts[1].as_ref().unwrap(), &format!("c{number}"), "x").await;
    }
    rafts[1].take().unwrap().shutdown().await;
    world.unplug(1);
    let file = log_files(&world.path(1)).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    let end = end_of(&file);
    for lost in [1, 20, 60] {
        fs::write(&file, &whole[..end - lost]).unwrap();
        let raft = Raft::open(world.options(1)).await.unwrap();
        let found = raft.read().await.unwrap().configs().iter().count();
        assert!(found >= 4, "only the last record may be gone, {found} are left");
        raft.shutdown().await;
        fs::write(&file, &whole).unwrap();
    }
    let mut damaged = whole.clone();
    damaged[end / 2] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let error = Raft::open(world.options(1)).await.err().unwrap();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&file).unwrap(), damaged, "nothing was changed");
    fs::write(&file, &whole).unwrap();
    let raft = Raft::open(world.options(1)).await.unwrap();
    assert_eq!(raft.read().await.unwrap().configs().iter().count(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_lie_nowhere_in_the_clear_and_need_the_key() {
    let mut world = World::new();
    world.tuning.snapshot_entries = 5;
    let secret = "correct-horse-battery-staple";
    let keys = Keys::create(&world.keys_path(1), "SWMKEY-1-k").unwrap();
    let mut options = world.options_with(1, keys);
    let first = Entry::one(Timestamp(1), vec![cluster()]);
    let raft = Raft::bootstrap(options, first).await.unwrap();
    for number in 0..20 {
        create(&raft, &format!("c{number}"), secret).await;
    }
    until("a snapshot was taken", || async { raft.node().metrics().snapshot.is_some() }).await;
    raft.shutdown().await;
    let mut files = 0;
    for entry in fs::read_dir(world.path(1)).unwrap() {
        // A snapshot that was under way may be put in its place only now.
        let Ok(bytes) = fs::read(entry.unwrap().path()) else { continue };
        files += 1;
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        assert!(
            !bytes.windows(9).any(|window| window == b"\"configs\"" || window == b"\"config\":")
        );
    }
    assert!(files >= 2);
    assert!(matches!(Keys::load(&world.keys_path(1), "SWMKEY-1-x"), Err(KeysError::Locked)));
    // Another key file is not enough.
    let wrong = Keys::create(&world.dir.path().join("wrong.json"), "").unwrap();
    options = world.options_with(1, wrong);
    assert!(matches!(Raft::open(options).await, Err(Error::Damaged { .. })));
    let keys = Keys::load(&world.keys_path(1), "SWMKEY-1-k").unwrap();
    let raft = Raft::open(world.options_with(1, keys)).await.unwrap();
    assert_eq!(get(&raft.read().await.unwrap(), "c3").unwrap().0, secret);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_data_key_replaces_the_old_one_everywhere() {
    let world = World::new();
    let keys = Keys::create(&world.keys_path(1), "").unwrap();
    let first = Entry::one(Timestamp(1), vec![cluster()]);
    let raft = Raft::bootstrap(world.options_with(1, keys.clone()), first).await.unwrap();
    for number in 0..10 {
        create(&raft, &format!("c{number}"), "x").await;
    }
    keys.rotate_data().unwrap();
    create(&raft, "after", "x").await;
    until("the old key is forgotten", || async { keys.get(1).is_none() }).await;
    create(&raft, "later", "x").await;
    drop(raft);
    let keys = Keys::load(&world.keys_path(1), "").unwrap();
    assert!(keys.get(1).is_none());
    let raft = Raft::open(world.options_with(1, keys)).await.unwrap();
    assert_eq!(raft.read().await.unwrap().configs().iter().count(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_the_same_time_share_entries_and_flushes() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let raft = rafts[leader(&rafts).await].clone().unwrap();
    let log = raft.node().log.clone();
    let (entries, flushes) = (log.last().unwrap().index, log.flushes());
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let raft = rafts[writer % 3 + 1].clone().unwrap();
            tokio::spawn(async move {
                for turn in 0..10 {
                    assert!(create(&raft, &format!("w{writer}-{turn}"), "x").await);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (entries, flushes) = (log.last().unwrap().index - entries, log.flushes() - flushes);
    assert!(entries <= 320, "640 writes made {entries} entries");
    assert!(flushes <= 400, "640 writes made {flushes} flushes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_by_name_and_loses_none() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    assert!(create(rafts[1].as_ref().unwrap(), "before", "x").await);
    for raft in rafts.iter().flatten() {
        raft.node().log.faults().full.store(true, Ordering::Relaxed);
    }
    let led = leader(&rafts).await;
    for raft in rafts.iter().flatten() {
        let change = Change::Create(config("full", "x").into());
        let error = raft.propose(vec![vec![change].into()]).await.unwrap_err();
        let trouble = rafts[led].as_ref().unwrap().trouble().unwrap_or_default();
        assert!(trouble.contains("no space left"), "{trouble}");
        let ProposeError::Full { node } = &error else { panic!("{error}") };
        assert_eq!(*node, super::world::node(led));
        assert!(error.to_string().contains("no space left"), "{error}");
    }
    for raft in rafts.iter().flatten() {
        raft.node().log.faults().full.store(false, Ordering::Relaxed);
    }
    assert!(create(rafts[2].as_ref().unwrap(), "full", "x").await, "it was not written");
    let state = rafts[3].as_ref().unwrap().read().await.unwrap();
    assert!(get(&state, "before").is_some() && get(&state, "full").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_without_room_does_not_stop_the_others() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let full = rafts[led % 3 + 1].clone().unwrap();
    full.node().log.faults().full.store(true, Ordering::Relaxed);
    assert!(create(rafts[led].as_ref().unwrap(), "c", "x").await);
    assert!(!has(&full, "c"));
    assert!(full.failed().is_none());
    full.node().log.faults().full.store(false, Ordering::Relaxed);
    let state = full.read().await.unwrap();
    assert!(get(&state, "c").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_stands_still_for_a_moment_stays() {
    let mut world = World::new();
    world.tuning.stall = LIMIT;
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let raft = rafts[led].clone().unwrap();
    let term = raft.leadership().borrow().term;
    raft.node().log.faults().stall(true);
    let writing = tokio::spawn({
        let raft = raft.clone();
        async move { create(&raft, "slow", "x").await }
    });
    // Longer than silence may last.
    tokio::time::sleep(world.tuning.election * 3).await;
    assert!(!writing.is_finished());
    raft.node().log.faults().stall(false);
    assert!(writing.await.unwrap());
    let terms: BTreeSet<u64> =
        rafts.iter().flatten().map(|raft| raft.leadership().borrow().term).collect();
    assert_eq!(terms, BTreeSet::from([term]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_is_replaced_and_what_it_took_is_not_lost() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let raft = rafts[led].clone().unwrap();
    raft.node().log.faults().stall(true);
    let writing = tokio::spawn({
        let raft = raft.clone();
        async move {
            let change = Change::Create(config("hung", "x").into());
            raft.propose(vec![vec![change].into()]).await
        }
    });
    let other = rafts[led % 3 + 1].clone().unwrap();
    assert!(create(&other, "meanwhile", "x").await);
    raft.node().log.faults().stall(false);
    let outcome = writing.await.unwrap();
    let state = raft.read().await.unwrap();
    assert!(get(&state, "meanwhile").is_some());
    match outcome {
        Ok(outcome) => assert!(outcome[0].is_ok() && get(&state, "hung").is_some()),
        Err(error) => assert_eq!(error, ProposeError::Lost),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_directory_has_one_log() {
    let world = World::new();
    let empty = Raft::open(world.options(1)).await;
    assert!(matches!(empty, Err(Error::Empty(_))));
    let raft = world.first().await;
    let again = Raft::bootstrap(world.options(1), Entry::default()).await;
    assert!(matches!(again, Err(Error::NotEmpty(_))));
    assert!(create(&raft, "c", "x").await);
}

/// Cuts what a killed manager wrote last, by up to so many bytes.
pub(super) async fn lose_end(dir: &Path, bytes: usize) {
    // It may still be ending: its last write must be over before it is cut.
    let lock = fs::File::open(dir.join("lock")).unwrap();
    until("it let go of its directory", || async { lock.try_lock().is_ok() }).await;
    let file = log_files(dir).pop().unwrap();
    let end = end_of(&file);
    cut(&file, end.saturating_sub(bytes).max(200).min(end));
}
