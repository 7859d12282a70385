use super::*;
use crate::{Kind, RefKind};
use errdefs::Classify;
use proptest::prelude::*;
use types::swarm::node::Node;
use types::swarm::secret::{Secret, SecretSpec};
use types::swarm::service::{Global, Mode, NetworkAttachmentConfig, Service, ServiceSpec};
use types::swarm::task::{ContainerSpec, SecretReference, TaskSpec};
use types::{NodeId, SecretId, ServiceId, TaskId};

const AT: Timestamp = Timestamp(1_000);
const LATER: Timestamp = Timestamp(2_000);

fn secret(id: &str, name: &str) -> Secret {
    let spec = SecretSpec { name: name.into(), data: "c2VjcmV0".into(), ..SecretSpec::default() };
    Secret { id: SecretId::new(id), spec, ..Secret::default() }
}

fn service(id: &str, name: &str) -> Service {
    let spec = ServiceSpec { name: name.into(), ..ServiceSpec::default() };
    Service { id: ServiceId::new(id), spec, ..Service::default() }
}

fn with_secret(mut service: Service, secret_id: &str) -> Service {
    let secret = SecretReference { secret_id: secret_id.into(), ..SecretReference::default() };
    let container = ContainerSpec { secrets: vec![secret], ..ContainerSpec::default() };
    service.spec.task_template.container_spec = Some(container);
    service
}

fn task(id: &str, service: &str, slot: u64) -> Task {
    Task { id: TaskId::new(id), service_id: ServiceId::new(service), slot, ..Task::default() }
}

fn node(id: &str) -> Node {
    Node { id: NodeId::new(id), ..Node::default() }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

fn create(object: impl Into<Object>) -> Change {
    Change::Create(object.into())
}

fn remove(kind: Kind, id: &str) -> Change {
    Change::Remove { kind, id: id.into(), version: None }
}

#[track_caller]
fn holds(store: &mut Store, changes: Vec<Change>) -> Vec<Event> {
    let applied = store.apply(&Entry::one(AT, changes));
    assert_eq!(applied.refused, vec![]);
    applied.events
}

#[track_caller]
fn refused(store: &mut Store, changes: Vec<Change>) -> StoreError {
    let before = store.snapshot();
    let applied = store.apply(&Entry::one(AT, changes));
    assert_eq!(applied.events, vec![]);
    assert_eq!(store.version(), before.version());
    assert_eq!(crate::encode(store.state()), crate::encode(&before));
    applied.refused.into_iter().next().expect("a refusal").error
}

#[test]
fn a_written_object_carries_the_stores_version_and_times() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    let mut web = store.state().services().by_name("WEB").unwrap().as_ref().clone();
    assert_eq!((web.meta.version.index, web.meta.created_at), (1, AT));
    web.spec.labels.insert("a".into(), "b".into());
    store.apply(&Entry::one(LATER, vec![Change::Update(web.into())]));
    let web = store.state().services().get("s1").unwrap();
    assert_eq!(web.meta.version.index, 2);
    assert_eq!((web.meta.created_at, web.meta.updated_at), (AT, LATER));
}

#[test]
fn a_refused_transaction_writes_nothing_and_the_others_go_on() {
    let mut store = Store::default();
    let bad = vec![create(service("s1", "web")), create(service("s2", "Web"))];
    let good = vec![create(service("s3", "db"))];
    let applied = store.apply(&Entry { at: AT, transactions: vec![bad.into(), good.into()] });
    assert_eq!(applied.refused.len(), 1);
    assert_eq!(applied.refused[0].transaction, 0);
    let names: Vec<_> = store.state().services().iter().map(|s| s.spec.name.clone()).collect();
    assert_eq!(names, ["db"]);
}

