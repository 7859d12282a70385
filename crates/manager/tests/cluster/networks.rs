//! The endpoint table on its way to the nodes, tasks that drain before they stop, and containers that join by themselves.

use crate::world::{World, replicated, set_image, set_replicas};
use manager::control::Control;
use std::net::Ipv4Addr;
use std::time::Duration;
use store::{Change, Kind};
use tokio::time::Instant;
use types::network::CreateRequest;
use types::swarm::attach::AttachRequest;
use types::swarm::endpoint::{EndpointRow, EndpointState, Rows};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{NodeState, Role};
use types::swarm::service::{NetworkAttachmentConfig, ServiceSpec};
use types::swarm::task::TaskState;
use types::{NetworkId, NodeId, ServiceId, TaskId};

/// A node that is up and says nothing delays a stop by so much.
const PATIENCE: Duration = Duration::from_secs(20);

async fn network(world: &World, name: &str, attachable: bool) {
    let spec = CreateRequest {
        name: name.to_owned(),
        driver: "overlay".to_owned(),
        attachable,
        ..CreateRequest::default()
    };
    let network = ClusterNetwork { id: NetworkId::new(name), spec, ..ClusterNetwork::default() };
    world.write(vec![Change::Create(network.into())]).await.unwrap();
    let given = |world: &World| !world.state().networks().get(name).unwrap().subnet.is_empty();
    world.eventually("a subnet", given).await;
}

fn on(network: &str, replicas: u64) -> ServiceSpec {
    let mut spec = replicated("web", "good:1", replicas);
    let target = network.to_owned();
    spec.task_template.networks = vec![NetworkAttachmentConfig { target, ..Default::default() }];
    spec
}

/// `web` with two tasks on two nodes, on a network; what every node knows of them.
async fn web(world: &mut World, replicas: u64) -> ServiceId {
    network(world, "net", true).await;
    let web = world.create(on("net", replicas)).await;
    let count = usize::try_from(replicas).unwrap();
    let known = |world: &World| everywhere(world, |rows| healthy(rows) == count);
    world.eventually("every node knows of them", known).await;
    web
}

fn everywhere(world: &World, holds: impl Fn(&Rows<EndpointRow>) -> bool) -> bool {
    world.agents.values().all(|agent| holds(&agent.state().table.endpoints))
}

fn healthy(rows: &Rows<EndpointRow>) -> usize {
    rows.iter().filter(|row| row.state == EndpointState::Healthy).count()
}

fn draining(rows: &Rows<EndpointRow>) -> usize {
    rows.iter().filter(|row| row.state == EndpointState::Draining).count()
}

fn running(world: &World) -> usize {
    world.agents.values().map(|agent| agent.running().len()).sum()
}

fn worker(world: &World) -> NodeId {
    world.agents.keys().find(|node| **node != world.first).unwrap().clone()
}

fn control(world: &World) -> Control {
    world.managers.lock().unwrap()[&world.first].control()
}

