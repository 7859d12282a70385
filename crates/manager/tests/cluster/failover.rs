//! Leaders that change, and managers that come and go.

use crate::world::{World, replicated, set_replicas};
use manager::Log;
use std::collections::BTreeSet;
use types::swarm::node::{NodeState, Role};

#[tokio::test(start_paused = true)]
async fn another_leader_goes_on_where_the_last_one_was() {
    let mut world = World::nodes(3).await;
    let second = world.add_manager().await;
    let web = world.create(replicated("web", "good", 10)).await;
    world.eventually("ten run", |world| world.running(&web).len() == 10).await;
    let before: BTreeSet<_> = world.running(&web).iter().map(|task| task.id.clone()).collect();
    world.update(&web, |spec| set_replicas(spec, 700)).await;
    for round in 0..6 {
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let next = if round % 2 == 0 { &second } else { &world.first };
        world.view(next).lead();
        tokio::time::sleep(std::time::Duration::from_millis(37 * round)).await;
    }
    world.eventually("all run", |world| world.running(&web).len() == 700).await;
    let running = world.running(&web);
    let slots: BTreeSet<u64> = running.iter().map(|task| task.slot).collect();
    assert_eq!(slots.len(), 700);
    let after: BTreeSet<_> = running.iter().map(|task| task.id.clone()).collect();
    assert!(before.is_subset(&after), "tasks that ran go on");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_killed_leaders_tasks_run_elsewhere_within_ten_seconds() {
    let mut world = World::nodes(3).await;
    let second = world.add_manager().await;
    world.start_agent(&second);
    world.eventually("four are ready", |world| world.ready() == 4).await;
    let web = world.create(replicated("web", "good", 8)).await;
    world.eventually("eight run", |world| world.running(&web).len() == 8).await;
    let first = world.first.clone();
    world.agents.get_mut(&first).unwrap().kill().await;
    world.kill_manager(&first);
    world.log.depose();
    let began = tokio::time::Instant::now();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await; // an election
    world.view(&second).lead();
    world
        .eventually("eight run elsewhere", |world| {
            let running = world.running(&web);
            running.iter().filter(|task| task.node_id != first).count() == 8
        })
        .await;
    let took = began.elapsed();
    assert!(took <= std::time::Duration::from_secs(10), "{took:?}");
    let down = world.state().nodes().iter().filter(|n| n.status.state == NodeState::Down).count();
    assert_eq!(down, 1, "those that turned up stay");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn what_an_old_leader_decides_late_does_not_count() {
    let mut world = World::new().await;
    let second = world.add_manager().await;
    world.eventually("the first leads", |world| leads(world, &world.first)).await;
    let stale = world.state();
    world.view(&second).lead();
    world.eventually("the second leads", |world| leads(world, &second)).await;
    let version = stale.nodes().get(world.first.as_str()).unwrap().meta.version;
    let guard = store::Change::Expect {
        kind: store::Kind::Node,
        id: world.first.to_string(),
        version: Some(version),
    };
    assert!(world.write(vec![guard]).await.is_err());
    world.check();
}

fn leads(world: &World, node: &types::NodeId) -> bool {
    let row = world.state().nodes().get(node.as_str()).unwrap().clone();
    row.manager_status.as_ref().is_some_and(|status| status.leader)
}

#[tokio::test(start_paused = true)]
async fn an_agent_at_the_wrong_manager_is_told_who_leads() {
    let mut world = World::nodes(1).await;
    let second = world.add_manager().await;
    let (_outbox, messages) = tokio::sync::mpsc::channel(4);
    let peer = world.peer(&world.first, Role::Worker);
    let dispatcher = world.managers.lock().unwrap()[&second].dispatcher();
    let mut inbox = dispatcher.attach(peer, messages);
    let message = inbox.recv().await.unwrap();
    let types::swarm::session::ManagerMessage::Settings(settings) = message else {
        panic!("{message:?}");
    };
    assert_eq!(settings.managers[0].node, world.first);
    assert_eq!(settings.managers.len(), 2);
    assert!(inbox.recv().await.is_none(), "the session has ended");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_demoted_manager_leaves_the_membership_before_its_certificate_does() {
    let mut world = World::nodes(1).await;
    let second = world.add_manager().await;
    world
        .eventually("it is a manager", |world| {
            let row = world.state().nodes().get(second.as_str()).unwrap().clone();
            row.manager_status.as_ref().is_some_and(|status| status.reachability == "reachable")
        })
        .await;
    world.change_node(&second, |node| node.spec.role = Role::Worker).await;
    let peer = rpc::Peer { identity: world.peer(&second, Role::Manager), lapsed: None };
    let issued = world.issue(Some(peer.clone()), None).await.unwrap();
    let voted = world.log.members().iter().any(|member| member.node == second);
    assert_eq!(issued.role == Role::Manager, voted);
    world
        .eventually("it has no vote", |world| {
            let gone = world.log.members().iter().all(|member| member.node != second);
            let row = world.state().nodes().get(second.as_str()).unwrap().clone();
            gone && row.manager_status.is_none()
        })
        .await;
    assert_eq!(world.issue(Some(peer), None).await.unwrap().role, Role::Worker);
    world.check();
}
