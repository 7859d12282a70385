//! Services from their making to their end.

use crate::world::{World, replicated, set_image, set_replicas};
use std::collections::BTreeSet;
use store::{Change, Kind};
use types::NetworkId;
use types::network::CreateRequest;
use types::subnet::Cidr;
use types::swarm::network::{ClusterNetwork, NodeBlock};
use types::swarm::service::{EndpointSpec, NetworkAttachmentConfig, PortConfig};
use types::swarm::task::{Placement, TaskState};

#[tokio::test(start_paused = true)]
async fn a_service_runs_is_scaled_and_goes() {
    let mut world = World::nodes(3).await;
    let web = world.create(replicated("web", "good", 6)).await;
    world.eventually("six run", |world| world.running(&web).len() == 6).await;
    let nodes: BTreeSet<_> = world.running(&web).iter().map(|task| task.node_id.clone()).collect();
    assert_eq!(nodes.len(), 3, "tasks are spread");
    assert_eq!(world.agents.values().map(|agent| agent.running().len()).sum::<usize>(), 6);

    world.update(&web, |spec| set_replicas(spec, 20)).await;
    world.eventually("twenty run", |world| world.running(&web).len() == 20).await;
    world.update(&web, |spec| set_replicas(spec, 1)).await;
    world
        .eventually("one runs", |world| {
            let here: usize = world.agents.values().map(|agent| agent.running().len()).sum();
            world.running(&web).len() == 1 && here == 1
        })
        .await;

    world.remove(Kind::Service, web.as_str()).await;
    world
        .eventually("nothing is left", |world| {
            let forgotten = world.agents.values().all(|agent| agent.state().tasks.is_empty());
            world.state().tasks().is_empty() && forgotten
        })
        .await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_come_in_few_entries() {
    let mut world = World::nodes(4).await;
    let before = world.log.entries();
    let web = world.create(replicated("web", "good", 1_000)).await;
    world.eventually("all run", |world| world.running(&web).len() == 1_000).await;
    let entries = world.log.entries() - before;
    assert!(entries < 40, "{entries} entries");
    world.check();
}

#[tokio::test(start_paused = true)]
async fn an_update_replaces_every_task_and_a_rollback_brings_the_old_spec_back() {
    let mut world = World::nodes(3).await;
    let web = world.create(replicated("web", "good:1", 6)).await;
    world.eventually("six run", |world| world.running(&web).len() == 6).await;
    world.update(&web, |spec| set_image(spec, "good:2")).await;
    let state_of = |world: &World| {
        let row = world.state().services().get(web.as_str()).unwrap().clone();
        row.update_status.clone().map(|status| status.state).unwrap_or_default()
    };
    world.eventually("the update is complete", |world| state_of(world) == "completed").await;
    let images = |world: &World| -> BTreeSet<String> {
        let running = world.running(&web);
        running.iter().map(|t| t.spec.container_spec.as_ref().unwrap().image.clone()).collect()
    };
    assert_eq!(images(&world), BTreeSet::from(["good:2".to_owned()]));

    world
        .update(&web, |spec| {
            set_image(spec, "bad:3");
            spec.update_config.as_mut().unwrap().failure_action = "rollback".to_owned();
        })
        .await;
    world
        .eventually("rolled back", |world| {
            state_of(world) == "rollback_completed" && world.running(&web).len() == 6
        })
        .await;
    assert_eq!(images(&world), BTreeSet::from(["good:2".to_owned()]));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_crashed_task_is_replaced_and_history_is_bounded() {
    let mut world = World::nodes(1).await;
    let web = world.create(replicated("web", "crash", 1)).await;
    world
        .eventually("it was replaced many times", |world| {
            world.tasks(&web).iter().any(|task| task.record.run > 8)
        })
        .await;
    assert!(world.tasks(&web).len() < 25);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fits_nowhere_says_why_and_runs_when_it_fits() {
    let mut world = World::nodes(2).await;
    let mut spec = replicated("web", "good", 1);
    spec.task_template.placement = Some(Placement {
        constraints: vec!["node.labels.disk==ssd".to_owned()],
        ..Placement::default()
    });
    let web = world.create(spec).await;
    let reason = "no suitable node (scheduling constraints not satisfied on 2 nodes)";
    world
        .eventually("it says why", |world| {
            let tasks = world.tasks(&web);
            tasks
                .iter()
                .any(|task| task.status.err == reason && task.status.state == TaskState::Pending)
        })
        .await;
    let task = world.tasks(&web).remove(0);
    let why = world.why(task.id.as_str()).await.unwrap();
    assert_eq!(why.refusal.as_deref(), Some(reason));
    assert_eq!(why.verdicts.len(), 2);

    world
        .change_node(&world.first.clone(), |node| {
            node.spec.labels.insert("disk".to_owned(), "ssd".to_owned());
        })
        .await;
    world.eventually("it runs", |world| world.running(&web).len() == 1).await;
    assert_eq!(world.running(&web)[0].node_id, world.first);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn published_ports_and_virtual_addresses_are_given_once() {
    let mut world = World::nodes(1).await;
    world
        .eventually("the ingress has a subnet", |world| {
            world
                .state()
                .networks()
                .by_name("ingress")
                .is_some_and(|row| row.subnet == "10.0.0.0/24")
        })
        .await;
    let publish = |name: &str| {
        let mut spec = replicated(name, "good", 1);
        let port = PortConfig {
            protocol: "tcp".to_owned(),
            target_port: 80,
            publish_mode: "ingress".to_owned(),
            ..PortConfig::default()
        };
        spec.endpoint_spec = Some(EndpointSpec { mode: "vip".to_owned(), ports: vec![port] });
        spec
    };
    let one = world.create(publish("one")).await;
    let two = world.create(publish("two")).await;
    world
        .eventually("both run", |world| {
            world.running(&one).len() == 1 && world.running(&two).len() == 1
        })
        .await;
    let endpoint =
        |id: &types::ServiceId| world.state().services().get(id.as_str()).unwrap().endpoint.clone();
    let (first, second) = (endpoint(&one), endpoint(&two));
    assert_eq!(first.ports[0].published_port, 30000);
    assert_eq!(second.ports[0].published_port, 30001);
    assert_eq!(first.virtual_ips[0].addr, "10.0.0.2/24");
    assert_eq!(second.virtual_ips[0].addr, "10.0.0.3/24");

    // A port that is taken holds the service's tasks back, and says so, until it is free.
    let mut taken = publish("three");
    taken.endpoint_spec.as_mut().unwrap().ports[0].published_port = 30000;
    let three = world.create(taken).await;
    world
        .eventually("it says why", |world| {
            let waits = |task: &std::sync::Arc<types::swarm::task::Task>| {
                task.status.err.contains("port '30000' is already in use by service")
            };
            world.tasks(&three).iter().any(waits)
        })
        .await;
    world.remove(Kind::Service, one.as_str()).await;
    world.eventually("it runs", |world| world.running(&three).len() == 1).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_write_between_a_decision_and_its_entry_makes_it_be_decided_again() {
    let mut world = World::nodes(2).await;
    let web = world.create(replicated("web", "good", 5)).await;
    for replicas in [9, 2, 14, 3, 8] {
        world.update(&web, |spec| set_replicas(spec, replicas)).await;
        tokio::task::yield_now().await;
    }
    world.eventually("eight run", |world| world.running(&web).len() == 8).await;
    let slots: BTreeSet<u64> = world.running(&web).iter().map(|task| task.slot).collect();
    assert_eq!(slots.len(), 8);
    // Nobody writes any more once all is as it should be.
    let settled = |world: &World| world.log.entries();
    let mut last = settled(&world);
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        if settled(&world) == last {
            break;
        }
        last = settled(&world);
    }
    let written = world.write(vec![Change::Expect {
        kind: Kind::Service,
        id: "nobody".to_owned(),
        version: None,
    }]);
    written.await.unwrap();
    world.check();
}

#[tokio::test(start_paused = true)]
async fn tasks_on_an_overlay_have_an_address_from_their_nodes_block() {
    let mut world = World::nodes(2).await;
    let network = ClusterNetwork {
        id: NetworkId::new("net"),
        spec: CreateRequest {
            name: "net".to_owned(),
            driver: "overlay".to_owned(),
            ..CreateRequest::default()
        },
        ..ClusterNetwork::default()
    };
    world.write(vec![Change::Create(network.into())]).await.unwrap();
    let mut spec = replicated("web", "good", 6);
    spec.task_template.networks =
        vec![NetworkAttachmentConfig { target: "net".to_owned(), ..Default::default() }];
    let web = world.create(spec).await;
    world.eventually("six run", |world| world.running(&web).len() == 6).await;
    let row = world.state().networks().get("net").unwrap().clone();
    assert_eq!(row.subnet, "10.0.1.0/24");
    for task in world.running(&web) {
        let address: Cidr = task.networks_attachments[0].addresses[0].parse().unwrap();
        let holds = |block: &&NodeBlock| block.block.contains(address.address);
        let block = row.blocks.iter().find(holds).unwrap();
        assert_eq!(block.node, task.node_id);
    }
    let has = |world: &World| {
        world
            .agents
            .values()
            .all(|agent| agent.state().needs.contains_key(&("network", "net".to_owned())))
    };
    assert!(has(&world));
    world.remove(Kind::Service, web.as_str()).await;
    world
        .eventually("all is given back", |world| {
            let row = world.state().networks().get("net").unwrap().clone();
            row.blocks.is_empty() && world.state().tasks().is_empty()
        })
        .await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_round_too_large_for_the_log_is_written_in_parts() {
    let mut world = World::nodes(3).await;
    world.log.at_most(1 << 20);
    let mut spec = replicated("web", "good", 200);
    let container = spec.task_template.container_spec.as_mut().unwrap();
    container.env = vec![format!("BIG={}", "x".repeat(20_000))];
    let web = world.create(spec).await;
    world.eventually("all run", |world| world.running(&web).len() == 200).await;
    world.check();
}