#[test]
fn a_taken_name_is_refused_in_swarmkits_words() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web")), create(secret("x1", "key"))]);
    let err = refused(&mut store, vec![create(service("s2", "web"))]);
    insta::assert_snapshot!(err, @"rpc error: code = AlreadyExists desc = name conflicts with an existing object: service web already exists");
    assert_eq!(err.kind().status(), 409);
    let err = refused(&mut store, vec![create(secret("x2", "key"))]);
    insta::assert_snapshot!(err, @"rpc error: code = AlreadyExists desc = secret key already exists");
}

#[test]
fn a_name_is_free_again_after_its_object_is_gone() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    holds(&mut store, vec![remove(Kind::Service, "s1"), create(service("s2", "web"))]);
    assert_eq!(store.state().services().by_name("web").unwrap().id.as_str(), "s2");
}

#[test]
fn a_write_from_an_old_reading_is_out_of_sequence() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    let read = store.state().services().get("s1").unwrap().clone();
    holds(&mut store, vec![Change::Update(read.clone().into())]);
    let err = refused(&mut store, vec![Change::Update(read.into())]);
    insta::assert_snapshot!(err, @"rpc error: code = Unknown desc = update out of sequence");
    assert_eq!(err.kind().status(), 500);
}

#[test]
fn an_expectation_guards_the_writes_beside_it() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    let expect = |index| Change::Expect {
        kind: Kind::Service,
        id: "s1".into(),
        version: Some(Version { index }),
    };
    let read = store.state().services().get("s1").unwrap().clone();
    holds(&mut store, vec![expect(1), Change::Update(read.into())]);
    let err = refused(&mut store, vec![expect(1), create(task("t1", "s1", 1))]);
    assert!(matches!(err, StoreError::OutOfSequence { .. }));
}

#[test]
fn what_a_service_uses_cannot_be_removed() {
    let mut store = Store::default();
    let web = with_secret(service("s1", "web"), "x1");
    let db = with_secret(service("s2", "db"), "x1");
    holds(&mut store, vec![create(secret("x1", "key")), create(web)]);
    let err = refused(&mut store, vec![remove(Kind::Secret, "x1")]);
    insta::assert_snapshot!(err, @"rpc error: code = InvalidArgument desc = secret 'key' is in use by the following service: web");
    holds(&mut store, vec![create(db)]);
    let err = refused(&mut store, vec![remove(Kind::Secret, "x1")]);
    insta::assert_snapshot!(err, @"rpc error: code = InvalidArgument desc = secret 'key' is in use by the following services: web, db");
    holds(
        &mut store,
        vec![remove(Kind::Service, "s1"), remove(Kind::Service, "s2"), remove(Kind::Secret, "x1")],
    );
    assert!(store.state().secrets().is_empty());
}

#[test]
fn a_service_must_find_what_it_refers_to() {
    let mut store = Store::default();
    let err = refused(&mut store, vec![create(with_secret(service("s1", "web"), "x1"))]);
    insta::assert_snapshot!(err, @"rpc error: code = InvalidArgument desc = secret not found: x1");
    let mut web = service("s1", "web");
    let target = NetworkAttachmentConfig { target: "n9".into(), ..Default::default() };
    web.spec.task_template.networks = vec![target];
    let err = refused(&mut store, vec![create(web)]);
    insta::assert_snapshot!(err, @"rpc error: code = InvalidArgument desc = network not found: n9");
}

#[test]
fn services_keep_their_name_and_mode() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    let read = store.state().services().get("s1").unwrap().as_ref().clone();
    let mut renamed = read.clone();
    renamed.spec.name = "www".into();
    assert_eq!(refused(&mut store, vec![Change::Update(renamed.into())]), StoreError::Rename);
    let mut global = read;
    global.spec.mode = Mode { global: Some(Global {}), ..Mode::default() };
    assert_eq!(refused(&mut store, vec![Change::Update(global.into())]), StoreError::ModeChange);
}

