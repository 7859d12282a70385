//! Leaders and followers that go away, and come back.

use super::world::{World, create, get, has, leader, node, until, update};
use crate::ProposeError;
use std::time::Duration;
use store::{StoreError, Transaction};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_keeps_what_it_wrote_over_a_kill() {
    let world = World::new();
    let mut rafts = world.cluster(1).await;
    for number in 0..20 {
        assert!(create(rafts[1].as_ref().unwrap(), &format!("c{number}"), "x").await);
    }
    world.kill(1, &mut rafts);
    let raft = world.open(1).await;
    let state = raft.read().await.unwrap();
    assert_eq!(state.configs().iter().count(), 20);
    assert_eq!(state.clusters().iter().count(), 1);
    assert!(!create(&raft, "c7", "again").await, "it is there already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_manager_takes_writes_and_shows_them_at_once() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    for (number, raft) in rafts.iter().flatten().enumerate() {
        assert!(create(raft, &format!("from{number}"), "x").await);
        assert!(has(raft, &format!("from{number}")), "applied here too");
        let refused = super::world::config(&format!("FROM{number}"), "y");
        let outcome = raft
            .propose(vec![Transaction::from(vec![store::Change::Create(refused.into())])])
            .await
            .unwrap();
        assert!(matches!(outcome[0], Err(StoreError::NameTaken { .. })), "{outcome:?}");
    }
    for raft in rafts.iter().flatten() {
        let state = raft.read().await.unwrap();
        assert_eq!(state.configs().iter().count(), 3);
    }
    let versions: Vec<u64> = rafts.iter().flatten().map(|raft| raft.snapshot().version()).collect();
    assert_eq!(versions, [versions[0]; 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_is_replaced_and_comes_back_as_a_follower() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    for round in 0..3 {
        let led = leader(&rafts).await;
        let other = rafts[led % 3 + 1].clone().unwrap();
        assert!(create(&other, &format!("before{round}"), "x").await);
        world.kill(led, &mut rafts);
        assert!(create(&other, &format!("after{round}"), "x").await, "waits for the next leader");
        rafts[led] = Some(world.open(led).await);
        let state = rafts[led].as_ref().unwrap().read().await.unwrap();
        assert_eq!(state.configs().iter().count(), 2 * (round + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_knows_and_writes_nothing() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let (alone, other) = (rafts[led].clone().unwrap(), rafts[led % 3 + 1].clone().unwrap());
    world.cut_off(led);
    let proposed = tokio::spawn({
        let alone = alone.clone();
        async move {
            let change = store::Change::Create(super::world::config("split", "x").into());
            alone.propose(vec![vec![change].into()]).await
        }
    });
    assert!(create(&other, "majority", "x").await);
    let mut leadership = alone.leadership();
    let seen = tokio::time::timeout(super::world::LIMIT, leadership.wait_for(|now| !now.is_leader));
    assert!(seen.await.is_ok(), "it still thinks that it leads");
    assert!(!has(&alone, "majority"));
    world.heal();
    let outcome = proposed.await.unwrap();
    let state = alone.read().await.unwrap();
    assert!(get(&state, "majority").is_some());
    // Written by the next leader, or in doubt and then perhaps: never refused, never half.
    match outcome {
        Ok(outcome) => {
            assert!(outcome[0].is_ok());
            assert!(get(&state, "split").is_some());
        }
        Err(error) => assert_eq!(error, ProposeError::Lost),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_writes_and_reads_fail_in_dockers_words() {
    let mut world = World::new();
    world.tuning.patience = Duration::from_secs(3);
    let mut rafts = world.cluster(3).await;
    world.kill(1, &mut rafts);
    world.kill(2, &mut rafts);
    let raft = rafts[3].clone().unwrap();
    let error = raft.read().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that \
         too few managers are online. Make sure more than half of the managers are online."
    );
    until("it sees that nobody leads", || async { raft.leadership().borrow().leader.is_none() })
        .await;
    let change = store::Change::Create(super::world::config("c", "x").into());
    let error = raft.propose(vec![vec![change].into()]).await.unwrap_err();
    assert!(matches!(error, ProposeError::NoLeader | ProposeError::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_was_away_does_not_push_the_leader_out() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let away = led % 3 + 1;
    let raft = rafts[led].clone().unwrap();
    let term = raft.leadership().borrow().term;
    world.cut_off(away);
    let gone = rafts[away].clone().unwrap();
    until("it misses the leader", || async { gone.leadership().borrow().leader.is_none() }).await;
    // Long enough to stand for election several times, if it would.
    tokio::time::sleep(world.tuning.election * 5).await;
    assert!(create(&raft, "meanwhile", "x").await);
    world.heal();
    let state = gone.read().await.unwrap();
    assert!(get(&state, "meanwhile").is_some());
    assert_eq!(raft.leadership().borrow().term, term);
    assert_eq!(leader(&rafts).await, led);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_can_be_handed_over_while_clients_write() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let writers: Vec<_> = (1..=3)
        .map(|number| {
            let raft = rafts[number].clone().unwrap();
            tokio::spawn(async move {
                for turn in 0..40 {
                    assert!(create(&raft, &format!("w{number}-{turn}"), "x").await);
                }
            })
        })
        .collect();
    rafts[led % 3 + 1].as_ref().unwrap().transfer_leadership().await.unwrap();
    assert_ne!(leader(&rafts).await, led);
    for writer in writers {
        writer.await.unwrap();
    }
    let state = rafts[1].as_ref().unwrap().read().await.unwrap();
    assert_eq!(state.configs().iter().count(), 120);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_shuts_down_hands_over_and_says_so() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let raft = rafts[led].take().unwrap();
    let handle = raft.clone();
    raft.shutdown().await;
    world.unplug(led);
    let next = leader(&rafts).await;
    assert_ne!(next, led);
    assert!(create(rafts[next].as_ref().unwrap(), "c", "x").await);
    let change = store::Change::Create(super::world::config("late", "x").into());
    let late = handle.propose(vec![vec![change].into()]).await;
    assert_eq!(late, Err(ProposeError::ShuttingDown));
    drop(handle);
    let again = world.open(led).await;
    assert!(get(&again.read().await.unwrap(), "c").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_refuse_what_was_decided_on_an_older_state() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let (one, two) = (rafts[1].clone().unwrap(), rafts[2].clone().unwrap());
    assert!(create(&one, "c", "0").await);
    let state = two.read().await.unwrap();
    let first = one.propose(vec![vec![update(&state, "c", "1")].into()]).await.unwrap();
    let second = two.propose(vec![vec![update(&state, "c", "2")].into()]).await.unwrap();
    assert!(first[0].is_ok());
    assert!(matches!(second[0], Err(StoreError::OutOfSequence { .. })));
    let events = two.changed_since(state.version()).unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].object.id(), "c");
    assert_eq!(*two.changes().borrow(), two.snapshot().version());
    until("all are seen", || async {
        one.members().iter().filter(|member| member.voter && member.reachable).count() == 3
    })
    .await;
    assert_eq!(one.members()[0].node, node(1));
}
