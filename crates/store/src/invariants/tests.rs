//! Each sentence: a state or step of which it holds, and the same with one thing wrong.

use super::*;
use crate::{Change, Entry, Store};
use types::swarm::cluster::Cluster;
use types::swarm::extension::{DependencyCondition, Stop, TaskRecord};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::service::{PortConfig, Replicated, Service, UpdateConfig, VirtualIp};
use types::swarm::task::NetworkAttachment;
use types::{ClusterId, NetworkId, NodeId, ServiceId, TaskId};

const AT: Timestamp = Timestamp::from_seconds(1_000);

/// A node, and a service of two replicas.
struct World(Store);

impl World {
    fn new() -> World {
        let mut cluster = Cluster { id: ClusterId::new("c"), ..Cluster::default() };
        cluster.spec.orchestration.task_history_retention_limit = Some(2);
        let mut node = Node { id: NodeId::new("n1"), ..Node::default() };
        node.status.state = NodeState::Ready;
        let mut world = World(Store::default());
        world.write(vec![Change::Create(cluster.into()), Change::Create(node.into())]);
        world.write(vec![Change::Create(service("web", 2).into())]);
        world
    }

    /// Writes, and answers the sentences that do not hold of the step or of the state after it.
    #[track_caller]
    fn write(&mut self, changes: Vec<Change>) -> Vec<Rule> {
        let before = self.0.snapshot();
        let applied = self.0.apply(&Entry::one(AT, changes));
        assert_eq!(applied.refused, vec![]);
        let after = self.0.snapshot();
        let mut notes = check_step(&before, &after, &applied.events);
        notes.extend(check(&after, AT.after(MAY_WAIT_UNEXPLAINED * 2)));
        notes.into_iter().map(|note| note.rule).collect()
    }

    fn create(&mut self, tasks: &[Task]) -> Vec<Rule> {
        self.write(tasks.iter().map(|task| Change::Create(task.clone().into())).collect())
    }

    fn stop(&mut self, task: &str, stop: Option<Stop>) -> Vec<Rule> {
        let state = TaskState::Shutdown;
        self.write(vec![Change::Desire { task: TaskId::new(task), state, stop }])
    }

    fn change(&mut self, edit: impl FnOnce(&mut Service)) -> Vec<Rule> {
        let mut service = self.0.state().services().get("web").unwrap().as_ref().clone();
        edit(&mut service);
        self.write(vec![Change::Update(service.into())])
    }
}

fn service(id: &str, replicas: u64) -> Service {
    let mut service = Service { id: ServiceId::new(id), ..Service::default() };
    service.spec.name = id.to_owned();
    service.spec.mode.replicated = Some(Replicated { replicas: Some(replicas) });
    service
}

fn task(id: &str, slot: u64, state: TaskState) -> Task {
    let mut task = Task {
        id: TaskId::new(id),
        service_id: ServiceId::new("web"),
        slot,
        node_id: NodeId::new(if state >= TaskState::Assigned { "n1" } else { "" }),
        desired_state: TaskState::Running,
        ..Task::default()
    };
    task.status.state = state;
    task.record = TaskRecord { run: 1, ..TaskRecord::default() };
    task
}

const NONE: [Rule; 0] = [];

#[test]
fn a_healthy_cluster_is_not_noted() {
    let mut world = World::new();
    let tasks = [task("a", 1, TaskState::Running), task("b", 2, TaskState::Running)];
    assert_eq!(world.create(&tasks), NONE);
}

#[test]
fn a_third_task_in_a_slot_is_noted() {
    let mut world = World::new();
    world.change(|web| {
        let order = "start-first".to_owned();
        web.spec.update_config = Some(UpdateConfig { order, ..UpdateConfig::default() });
    });
    assert_eq!(world.create(&[task("a", 1, TaskState::Running)]), NONE);
    assert_eq!(world.create(&[task("b", 1, TaskState::Running)]), NONE);
    assert_eq!(world.create(&[task("c", 1, TaskState::Running)]), [Rule::OneLivePerSlot]);
}

#[test]
fn a_start_beside_a_wanted_task_needs_the_order_for_it() {
    let mut world = World::new();
    world.create(&[task("a", 1, TaskState::Running)]);
    assert_eq!(world.create(&[task("b", 1, TaskState::New)])[0], Rule::OneLivePerSlot);
}

#[test]
fn a_start_beside_a_task_that_is_still_stopping_is_noted_whatever_the_order() {
    let mut world = World::new();
    world.create(&[task("a", 1, TaskState::Running)]);
    world.change(|web| web.spec.task_template.force_update = 1);
    assert_eq!(world.stop("a", Some(Stop::Updated)), NONE);
    let mut ready = task("b", 1, TaskState::New);
    ready.desired_state = TaskState::Ready;
    ready.status.message = "created".to_owned();
    assert_eq!(world.create(&[ready]), NONE);
    let (task, state) = (TaskId::new("b"), TaskState::Running);
    let start = vec![Change::Desire { task, state, stop: None }];
    assert_eq!(world.write(start), [Rule::OneLivePerSlot]);
}

