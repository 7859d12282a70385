//! Sessions of agents: what they are told, and when they end.

use crate::hollow::Stream;
use crate::world::{World, replicated, set_image, set_replicas};
use std::sync::Arc;
use std::time::Duration;
use store::Change;
use types::swarm::node::{NodeDescription, Role};
use types::swarm::secret::{Secret, SecretSpec};
use types::swarm::service::ServiceSpec;
use types::swarm::session::{AgentMessage, Assigned, ManagerMessage, Removed, TaskReport};
use types::swarm::task::{Placement, SecretReference, TaskState, TaskStatus};
use types::{NodeId, SecretId};

async fn open(world: &World, node: &NodeId) -> Stream {
    let dispatcher = world.managers.lock().unwrap()[&world.first].dispatcher();
    let (outbox, messages) = tokio::sync::mpsc::channel(4);
    let inbox = dispatcher.attach(world.peer(node, Role::Worker), messages);
    let hello = NodeDescription { hostname: "by-hand".to_owned(), ..NodeDescription::default() };
    outbox.send(AgentMessage::Hello(hello)).await.unwrap();
    (outbox, inbox)
}

#[tokio::test(start_paused = true)]
async fn a_newer_session_of_a_node_ends_the_older() {
    let mut world = World::nodes(1).await;
    let node = world.join(Role::Worker).await;
    let (_first_outbox, mut first) = open(&world, &node).await;
    assert!(matches!(first.recv().await, Some(ManagerMessage::Settings(_))));
    let (_second_outbox, mut second) = open(&world, &node).await;
    while first.recv().await.is_some() {}
    assert!(matches!(second.recv().await, Some(ManagerMessage::Settings(_))));
    let Some(ManagerMessage::Endpoints(whole)) = second.recv().await else { panic!("no table") };
    assert!(whole.complete);
    let Some(ManagerMessage::Assignments(whole)) = second.recv().await else { panic!("no share") };
    assert!(whole.complete);
    let dispatcher = world.managers.lock().unwrap()[&world.first].dispatcher();
    assert!(dispatcher.sessions().contains(&node));
    world.check();
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_holds_nobody_up_and_then_gets_the_newest() {
    let mut world = World::nodes(2).await;
    let slow = world.join(Role::Worker).await;
    let (outbox, mut inbox) = open(&world, &slow).await;
    let beats = tokio::spawn({
        let outbox = outbox.clone();
        async move {
            while outbox.send(AgentMessage::Heartbeat).await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
    world.eventually("it is ready", |world| world.ready() == 3).await;
    let pinned = |mut spec: ServiceSpec, constraint: String| {
        let constraints = vec![constraint];
        spec.task_template.placement = Some(Placement { constraints, ..Placement::default() });
        spec
    };
    let mut noise = pinned(replicated("noise", "good:0", 30), format!("node.id=={slow}"));
    noise.update_config.as_mut().unwrap().parallelism = 0;
    let noise = world.create(noise).await;
    for turn in 1..40u64 {
        world
            .update(&noise, |spec| {
                set_image(spec, &format!("good:{turn}"));
                set_replicas(spec, 30 + turn % 5);
            })
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let web = pinned(replicated("web", "good", 20), format!("node.id!={slow}"));
    let web = world.create(web).await;
    world.eventually("the others have their tasks", |world| world.running(&web).len() == 20).await;
    // Now it reads: what it has been told adds up to what it should have.
    let mut has = std::collections::BTreeSet::new();
    let mut at = None;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(5), inbox.recv()).await {
        let ManagerMessage::Assignments(told) = message else { continue };
        if told.complete {
            has.clear();
        } else {
            assert_eq!(at, Some(told.from));
        }
        at = Some(told.to);
        for put in told.put {
            if let Assigned::Task(task) = put {
                has.insert(task.id.clone());
            }
        }
        for removed in told.removed {
            if let Removed::Task(id) = removed {
                has.remove(&types::TaskId::new(id));
            }
        }
    }
    let state = world.state();
    let should: std::collections::BTreeSet<_> =
        state.tasks_of_node(&slow).map(|task| task.id.clone()).collect();
    assert_eq!(has, should);
    beats.abort();
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_only_where_it_is_needed_and_only_as_long() {
    let mut world = World::nodes(3).await;
    let secret = Secret {
        id: SecretId::new("s3cret"),
        spec: SecretSpec {
            name: "key".to_owned(),
            data: "eA==".to_owned(),
            ..SecretSpec::default()
        },
        ..Secret::default()
    };
    world.write(vec![Change::Create(secret.into())]).await.unwrap();
    let mut spec = replicated("web", "good", 1);
    spec.task_template.container_spec.as_mut().unwrap().secrets = vec![SecretReference {
        secret_id: "s3cret".to_owned(),
        secret_name: "key".to_owned(),
        file: None,
    }];
    let web = world.create(spec).await;
    world.eventually("it runs", |world| world.running(&web).len() == 1).await;
    let key = ("secret", "s3cret".to_owned());
    let node = world.running(&web)[0].node_id.clone();
    for (id, agent) in &world.agents {
        assert_eq!(agent.state().needs.contains_key(&key), *id == node);
    }
    world.update(&web, |spec| set_replicas(spec, 0)).await;
    world
        .eventually("nobody has it", |world| {
            world.agents.values().all(|agent| !agent.state().needs.contains_key(&key))
        })
        .await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn what_a_node_says_of_anothers_task_does_not_cover_what_its_own_says() {
    let mut world = World::nodes(1).await;
    let (owner, other) = (world.join(Role::Worker).await, world.join(Role::Worker).await);
    let (says, _owners_inbox) = open(&world, &owner).await;
    let (lies, mut answers) = open(&world, &other).await;
    world.eventually("they are ready", |world| world.ready() == 3).await;
    let mut spec = replicated("web", "good", 1);
    let constraints = vec![format!("node.id=={owner}")];
    spec.task_template.placement = Some(Placement { constraints, ..Placement::default() });
    let web = world.create(spec).await;
    let placed = |world: &World| world.tasks(&web).iter().any(|task| task.node_id == owner);
    world.eventually("it has its node", placed).await;
    let task = world.tasks(&web)[0].id.clone();
    let report = |state| {
        let status = TaskStatus { state, ..TaskStatus::default() };
        TaskReport { task: task.clone(), status }
    };
    // Both are heard before either is written.
    lies.try_send(AgentMessage::Statuses(vec![report(TaskState::Failed)])).unwrap();
    says.try_send(AgentMessage::Statuses(vec![report(TaskState::Running)])).unwrap();
    let written = loop {
        if let ManagerMessage::Written(written) = answers.recv().await.unwrap() {
            break written;
        }
    };
    assert_eq!(written, [report(TaskState::Failed)]);
    world.eventually("it runs", |world| world.running(&web).len() == 1).await;
    world.check();
}

#[tokio::test(start_paused = true)]
async fn statuses_are_acknowledged_once_they_are_written_even_those_that_are_refused() {
    let mut world = World::nodes(1).await;
    let node = world.join(Role::Worker).await;
    let (outbox, mut inbox) = open(&world, &node).await;
    let status = TaskStatus { state: TaskState::Running, ..TaskStatus::default() };
    let report = TaskReport { task: types::TaskId::new("nobody's"), status };
    outbox.send(AgentMessage::Statuses(vec![report.clone()])).await.unwrap();
    loop {
        if let ManagerMessage::Written(written) = inbox.recv().await.unwrap() {
            assert_eq!(written, vec![report]);
            break;
        }
    }
    world.check();
}

#[tokio::test(start_paused = true)]
async fn settings_are_pushed_when_the_cluster_changes() {
    let world = World::nodes(1).await;
    let first = world.first.clone();
    let period = |world: &World| world.agents[&first].state().settings.heartbeat_period;
    world.eventually("the default", |world| period(world) == 1_000_000_000).await;
    let mut cluster =
        types::swarm::cluster::Cluster::clone(world.state().clusters().iter().next().unwrap());
    cluster.spec.dispatcher.heartbeat_period = 10_000_000_000;
    world.write(vec![Change::Update(Arc::new(cluster).into())]).await.unwrap();
    world.eventually("the new one", |world| period(world) == 2_000_000_000).await;
    let settings = world.agents[&first].state().settings.clone();
    assert_eq!(settings.role, Role::Manager);
    assert_eq!(settings.managers[0].addr, "127.0.0.1:2377");
    assert!(settings.trusted_roots.contains("BEGIN CERTIFICATE"));
    assert!(settings.signing_root.starts_with("sha256:"));
    world.check();
}