#[test]
fn a_secrets_data_never_change() {
    let mut store = Store::default();
    holds(&mut store, vec![create(secret("x1", "key"))]);
    let mut read = store.state().secrets().get("x1").unwrap().as_ref().clone();
    read.spec.labels.insert("a".into(), "b".into());
    holds(&mut store, vec![Change::Update(read.into())]);
    let mut read = store.state().secrets().get("x1").unwrap().as_ref().clone();
    read.spec.data = String::new();
    let err = refused(&mut store, vec![Change::Update(read.into())]);
    insta::assert_snapshot!(err, @"rpc error: code = InvalidArgument desc = only updates to Labels are allowed");
}

fn with_task(state: TaskState) -> Store {
    let mut store = Store::default();
    let mut row = task("t1", "s1", 1);
    row.node_id = NodeId::new("n1");
    row.status.state = state;
    row.desired_state = TaskState::Running;
    let changes =
        vec![create(node("n1")), create(node("n2")), create(service("s1", "web")), create(row)];
    holds(&mut store, changes);
    store
}

fn report(node: &str, state: TaskState) -> Change {
    Change::Report { task: TaskId::new("t1"), node: NodeId::new(node), status: status(state) }
}

#[test]
fn task_states_only_grow() {
    let mut store = with_task(TaskState::Running);
    let err = refused(&mut store, vec![report("n1", TaskState::Ready)]);
    let (from, to) = (TaskState::Running, TaskState::Ready);
    assert_eq!(err, StoreError::WentBack { task: "t1".into(), from, to });
    let mut back = store.state().tasks().get("t1").unwrap().as_ref().clone();
    back.desired_state = TaskState::Ready;
    let err = refused(&mut store, vec![Change::Update(back.into())]);
    assert!(matches!(err, StoreError::WentBack { .. }));
}

#[test]
fn only_the_node_that_has_a_task_reports_on_it() {
    let mut store = with_task(TaskState::Assigned);
    let err = refused(&mut store, vec![report("n2", TaskState::Running)]);
    assert_eq!(err, StoreError::NotAssigned { task: "t1".into(), node: "n2".into() });
    assert_eq!(holds(&mut store, vec![report("n1", TaskState::Running)]).len(), 1);
}

#[test]
fn a_repeated_report_or_desire_is_no_change() {
    let mut store = with_task(TaskState::Assigned);
    holds(&mut store, vec![report("n1", TaskState::Running)]);
    let version = store.version();
    let again = Change::Desire { task: TaskId::new("t1"), state: TaskState::Ready, stop: None };
    assert_eq!(holds(&mut store, vec![report("n1", TaskState::Running), again]), vec![]);
    assert_eq!(store.version(), version);
}

#[test]
fn a_task_is_assigned_once_and_to_a_node_that_is_there() {
    let mut store = with_task(TaskState::Assigned);
    let mut moved = store.state().tasks().get("t1").unwrap().as_ref().clone();
    moved.node_id = NodeId::new("n2");
    let err = refused(&mut store, vec![Change::Update(moved.into())]);
    assert_eq!(err, StoreError::WrittenTwice { task: "t1".into(), field: "node" });
    let mut lost = task("t2", "s1", 2);
    lost.node_id = NodeId::new("n9");
    let err = refused(&mut store, vec![create(lost)]);
    assert_eq!(err, StoreError::NotFound { kind: Kind::Node, id: "n9".into() });
}

#[test]
fn no_task_is_created_for_a_service_that_is_gone() {
    let mut store = Store::default();
    let err = refused(&mut store, vec![create(task("t1", "s1", 1))]);
    insta::assert_snapshot!(err, @"rpc error: code = NotFound desc = service s1 not found");
}