#[test]
fn what_is_stopped_after_the_start_in_the_same_entry_was_wanted_at_the_start() {
    let played = |entry: fn(Vec<Change>, Vec<Change>) -> Vec<Change>| {
        let mut world = World::new();
        let mut running = task("a", 1, TaskState::Running);
        running.spec = std::sync::Arc::default();
        world.create(&[running]);
        world.change(|web| {
            let order = "start-first".to_owned();
            web.spec.update_config = Some(UpdateConfig { order, ..UpdateConfig::default() });
            web.spec.task_template.force_update = 1;
        });
        let mut new = task("b", 1, TaskState::New);
        new.status.message = "created".to_owned();
        let (task, state, stop) = (TaskId::new("a"), TaskState::Shutdown, Some(Stop::Updated));
        let stops = vec![Change::Desire { task, state, stop }];
        world.write(entry(vec![Change::Create(new.into())], stops))
    };
    let rules = played(|start, stop| [start, stop].concat());
    assert!(!rules.contains(&Rule::OneLivePerSlot), "{rules:?}");
    let rules = played(|start, stop| [stop, start].concat());
    assert!(rules.contains(&Rule::OneLivePerSlot), "{rules:?}");
}

#[test]
fn a_stop_needs_a_reason_that_is_so() {
    let unfounded = [Stop::Drained, Stop::ScaledDown, Stop::Updated, Stop::Preempted];
    for stop in unfounded.map(Some).into_iter().chain([None]) {
        let mut world = World::new();
        world.create(&[task("a", 1, TaskState::Running)]);
        assert_eq!(world.stop("a", stop), [Rule::StoppedForAReason], "{stop:?}");
    }
    let mut world = World::new();
    world.create(&[task("a", 1, TaskState::Running), task("b", 2, TaskState::Running)]);
    world.change(|web| web.spec.mode.replicated = Some(Replicated { replicas: Some(1) }));
    assert_eq!(world.stop("b", Some(Stop::ScaledDown)), NONE);
}

#[test]
fn a_task_that_may_run_is_not_removed() {
    let mut world = World::new();
    world.create(&[task("a", 1, TaskState::Running), task("b", 2, TaskState::Failed)]);
    let remove = |id: &str| {
        vec![Change::Remove { kind: crate::Kind::Task, id: id.to_owned(), version: None }]
    };
    assert_eq!(world.write(remove("b")), NONE);
    assert_eq!(world.write(remove("a")), [Rule::StoppedForAReason]);
}

#[test]
fn what_is_given_out_has_one_owner() {
    let attached = |id: &str, slot, address: &str| {
        let mut task = task(id, slot, TaskState::Running);
        let addresses = vec![address.to_owned()];
        task.networks_attachments =
            vec![NetworkAttachment { network: "net".to_owned(), addresses, aliases: Vec::new() }];
        task
    };
    let mut world = World::new();
    assert_eq!(world.create(&[attached("a", 1, "10.0.0.5/24")]), NONE);
    assert_eq!(world.create(&[attached("b", 2, "10.0.0.5/24")]), [Rule::OwnedOnce]);

    let mut world = World::new();
    world.create(&[attached("a", 1, "10.0.0.5/24")]);
    let vip = |addr: &str| VirtualIp { network_id: "net".to_owned(), addr: addr.to_owned() };
    assert_eq!(world.change(|web| web.endpoint.virtual_ips = vec![vip("10.0.0.2/24")]), NONE);
    let taken = world.change(|web| web.endpoint.virtual_ips = vec![vip("10.0.0.5/24")]);
    assert_eq!(taken, [Rule::OwnedOnce]);

    let network = |id: &str, subnet: &str, vni| {
        let (id, subnet) = (NetworkId::new(id), subnet.to_owned());
        let mut network = ClusterNetwork { id, subnet, vni, ..ClusterNetwork::default() };
        network.spec.name = network.id.to_string();
        vec![Change::Create(network.into())]
    };
    let mut world = World::new();
    assert_eq!(world.write(network("one", "10.0.0.0/24", 4097)), NONE);
    assert_eq!(world.write(network("two", "10.0.0.128/25", 4097)), [Rule::OwnedOnce; 2]);
}

#[test]
fn a_port_has_one_owner_in_the_cluster_or_on_its_node() {
    let port = |mode: &str| PortConfig {
        published_port: 80,
        publish_mode: mode.to_owned(),
        ..PortConfig::default()
    };
    let mut world = World::new();
    let mut other = service("other", 1);
    other.endpoint.ports = vec![port("ingress")];
    assert_eq!(world.write(vec![Change::Create(other.into())]), NONE);
    assert_eq!(world.change(|web| web.endpoint.ports = vec![port("")]), [Rule::OwnedOnce]);

    let mut world = World::new();
    let mut holders = [task("a", 1, TaskState::Running), task("b", 2, TaskState::Running)];
    holders.iter_mut().for_each(|task| task.record.host_ports = vec![port("host")]);
    assert_eq!(world.create(&holders[..1]), NONE);
    assert_eq!(world.create(&holders[1..]), [Rule::OwnedOnce]);
}

