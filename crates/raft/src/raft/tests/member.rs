//! Managers that come and go; clusters made anew.

use super::world::{LIMIT, World, create, get, has, leader, node, until};
use crate::{Error, Raft, inspect};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_managers_survive_the_loss_of_two() {
    let world = World::new();
    let mut rafts = world.cluster(5).await;
    let led = leader(&rafts).await;
    world.kill(led, &mut rafts);
    world.kill(led % 5 + 1, &mut rafts);
    let rest = rafts.iter().flatten().next().unwrap();
    assert!(create(rest, "c", "x").await);
    until("those who are away are seen as such", || async {
        let raft = rafts[leader(&rafts).await].as_ref().unwrap();
        raft.members().iter().filter(|member| member.reachable).count() == 3
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_manager_gets_a_snapshot_when_the_log_is_gone() {
    let mut world = World::new();
    world.tuning.snapshot_entries = 20;
    world.tuning.kept_entries = 2;
    let first = world.first().await;
    for number in 0..60 {
        create(&first, &format!("c{number}"), &"x".repeat(50_000)).await;
    }
    until("a snapshot was taken and the log cut", || async {
        first.node().metrics().purged.is_some_and(|id| id.index > 20)
    })
    .await;
    let second = world.join(2, &first).await;
    let state = second.read().await.unwrap();
    assert_eq!(state.configs().iter().count(), 60);
    // And again from its own disk.
    let mut rafts = vec![None, Some(first), Some(second)];
    world.kill(2, &mut rafts);
    let second = world.open(2).await;
    assert_eq!(second.read().await.unwrap().configs().iter().count(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_manager_learns_it_and_the_rest_goes_on() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let (gone, asks) = (led % 3 + 1, rafts[(led + 1) % 3 + 1].clone().unwrap());
    asks.remove(&node(gone)).await.unwrap();
    let mut removed = rafts[gone].as_ref().unwrap().removed();
    let told = tokio::time::timeout(LIMIT, removed.wait_for(|removed| *removed)).await;
    assert!(told.is_ok());
    assert!(create(&asks, "c", "x").await);
    assert_eq!(asks.members().len(), 2);
    assert!(matches!(asks.remove(&node(gone)).await, Err(Error::NotMember(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_removed_while_away_is_told_when_it_comes_back() {
    let world = World::new();
    let rafts = world.cluster(4).await;
    let led = leader(&rafts).await;
    let gone = led % 4 + 1;
    world.cut_off(gone);
    rafts[led].as_ref().unwrap().remove(&node(gone)).await.unwrap();
    world.heal();
    let mut removed = rafts[gone].as_ref().unwrap().removed();
    let told = tokio::time::timeout(LIMIT, removed.wait_for(|removed| *removed)).await;
    assert!(told.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_can_be_removed_by_itself() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    rafts[led].as_ref().unwrap().remove(&node(led)).await.unwrap();
    let others: Vec<Option<Raft>> =
        (0..4).map(|number| rafts[number].clone().filter(|_| number != led)).collect();
    let next = leader(&others).await;
    assert!(create(others[next].as_ref().unwrap(), "c", "x").await);
    assert_eq!(others[next].as_ref().unwrap().members().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_removed_when_the_rest_would_have_no_majority() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let (away, other) = (led % 3 + 1, (led + 1) % 3 + 1);
    world.kill(away, &mut rafts);
    let raft = rafts[led].clone().unwrap();
    until("the leader misses it", || async {
        raft.members().iter().filter(|member| member.reachable).count() == 2
    })
    .await;
    let error = raft.remove(&node(other)).await.unwrap_err();
    assert!(error.to_string().contains("this would result in a loss of quorum"), "{error}");
    raft.remove(&node(away)).await.unwrap();
    raft.remove(&node(other)).await.unwrap();
    assert!(matches!(raft.remove(&node(led)).await, Err(Error::Quorum)), "the last one");
    assert!(create(&raft, "c", "x").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_manager_has_no_say_in_who_belongs() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let (gone, other) = (led % 3 + 1, (led + 1) % 3 + 1);
    let raft = rafts[led].clone().unwrap();
    raft.remove(&node(gone)).await.unwrap();
    let removed = rafts[gone].clone().unwrap();
    let addr = removed.node().me.addr.clone();
    assert!(removed.remove(&node(other)).await.is_err());
    assert!(removed.add(&node(gone), &addr).await.is_err());
    assert!(removed.transfer_leadership().await.is_err());
    let members: Vec<_> = raft.members().into_iter().map(|member| member.node).collect();
    assert_eq!(members.len(), 2);
    assert!(!members.contains(&node(gone)));
    assert!(create(&raft, "c", "x").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_removals_at_once_do_not_cost_the_majority_either() {
    let world = World::new();
    let mut rafts = world.cluster(4).await;
    let led = leader(&rafts).await;
    let others: Vec<usize> = (1..=4).filter(|number| *number != led).collect();
    world.kill(others[0], &mut rafts);
    let raft = rafts[led].clone().unwrap();
    until("the leader misses it", || async {
        raft.members().iter().filter(|member| member.reachable).count() == 3
    })
    .await;
    let (one, two) = (node(others[1]), node(others[2]));
    let (one, two) = tokio::join!(raft.remove(&one), raft.remove(&two));
    let refused = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert!(matches!(refused.as_slice(), [Error::Quorum]), "{refused:?}");
    assert!(create(&raft, "c", "x").await);
    assert_eq!(raft.members().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_manager_can_come_back_empty() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    let gone = led % 3 + 1;
    let raft = rafts[led].clone().unwrap();
    raft.remove(&node(gone)).await.unwrap();
    rafts[gone].take().unwrap().shutdown().await;
    world.unplug(gone);
    std::fs::remove_dir_all(world.path(gone)).unwrap();
    assert!(create(&raft, "meanwhile", "x").await);
    let again = world.join(gone, &raft).await;
    assert!(get(&again.read().await.unwrap(), "meanwhile").is_some());
    assert_eq!(raft.members().iter().filter(|member| member.voter).count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_nobody_answers_for_is_not_added() {
    let world = World::new();
    let first = world.first().await;
    let error = first.add(&node(2), "10.0.0.2:2377").await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = first.add(&node(2), "10.0.0.1:2377").await.unwrap_err();
    assert!(matches!(error, Error::AddressTaken { .. }), "{error}");
    assert_eq!(first.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_can_be_made_a_cluster_anew_and_the_others_are_strangers() {
    let world = World::new();
    let mut rafts = world.cluster(3).await;
    let led = leader(&rafts).await;
    assert!(create(rafts[led].as_ref().unwrap(), "before", "x").await);
    for raft in rafts.iter().flatten() {
        until("all have it", || async { has(raft, "before") }).await;
    }
    for number in 1..=3 {
        world.kill(number, &mut rafts);
    }
    let raft = Raft::force_new_cluster(world.options(2)).await.unwrap();
    world.plug_in(2, &raft);
    assert!(get(&raft.read().await.unwrap(), "before").is_some());
    assert!(create(&raft, "after", "x").await);
    assert_eq!(raft.members().len(), 1);
    // The others come back and must not take it over.
    let (one, three) = (world.open(1).await, world.open(3).await);
    assert!(create(&one, "theirs", "x").await);
    assert!(!has(&raft, "theirs") && !has(&three, "after"));
    assert!(create(&raft, "still ours", "x").await);
    // It survives a restart.
    drop((one, three));
    let mut rafts = vec![None, None, Some(raft)];
    world.kill(2, &mut rafts);
    let raft = world.open(2).await;
    let state = raft.read().await.unwrap();
    assert!(get(&state, "after").is_some() && get(&state, "still ours").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_cluster_is_restored_elsewhere_and_a_cut_file_is_refused() {
    let world = World::new();
    let rafts = world.cluster(3).await;
    assert!(create(rafts[1].as_ref().unwrap(), "c", "precious").await);
    let mut file = Vec::new();
    let saved = rafts[2].as_ref().unwrap().save(&mut file).await.unwrap();
    assert_eq!(inspect(file.as_slice()).unwrap(), saved);
    assert_eq!(saved.members.len(), 3);
    let other = World::new();
    for cut in [0, 10, 40, file.len() / 2, file.len() - 1] {
        assert!(matches!(inspect(&file[..cut]), Err(Error::NotArchive(_))), "cut at {cut}");
        let refused = Raft::restore(other.options(1), &file[..cut]).await;
        assert!(matches!(refused, Err(Error::NotArchive(_))));
    }
    let raft = Raft::restore(other.options(1), file.as_slice()).await.unwrap();
    other.plug_in(1, &raft);
    assert_eq!(get(&raft.read().await.unwrap(), "c").unwrap().0, "precious");
    let refused = Raft::restore(other.options(1), file.as_slice()).await;
    assert!(matches!(refused, Err(Error::NotEmpty(_))));
    let second = other.join(2, &raft).await;
    assert!(get(&second.read().await.unwrap(), "c").is_some());
}