#[test]
fn tasks_are_found_by_service_slot_node_desired_state_and_reference() {
    let mut store = Store::default();
    holds(
        &mut store,
        vec![
            create(node("n1")),
            create(secret("x1", "key")),
            create(with_secret(service("s1", "web"), "x1")),
            create(service("s2", "db")),
        ],
    );
    let spec = Arc::new(store.state().services().get("s1").unwrap().spec.task_template.clone());
    let mut one = task("t1", "s1", 1);
    one.spec = spec;
    one.node_id = NodeId::new("n1");
    holds(&mut store, vec![create(one), create(task("t2", "s1", 2)), create(task("t3", "s2", 1))]);
    let state = store.state();
    let ids = |tasks: Vec<&Arc<Task>>| tasks.iter().map(|t| t.id.to_string()).collect::<Vec<_>>();
    let web = ServiceId::new("s1");
    assert_eq!(ids(state.tasks_of_service(&web).collect()), ["t1", "t2"]);
    assert_eq!(ids(state.tasks_of_slot(&web, 2).collect()), ["t2"]);
    assert_eq!(ids(state.tasks_of_node(&NodeId::new("n1")).collect()), ["t1"]);
    assert_eq!(ids(state.tasks_of_node(&NodeId::default()).collect()), ["t2", "t3"]);
    assert_eq!(ids(state.tasks_desired(TaskState::New).collect()), ["t1", "t2", "t3"]);
    assert_eq!(ids(state.tasks_referring(RefKind::Secret, "x1").collect()), ["t1"]);
    let users: Vec<_> = state.services_referring(RefKind::Secret, "x1").collect();
    assert_eq!(users.len(), 1);
}

#[test]
fn a_snapshot_does_not_see_later_writes() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    let then = store.snapshot();
    holds(&mut store, vec![remove(Kind::Service, "s1")]);
    assert!(then.services().get("s1").is_some());
    assert!(store.state().services().get("s1").is_none());
}

#[test]
fn a_follower_gets_every_change_or_is_told_to_read_again() {
    let mut store = Store::keeping(Snapshot::default(), 2);
    for name in ["a", "b", "c"] {
        holds(&mut store, vec![create(service(name, name))]);
    }
    let versions = |since: Since<'_>| match since {
        Since::Events(events) => Some(events.iter().map(|e| e.version).collect::<Vec<_>>()),
        Since::Resync => None,
    };
    assert_eq!(versions(store.changed_since(0)), None);
    assert_eq!(versions(store.changed_since(1)), Some(vec![2, 3]));
    assert_eq!(versions(store.changed_since(3)), Some(vec![]));
    assert_eq!(versions(store.changed_since(4)), None, "another store's version");
}

#[test]
fn a_follower_never_gets_half_of_a_version() {
    let mut store = Store::keeping(Snapshot::default(), 3);
    holds(&mut store, vec![create(service("a", "a")), create(service("b", "b"))]);
    holds(&mut store, vec![create(service("c", "c")), create(service("d", "d"))]);
    assert_eq!(store.changed_since(0), Since::Resync);
    let Since::Events(events) = store.changed_since(1) else { panic!("kept") };
    assert_eq!(events.len(), 2);
}

#[test]
fn tasks_of_a_decoded_entry_share_their_spec_and_ids() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("s1", "web"))]);
    for id in ["t1", "t2"] {
        let mut row = task(id, "s1", 1);
        let image = ContainerSpec { image: "nginx".into(), ..ContainerSpec::default() };
        row.spec = Arc::new(TaskSpec { container_spec: Some(image), ..TaskSpec::default() });
        holds(&mut store, vec![create(row)]);
    }
    let rows: Vec<_> = store.state().tasks().iter().collect();
    assert!(Arc::ptr_eq(&rows[0].spec, &rows[1].spec));
}

#[test]
fn a_name_a_full_id_or_the_beginning_of_one_resolves() {
    let mut store = Store::default();
    holds(&mut store, vec![create(service("abc1", "web")), create(service("abd2", "abc"))]);
    let services = store.state().services();
    let found = |key: &str| services.resolve(key).map(|s| s.id.to_string());
    assert_eq!(found("abc1").as_deref(), Some("abc1"));
    assert_eq!(found("abc").as_deref(), Some("abd2"), "a name before a beginning");
    assert_eq!(found("abd").as_deref(), Some("abd2"));
    assert_eq!(found("ab"), None, "two begin so");
    assert_eq!(found(""), None);
}

