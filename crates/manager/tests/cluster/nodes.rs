//! Nodes that are lost, return, drain and are removed.

use crate::world::{World, replicated};
use store::Kind;
use types::swarm::node::{Availability, NodeState};
use types::swarm::service::{Global, Mode};
use types::swarm::task::TaskState;

fn node_of(world: &World, index: usize) -> types::NodeId {
    world.agents.keys().filter(|node| **node != world.first).nth(index).unwrap().clone()
}

fn state_of(world: &World, node: &types::NodeId) -> NodeState {
    world.state().nodes().get(node.as_str()).unwrap().status.state
}

#[tokio::test(start_paused = true)]
async fn tasks_of_a_node_that_is_lost_run_elsewhere_within_seven_seconds() {
    let mut world = World::nodes(3).await;
    let web = world.create(replicated("web", "good", 9)).await;
    world.eventually("nine run", |world| world.running(&web).len() == 9).await;
    let lost = node_of(&world, 0);
    world.agents.get_mut(&lost).unwrap().kill().await;
    let began = tokio::time::Instant::now();
    world
        .eventually("nine run elsewhere", |world| {
            let running = world.running(&web);
            running.iter().filter(|task| task.node_id != lost).count() == 9
        })
        .await;
    // Paused time: what it took of waits, not of work.
    let took = began.elapsed();
    assert!(took <= std::time::Duration::from_secs(7), "{took:?}");
    assert_eq!(state_of(&world, &lost), NodeState::Down);
    assert_eq!(world.agents[&lost].running().len(), 3, "a lost lease stops no container");

    // Back, it stops what was replaced, and nothing else.
    world.agents.get_mut(&lost).unwrap().start();
    world
        .eventually("superseded tasks have stopped", |world| {
            state_of(world, &lost) == NodeState::Ready && world.agents[&lost].running().is_empty()
        })
        .await;
    world.eventually("nine run", |world| world.running(&web).len() == 9).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_comes_back_empty_gets_new_tasks() {
    let mut world = World::nodes(2).await;
    let mut spec = replicated("agent", "good", 1);
    spec.mode = Mode { global: Some(Global {}), ..Mode::default() };
    let every = world.create(spec).await;
    world.eventually("one on each", |world| world.running(&every).len() == 2).await;
    let node = node_of(&world, 0);
    world.agents.get_mut(&node).unwrap().crash().await;
    world.agents.get_mut(&node).unwrap().start();
    world
        .eventually("its task was replaced", |world| {
            let failed = world
                .tasks(&every)
                .iter()
                .any(|task| task.node_id == node && task.status.state == TaskState::Failed);
            failed && world.running(&every).len() == 2
        })
        .await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_moves_nothing() {
    let mut world = World::nodes(2).await;
    let web = world.create(replicated("web", "good", 4)).await;
    world.eventually("four run", |world| world.running(&web).len() == 4).await;
    let before: Vec<_> = world.running(&web).iter().map(|task| task.id.clone()).collect();
    let node = node_of(&world, 0);
    world.agents.get_mut(&node).unwrap().kill().await;
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    world.agents.get_mut(&node).unwrap().start();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let after: Vec<_> = world.running(&web).iter().map(|task| task.id.clone()).collect();
    assert_eq!(before, after);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_drained_node_gives_its_tasks_away() {
    let mut world = World::nodes(3).await;
    let web = world.create(replicated("web", "good", 6)).await;
    world.eventually("six run", |world| world.running(&web).len() == 6).await;
    let node = node_of(&world, 1);
    world.change_node(&node, |row| row.spec.availability = Availability::Drain).await;
    world
        .eventually("they moved", |world| {
            let running = world.running(&web);
            running.len() == 6
                && running.iter().all(|task| task.node_id != node)
                && world.agents[&node].running().is_empty()
        })
        .await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_has_no_session_and_its_tasks_run_elsewhere() {
    let mut world = World::nodes(2).await;
    let web = world.create(replicated("web", "good", 4)).await;
    world.eventually("four run", |world| world.running(&web).len() == 4).await;
    let node = node_of(&world, 0);
    let sessions = world.agents[&node].state().sessions;
    world.remove(Kind::Node, node.as_str()).await;
    let first = world.first.clone();
    world
        .eventually("they moved", |world| {
            let running = world.running(&web);
            running.len() == 4 && running.iter().all(|task| task.node_id == first)
        })
        .await;
    world
        .eventually("it asks in vain", |world| {
            let open = world.managers.lock().unwrap()[&first].dispatcher().sessions();
            world.agents[&node].state().sessions > sessions + 3 && open == vec![first.clone()]
        })
        .await;
    world.check();
}