#[tokio::test(start_paused = true)]
async fn every_node_is_told_the_same_table_and_only_what_changes_of_it() {
    let mut world = World::nodes(3).await;
    let web = web(&mut world, 30).await;
    let tables: Vec<_> = world.agents.values().map(|agent| agent.state().table.clone()).collect();
    assert_eq!(tables[0].services.len(), 1);
    assert_eq!(tables[0].endpoints.len(), 30);
    assert!(tables.iter().all(|table| *table == tables[0]));
    for agent in world.agents.values() {
        agent.state().rows = 0;
    }
    world.update(&web, |spec| set_replicas(spec, 31)).await;
    world.eventually("one more", |world| everywhere(world, |rows| healthy(rows) == 31)).await;
    for agent in world.agents.values() {
        let state = agent.state();
        assert_eq!(state.resyncs, 0);
        assert!(state.rows <= 3, "{} rows for one task", state.rows);
    }
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_task_stops_only_when_every_node_has_applied_a_table_in_which_it_drains() {
    let mut world = World::nodes(3).await;
    let web = web(&mut world, 6).await;
    let mute = worker(&world);
    world.agents[&mute].state().mute = true;
    world.update(&web, |spec| set_replicas(spec, 4)).await;
    let since = Instant::now();
    world.eventually("drain", |world| everywhere(world, |rows| draining(rows) == 2)).await;
    assert_eq!(running(&world), 6, "one node may still send to them");
    world.agents[&mute].state().mute = false;
    world.eventually("four", |world| running(world) == 4).await;
    assert!(since.elapsed() < PATIENCE);
    world.eventually("no row", |world| everywhere(world, |rows| rows.len() == 4)).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_says_nothing_delays_a_stop_no_longer_than_it_may() {
    let mut world = World::nodes(3).await;
    let web = web(&mut world, 6).await;
    world.agents[&worker(&world)].state().mute = true;
    let since = Instant::now();
    world.update(&web, |spec| set_replicas(spec, 4)).await;
    world.eventually("four", |world| running(world) == 4).await;
    assert!(since.elapsed() >= PATIENCE && since.elapsed() < PATIENCE * 2);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_down_delays_no_stop() {
    let mut world = World::nodes(3).await;
    let web = web(&mut world, 6).await;
    let lost = worker(&world);
    world.agents.get_mut(&lost).unwrap().crash().await;
    let down = |world: &World| {
        let state = world.state();
        state.nodes().get(lost.as_str()).unwrap().status.state == NodeState::Down
    };
    world.eventually("down", down).await;
    world.eventually("replaced", |world| world.running(&web).len() == 6).await;
    let since = Instant::now();
    world.update(&web, |spec| set_replicas(spec, 2)).await;
    world.eventually("two", |world| running(world) == 2).await;
    assert!(since.elapsed() < PATIENCE);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_new_leader_asks_again_before_anything_stops() {
    let mut world = World::nodes(3).await;
    let second = world.add_manager().await;
    let web = web(&mut world, 6).await;
    let mute = worker(&world);
    world.agents[&mute].state().mute = true;
    world.update(&web, |spec| set_replicas(spec, 4)).await;
    world.eventually("drain", |world| everywhere(world, |rows| draining(rows) == 2)).await;
    let (first, before) = (world.first.clone(), world.agents[&mute].state().sessions);
    world.kill_manager(&first);
    world.view(&second).lead();
    let returned = |world: &World| world.agents[&mute].state().sessions > before;
    world.eventually("turn to the new leader", returned).await;
    assert_eq!(running(&world), 6);
    world.agents[&mute].state().mute = false;
    world.eventually("four", |world| running(world) == 4).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn an_update_never_stops_a_task_that_a_node_may_send_to() {
    let mut world = World::nodes(3).await;
    for order in ["stop-first", "start-first"] {
        let name = format!("net-{order}");
        network(&world, &name, false).await;
        let mut spec = on(&name, 6);
        spec.name = order.to_owned();
        spec.update_config.as_mut().unwrap().order = order.to_owned();
        let web = world.create(spec).await;
        world.eventually("six", |world| world.running(&web).len() == 6).await;
        world.update(&web, |spec| set_image(spec, "good:2")).await;
        // Whatever a node's table offers runs.
        let offered_runs = |world: &World| {
            let runs: Vec<TaskId> =
                world.agents.values().flat_map(|agent| agent.running()).collect();
            world.agents.values().all(|agent| {
                let state = agent.state();
                let offered =
                    state.table.endpoints.iter().filter(|row| row.state == EndpointState::Healthy);
                offered.into_iter().all(|row| runs.contains(&row.task))
            })
        };
        let done = |world: &World| {
            let running = world.running(&web);
            let new = |task: &&std::sync::Arc<types::swarm::task::Task>| {
                task.spec.container_spec.as_ref().unwrap().image == "good:2"
            };
            running.iter().filter(new).count() == 6 && running.len() == 6
        };
        world
            .eventually("updated", |world| {
                assert!(offered_runs(world), "{order}: a task is offered that has been stopped");
                done(world)
            })
            .await;
    }
    world.check();
}

fn request(task: u8, node: &NodeId, network: &str, address: Option<Ipv4Addr>) -> AttachRequest {
    AttachRequest {
        task: TaskId::new(types::ids::swarm_id([task; 16])),
        node: node.clone(),
        network: network.to_owned(),
        container: format!("c{task}"),
        name: format!("box{task}"),
        aliases: vec!["db".to_owned()],
        address,
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_joins_by_itself_and_goes_when_its_node_says_so() {
    let mut world = World::nodes(2).await;
    network(&world, "net", true).await;
    let (node, control) = (worker(&world), control(&world));
    let one = request(1, &node, "net", None);
    let given = control.attach(&one).await.unwrap();
    assert_eq!(given.prefix_len, 24);
    assert_eq!(control.attach(&one).await.unwrap(), given, "asked again");
    let wanted = Ipv4Addr::new(10, 0, 1, 3);
    let two = request(2, &world.first.clone(), "net", Some(wanted));
    assert_eq!(control.attach(&two).await.unwrap().address, wanted);
    let known = |rows: &Rows<EndpointRow>| {
        let mut names: Vec<(&str, Ipv4Addr, EndpointState)> =
            rows.iter().map(|row| (row.name.as_str(), row.address, row.state)).collect();
        names.sort_unstable_by_key(|(name, ..)| *name);
        let (one, two) = (("box1", given.address), ("box2", wanted));
        let healthy = EndpointState::Healthy;
        names == [(one.0, one.1, healthy), (two.0, two.1, healthy)]
    };
    world.eventually("everybody knows them", |world| everywhere(world, known)).await;
    assert!(world.agents.values().all(|agent| agent.state().tasks.is_empty()), "no agent's task");
    let row = world.state().networks().get("net").unwrap().clone();
    assert!(row.blocks.iter().any(|block| {
        block.node == world.first && block.block.contains(wanted) && block.block.prefix_len() == 32
    }));

    // The node lost its container while it was away.
    world.agents.get_mut(&node).unwrap().kill().await;
    world.agents[&node].state().attached = Some(Vec::new());
    tokio::time::sleep(Duration::from_secs(40)).await;
    world.start_agent(&node);
    let gone = |world: &World| world.state().tasks().get(one.task.as_str()).is_none();
    world.eventually("let go", gone).await;
    control.detach(&world.first, &[two.task.clone(), one.task.clone()]).await.unwrap();
    world.eventually("no row", |world| everywhere(world, Rows::is_empty)).await;
    world.remove(Kind::Network, "net").await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_be_had_is_refused_and_nothing_stays() {
    let mut world = World::nodes(1).await;
    network(&world, "open", true).await;
    network(&world, "shut", false).await;
    let (node, control) = (world.first.clone(), control(&world));
    let taken = control.attach(&request(1, &node, "open", None)).await.unwrap().address;
    let outside = Ipv4Addr::new(192, 0, 2, 7);
    let said = |network: &'static str, address: Option<Ipv4Addr>| {
        let (control, request) = (control.clone(), request(9, &node, network, address));
        async move { control.attach(&request).await.unwrap_err().to_string() }
    };
    assert_eq!(said("none", None).await, "network none not found");
    assert_eq!(
        said("shut", None).await,
        "Could not attach to network shut: rpc error: code = PermissionDenied desc = network shut not manually attachable"
    );
    assert_eq!(
        said("open", Some(outside)).await,
        "invalid config for network open: invalid endpoint settings:\nno configured subnet contains IP address 192.0.2.7"
    );
    assert_eq!(
        said("open", Some(taken)).await,
        format!(
            "Could not attach to network open: rpc error: code = FailedPrecondition desc = address {taken} of network open is already in use"
        )
    );
    assert_eq!(world.state().tasks().len(), 1);

    // A node that is removed takes its containers along.
    let other = world.join(Role::Worker).await;
    control.attach(&request(3, &other, "open", None)).await.unwrap();
    control.remove_node(other.as_str(), true).await.unwrap();
    assert_eq!(world.state().tasks().len(), 1);
    assert_eq!(world.state().tasks().iter().next().unwrap().status.state, TaskState::Running);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_waits_until_its_tasks_have_drained() {
    let mut world = World::nodes(3).await;
    let web = web(&mut world, 6).await;
    let (leaving, control) = (worker(&world), control(&world));
    assert!(!world.agents[&leaving].running().is_empty());
    control.depart(&leaving).await.unwrap();
    assert!(world.agents[&leaving].running().is_empty());
    world.eventually("six elsewhere", |world| world.running(&web).len() == 6).await;
    let elsewhere = |world: &World| world.running(&web).iter().all(|task| task.node_id != leaving);
    assert!(elsewhere(&world));
    world.check();
}