/// A small random write on few ids, so that writes collide.
fn change() -> impl Strategy<Value = Change> {
    let states = prop::sample::select(vec![
        TaskState::New,
        TaskState::Assigned,
        TaskState::Running,
        TaskState::Shutdown,
        TaskState::Remove,
    ]);
    (0u8..8, 0u8..4, 0u8..4, states).prop_map(|(what, a, b, state)| {
        let (s, t, n) = (format!("s{a}"), format!("t{b}"), format!("n{a}"));
        match what {
            0 => create(service(&s, &format!("name{b}"))),
            1 => remove(Kind::Service, &s),
            2 => create(task(&t, &s, u64::from(b))),
            3 => remove(Kind::Task, &t),
            4 => create(node(&n)),
            5 => {
                let mut row = task(&t, &s, u64::from(b));
                row.meta.version.index = u64::from(b);
                row.node_id = NodeId::new(n);
                Change::Update(row.into())
            }
            6 => Change::Desire { task: TaskId::new(t), state, stop: None },
            _ => Change::Report {
                task: TaskId::new(t),
                node: NodeId::new(if a == 0 { String::new() } else { n }),
                status: status(state),
            },
        }
    })
}

proptest! {
    /// Whatever is written or refused, the indexes say what the rows say, and a copy that replays the
    /// same entries has the same bytes.
    #[test]
    fn indexes_agree_with_rows_and_replay_is_exact(
        writes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..40)
    ) {
        let mut store = Store::default();
        let mut copy = Store::default();
        for changes in writes {
            let entry = Entry::one(AT, changes);
            let text = serde_json::to_string(&entry).unwrap();
            prop_assert_eq!(store.apply(&entry), copy.apply(&serde_json::from_str(&text).unwrap()));
        }
        prop_assert_eq!(crate::encode(store.state()), crate::encode(copy.state()));
        let state = store.state();
        for row in state.tasks().iter() {
            let same = |found: &&Arc<Task>| found.id == row.id;
            prop_assert_eq!(state.tasks_of_slot(&row.service_id, row.slot).filter(same).count(), 1);
            prop_assert_eq!(state.tasks_of_node(&row.node_id).filter(same).count(), 1);
            prop_assert_eq!(state.tasks_desired(row.desired_state).filter(same).count(), 1);
        }
        let states = [TaskState::New, TaskState::Assigned, TaskState::Running, TaskState::Shutdown, TaskState::Remove];
        let indexed: usize = states.iter().map(|s| state.tasks_desired(*s).count()).sum();
        prop_assert_eq!(indexed, state.tasks().len());
        for row in state.services().iter() {
            prop_assert_eq!(&state.services().by_name(&row.spec.name).unwrap().id, &row.id);
        }
    }

    /// The events alone bring a follower from any version to the last.
    #[test]
    fn events_replayed_give_the_same_rows(
        writes in prop::collection::vec(prop::collection::vec(change(), 1..4), 1..30),
        cut in 0usize..30
    ) {
        let mut store = Store::default();
        let mut then = store.snapshot();
        for (at, changes) in writes.into_iter().enumerate() {
            if at == cut {
                then = store.snapshot();
            }
            store.apply(&Entry::one(AT, changes));
        }
        let Since::Events(events) = store.changed_since(then.version()) else { panic!("kept") };
        for event in events {
            match event.kind {
                EventKind::Removed => { then.remove(event.object.kind(), event.object.id()); }
                _ => { then.put(event.object.clone()); }
            }
            then.version = event.version;
        }
        prop_assert_eq!(crate::encode(&then), crate::encode(store.state()));
    }
}
