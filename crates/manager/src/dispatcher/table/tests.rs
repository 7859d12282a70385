use super::*;
use store::{Change, Entry, Store};
use types::swarm::task::{NetworkAttachment, TaskStatus};
use types::{NodeId, TaskId, Timestamp};

struct World(Store);

impl World {
    fn new() -> World {
        let mut world = World(Store::default());
        let mut node = Node { id: NodeId::new("n"), ..Node::default() };
        (node.status.state, node.status.addr) = (NodeState::Ready, "192.0.2.1".to_owned());
        world.write(Change::Create(node.into()));
        world
    }

    /// Whether any of the events concerns the table.
    fn write(&mut self, change: Change) -> bool {
        let applied = self.0.apply(&Entry::one(Timestamp(1), vec![change]));
        assert_eq!(applied.refused, vec![]);
        applied.events.iter().any(concerns)
    }

    fn task(&mut self, id: &str, networks: &[&str]) -> bool {
        let attach = |network: &&str| NetworkAttachment {
            network: (*network).to_owned(),
            addresses: vec!["10.0.0.5/24".to_owned()],
            aliases: Vec::new(),
        };
        let mut task = Task { id: TaskId::new(id), node_id: NodeId::new("n"), ..Task::default() };
        (task.status.state, task.desired_state) = (TaskState::Assigned, TaskState::Running);
        task.networks_attachments = networks.iter().map(attach).collect();
        self.write(Change::Create(task.into()))
    }

    fn report(&mut self, id: &str, state: TaskState) -> bool {
        let status = TaskStatus { state, ..TaskStatus::default() };
        self.write(Change::Report { task: TaskId::new(id), node: NodeId::new("n"), status })
    }
}

#[test]
fn only_what_changes_rows_concerns_the_table() {
    let mut world = World::new();
    assert!(!world.task("alone", &[]), "a task without a network");
    assert!(world.task("t", &["net"]));
    assert!(!world.report("t", TaskState::Preparing), "on its way");
    assert!(world.report("t", TaskState::Running));
    let stop = Change::Desire { task: TaskId::new("t"), state: TaskState::Shutdown, stop: None };
    assert!(world.write(stop));
    assert!(world.report("t", TaskState::Shutdown));
    let mut node = Node::clone(world.0.state().nodes().get("n").unwrap());
    node.description.hostname = "other".to_owned();
    assert!(!world.write(Change::Update(node.into())), "nobody sends to a host's name");
    let mut node = Node::clone(world.0.state().nodes().get("n").unwrap());
    node.status.state = NodeState::Down;
    assert!(world.write(Change::Update(node.into())));
}

#[test]
fn a_table_that_says_the_same_keeps_its_version() {
    let mut world = World::new();
    let mut tables = Tables::default();
    world.task("t", &["net"]);
    assert!(tables.derive(world.0.state()));
    let version = tables.newest().version;
    world.report("t", TaskState::Preparing);
    assert!(!tables.derive(world.0.state()));
    assert_eq!(tables.newest().version, version);
    world.report("t", TaskState::Running);
    assert!(tables.derive(world.0.state()));
    assert!(tables.newest().version > version);
}

/// Hundreds of sessions keep the tables that they were told last.
#[test]
fn tables_that_follow_each_other_have_their_rows_in_common() {
    let mut world = World::new();
    let mut tables = Tables::default();
    for task in ["a", "b", "c"] {
        world.task(task, &["net"]);
    }
    tables.derive(world.0.state());
    let first = Arc::clone(tables.newest());
    world.report("b", TaskState::Running);
    assert!(tables.derive(world.0.state()));
    let (put, gone) = tables.newest().endpoints.changes(&first.endpoints);
    assert_eq!((put.len(), gone.len()), (1, 1));
    assert!(tables.newest().networks.is_same(&first.networks));
    assert!(tables.newest().peers.is_same(&first.peers));
}

#[test]
fn each_agent_is_told_what_changed_since_its_own_table() {
    let mut world = World::new();
    let mut tables = Tables::default();
    world.task("t", &["net"]);
    tables.derive(world.0.state());
    let first = Arc::clone(tables.newest());
    let mut agent = EndpointTable::default();
    agent.apply(&tables.update(None)).unwrap();
    assert_eq!(agent, *first);
    world.task("u", &["b", "a"]);
    tables.derive(world.0.state());
    let update = tables.update(Some(&first));
    assert_eq!(update.endpoints.len(), 2);
    assert!(Arc::ptr_eq(&update, &tables.update(Some(&first))), "made once for all agents");
    agent.apply(&update).unwrap();
    assert_eq!(agent, **tables.newest());
}