#[test]
fn a_pending_task_says_why() {
    let mut world = World::new();
    let mut waits = task("a", 1, TaskState::Pending);
    waits.status.err = "no suitable node".to_owned();
    assert_eq!(world.create(&[waits]), NONE);
    assert_eq!(world.create(&[task("b", 2, TaskState::Pending)]), [Rule::PendingExplained]);
}

#[test]
fn ended_tasks_of_a_slot_are_bounded() {
    let mut world = World::new();
    let ended = |number: usize| task(&format!("t{number:02}"), 1, TaskState::Failed);
    let most = 2 + REAPER_SLACK;
    assert_eq!(world.create(&(0..most).map(ended).collect::<Vec<_>>()), NONE);
    assert_eq!(world.create(&[ended(most)]), [Rule::HistoryBounded]);
    assert_eq!(check_history(world.0.state(), REAPER_SLACK + 1), vec![]);
}

#[test]
fn an_update_changes_no_more_slots_at_once_than_it_may() {
    let mut world = World::new();
    world.create(&[task("a", 1, TaskState::Running), task("b", 2, TaskState::Running)]);
    world.change(|web| {
        web.spec.task_template.force_update = 1;
        web.record =
            Some(types::swarm::extension::ServiceRecord { update: 1, ..Default::default() });
    });
    let mut next = |id: &str, slot, old: &str| {
        let mut new = task(id, slot, TaskState::New);
        (new.desired_state, new.record.update) = (TaskState::Ready, 1);
        new.status.message = "created".to_owned();
        let (task, state, stop) = (TaskId::new(old), TaskState::Shutdown, Some(Stop::Updated));
        world.write(vec![Change::Desire { task, state, stop }, Change::Create(new.into())])
    };
    assert_eq!(next("c", 1, "a"), NONE);
    assert_eq!(next("d", 2, "b"), [Rule::MinimumHealthy]);
}

#[test]
fn a_slot_that_failed_by_itself_comes_on_top_though_an_older_task_still_stops_there() {
    let numbered = |id: &str, slot, state, run, update| {
        let mut task = task(id, slot, state);
        (task.record.run, task.record.update) = (run, update);
        task.status.message = "created".to_owned();
        task
    };
    // An update stopped `a`; the next one, a rollback, finds that `c` has failed, or stops it itself.
    let rolled_back = |state, stop| {
        let mut world = World::new();
        world.create(&[
            task("a", 1, TaskState::Running),
            task("b", 2, TaskState::Running),
            numbered("c", 1, state, 2, 1),
        ]);
        world.stop("a", Some(Stop::Updated));
        world.stop("c", Some(stop));
        world.change(|web| {
            web.spec.task_template.force_update = 1;
            let record = types::swarm::extension::ServiceRecord { update: 2, ..Default::default() };
            web.record = Some(record);
        });
        let ready = |id: &str, slot, run| {
            let mut task = numbered(id, slot, TaskState::New, run, 2);
            task.desired_state = TaskState::Ready;
            Change::Create(task.into())
        };
        let (task, state, stop) = (TaskId::new("b"), TaskState::Shutdown, Some(Stop::Updated));
        world.write(vec![Change::Desire { task, state, stop }, ready("d", 1, 3), ready("e", 2, 2)])
    };
    assert_eq!(rolled_back(TaskState::Failed, Stop::Ended), NONE);
    assert_eq!(rolled_back(TaskState::Starting, Stop::Updated), [Rule::MinimumHealthy]);
}

#[test]
fn nothing_starts_before_what_it_depends_on() {
    let mut shop = service("shop", 1);
    let needs = [("web".to_owned(), DependencyCondition::Healthy)].into();
    shop.spec.sampan.get_or_insert_default().depends_on = needs;
    let first = || {
        let mut task = task("first", 1, TaskState::New);
        task.service_id = ServiceId::new("shop");
        task.status.message = "created".to_owned();
        task
    };
    let mut world = World::new();
    assert_eq!(world.write(vec![Change::Create(shop.clone().into())]), NONE);
    world.create(&[task("a", 1, TaskState::Running)]);
    assert_eq!(world.create(&[first()]), [Rule::DependenciesMet]);

    let mut world = World::new();
    world.write(vec![Change::Create(shop.into())]);
    world.create(&[task("a", 1, TaskState::Running), task("b", 2, TaskState::Running)]);
    assert_eq!(world.create(&[first()]), NONE);
}
