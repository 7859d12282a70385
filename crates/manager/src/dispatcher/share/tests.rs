use super::*;
use store::{Change, Entry, Kind, Store};
use types::swarm::Driver;
use types::swarm::cluster::Cluster;
use types::swarm::node::Node;
use types::swarm::secret::{Secret, SecretSpec};
use types::swarm::service::{Service, ServiceSpec};
use types::swarm::task::{ContainerSpec, SecretReference, TaskSpec, TaskStatus};
use types::{ClusterId, SecretId, ServiceId, Timestamp};

/// Nothing is held.
const FREE: Held<'_> = &|_: &Task| false;

struct World(Store);

impl World {
    fn new() -> World {
        let mut world = World(Store::default());
        let node = |id: &str| Node { id: NodeId::new(id), ..Node::default() };
        let secret = Secret {
            id: SecretId::new("key"),
            spec: SecretSpec { name: "key".to_owned(), ..SecretSpec::default() },
            ..Secret::default()
        };
        let service = Service {
            id: ServiceId::new("web"),
            spec: ServiceSpec { name: "web".to_owned(), ..ServiceSpec::default() },
            ..Service::default()
        };
        world.write(Change::Create(node("n").into()));
        world.write(Change::Create(node("other").into()));
        world.write(Change::Create(secret.into()));
        world.write(Change::Create(service.into()));
        world
    }

    fn write(&mut self, change: Change) -> Vec<Event> {
        let applied = self.0.apply(&Entry::one(Timestamp(1), vec![change]));
        assert_eq!(applied.refused, vec![]);
        applied.events
    }

    fn task(&mut self, id: &str, node: &str) -> Vec<Event> {
        let secrets = vec![SecretReference { secret_id: "key".to_owned(), ..Default::default() }];
        let spec = TaskSpec {
            container_spec: Some(ContainerSpec { secrets, ..ContainerSpec::default() }),
            ..TaskSpec::default()
        };
        let task = Task {
            id: TaskId::new(id),
            service_id: ServiceId::new("web"),
            node_id: NodeId::new(node),
            status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
            desired_state: TaskState::Running,
            spec: Arc::new(spec),
            ..Task::default()
        };
        self.write(Change::Create(task.into()))
    }

    fn report(&mut self, id: &str, state: TaskState) -> Vec<Event> {
        let status = TaskStatus { state, ..TaskStatus::default() };
        self.write(Change::Report { task: TaskId::new(id), node: NodeId::new("n"), status })
    }

    fn touched(&self, events: &[Event]) -> Touched {
        let mut touched = Touched::default();
        for (node, touch) in events.iter().flat_map(|event| route(event, self.0.state())) {
            assert_eq!(node.as_str(), "n");
            match touch {
                Touch::Task(id) => touched.tasks.insert(id),
                Touch::Need(need) => touched.needs.insert(need),
            };
        }
        touched
    }
}

fn shown(assignments: &Assignments) -> String {
    let put = assignments.put.iter().map(|put| match put {
        Assigned::Task(row) => format!("+task {}", row.id),
        Assigned::Service(row) => format!("+service {}", row.id),
        Assigned::Secret(row) => format!("+secret {}", row.id),
        Assigned::Config(row) => format!("+config {}", row.id),
        Assigned::Network(row) => format!("+network {}", row.id),
        Assigned::Volume(row) => format!("+volume {}", row.id),
    });
    let removed = assignments.removed.iter().map(|removed| format!("-{removed:?}"));
    put.chain(removed).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_share_is_a_nodes_tasks_and_what_they_need_before_them() {
    let mut world = World::new();
    world.task("t1", "n");
    world.task("t2", "other");
    let (_, whole) = Share::whole(&NodeId::new("n"), world.0.state(), FREE);
    assert!(whole.complete);
    assert_eq!(shown(&whole), "+secret key, +service web, +task t1");
}

#[test]
fn what_an_agent_said_itself_is_no_news_until_the_task_ends() {
    let mut world = World::new();
    world.task("t1", "n");
    let (mut share, whole) = Share::whole(&NodeId::new("n"), world.0.state(), FREE);
    let events = world.report("t1", TaskState::Running);
    assert!(world.touched(&events).is_empty());

    let events = world.report("t1", TaskState::Failed);
    let told = share.changes(world.touched(&events), world.0.state(), FREE).unwrap();
    assert_eq!((told.from, told.complete), (whole.to, false));
    assert_eq!(shown(&told), "-Secret(\"key\"), -Service(\"web\")");

    let change = Change::Remove { kind: Kind::Task, id: "t1".to_owned(), version: None };
    let events = world.write(change);
    let gone = share.changes(world.touched(&events), world.0.state(), FREE).unwrap();
    assert_eq!(gone.from, told.to);
    assert_eq!(shown(&gone), "-Task(\"t1\")");
}

#[test]
fn a_second_task_with_the_same_needs_brings_only_itself() {
    let mut world = World::new();
    world.task("t1", "n");
    let (mut share, _) = Share::whole(&NodeId::new("n"), world.0.state(), FREE);
    let events = world.task("t2", "n");
    let told = share.changes(world.touched(&events), world.0.state(), FREE).unwrap();
    assert_eq!(shown(&told), "+task t2");
    let events = world.report("t1", TaskState::Complete);
    assert_eq!(share.changes(world.touched(&events), world.0.state(), FREE), None);
}

#[test]
fn a_changed_wish_is_told_and_repeating_it_is_not() {
    let mut world = World::new();
    world.task("t1", "n");
    let (mut share, _) = Share::whole(&NodeId::new("n"), world.0.state(), FREE);
    let desire = Change::Desire { task: TaskId::new("t1"), state: TaskState::Shutdown, stop: None };
    let events = world.write(desire);
    let touched = || world.touched(&events);
    assert_eq!(shown(&share.changes(touched(), world.0.state(), FREE).unwrap()), "+task t1");
    assert_eq!(share.changes(touched(), world.0.state(), FREE), None);
}

#[test]
fn tasks_log_as_the_cluster_says_where_their_service_says_nothing() {
    let mut world = World::new();
    let driven = |mut cluster: Cluster, driver: &str| {
        let driver = Driver { name: driver.to_owned(), ..Driver::default() };
        cluster.spec.task_defaults.log_driver = Some(driver);
        cluster
    };
    let mut cluster = Cluster { id: ClusterId::new("c"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    world.write(Change::Create(driven(cluster, "local").into()));
    let events = world.task("t1", "n");
    let (mut share, _) = Share::whole(&NodeId::new("n"), world.0.state(), FREE);
    let driver = |share: &Share| {
        let told = &share.tasks[&TaskId::new("t1")];
        told.task.spec.log_driver.as_ref().unwrap().name.clone()
    };
    assert_eq!(driver(&share), "local");
    let cluster = Cluster::clone(world.0.state().clusters().iter().next().unwrap());
    world.write(Change::Update(driven(cluster, "none").into()));
    assert_eq!(share.changes(world.touched(&events), world.0.state(), FREE), None);
    assert_eq!(driver(&share), "local");
}
