//! What updates would do to a service that runs on two nodes.

use super::*;
use serde_json::json;
use types::swarm::node::Node;
use types::swarm::service::ServiceSpec;
use types::{NodeId, ids::swarm_id};

const AT: Timestamp = Timestamp(1_000_000_000);

fn spec(value: Value) -> ServiceSpec {
    types::json::from_value(value).unwrap()
}

fn web(replicas: u64, image: &str, update: Value) -> Value {
    json!({
        "Name": "web",
        "TaskTemplate": {"ContainerSpec": {"Image": image}},
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": update,
    })
}

/// The service as it runs, on two nodes.
fn running(value: Value) -> Snapshot {
    let mut store = Store::default();
    let node = |id: &str| {
        let mut node = Node { id: NodeId::new(id), ..Node::default() };
        node.description.hostname = format!("host-{id}");
        node.status.state = NodeState::Ready;
        Change::Create(node.into())
    };
    let id = ServiceId::new(swarm_id([1; 16]));
    let mut changes = vec![node("n1"), node("n2")];
    changes.extend(service::create(store.state(), id.clone(), &spec(value), "", AT).unwrap());
    let applied = store.apply(&Entry::one(AT, changes));
    assert_eq!(applied.refused, []);
    let state = store.snapshot();
    let mut world = World::new(&state, &id, AT);
    world.play();
    world.store.snapshot()
}

fn planned(before: Value, after: Value) -> Plan {
    let state = running(before);
    let update = Update { spec: spec(after), ..Update::default() };
    plan(&state, "web", &update, AT).unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let seconds = step.after / 1_000_000_000;
        format!("{seconds}s {:?} {} {}", step.action, step.task, step.why)
    };
    plan.steps.iter().map(line).collect()
}

#[test]
fn a_new_image_replaces_one_task_after_the_other() {
    let update = json!({"Parallelism": 1, "Delay": 10_000_000_000_u64, "Monitor": 1});
    let plan = planned(web(2, "a", update.clone()), web(2, "b", update));
    let why = "an update or rollback of the service";
    let stop = "an update or rollback replaces it";
    let told = lines(&plan);
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[0].starts_with("0s Stop web.") && told[0].ends_with(stop), "{told:?}");
    assert!(told[1].starts_with("0s Start web.") && told[1].ends_with(why), "{told:?}");
    assert!(told[2].starts_with("10s Stop web."), "{told:?}");
    assert!(told[3].starts_with("10s Start web."), "{told:?}");
    let field = |difference: &Difference| difference.field.clone();
    assert_eq!(
        plan.changes.iter().map(field).collect::<Vec<_>>(),
        ["TaskTemplate.ContainerSpec.Image"]
    );
    assert_eq!(plan.kept, 0);
}

#[test]
fn start_first_starts_before_it_stops() {
    let update = json!({"Parallelism": 1, "Monitor": 1, "Order": "start-first"});
    let plan = planned(web(1, "a", update.clone()), web(1, "b", update));
    let actions: Vec<Action> = plan.steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::Start, Action::Stop]);
}

#[test]
fn scaling_touches_nobody_else() {
    let plan = planned(web(2, "a", Value::Null), web(3, "a", Value::Null));
    assert_eq!(lines(&plan), ["0s Start web.3 the service asks for it"]);
    assert_eq!(plan.kept, 2);
    let plan = planned(web(3, "a", Value::Null), web(1, "a", Value::Null));
    let actions: Vec<Action> = plan.steps.iter().map(|step| step.action).collect();
    assert_eq!((actions, plan.kept), (vec![Action::Stop, Action::Stop], 1));
}

#[test]
fn what_finds_no_node_says_why() {
    let mut after = web(2, "a", json!({"Parallelism": 1, "Monitor": 1}));
    after["TaskTemplate"]["Placement"] = json!({"Constraints": ["node.role==manager"]});
    let plan = planned(web(2, "a", json!({"Parallelism": 1, "Monitor": 1})), after);
    assert!(plan.waits.iter().any(|why| why.contains("no suitable node")), "{:?}", plan.waits);
}

#[test]
fn nothing_changes_nothing() {
    let plan = planned(web(2, "a", Value::Null), web(2, "a", Value::Null));
    assert_eq!((plan.steps.len(), plan.changes.len(), plan.kept), (0, 0, 2));
}

#[test]
fn a_plan_refuses_what_the_update_would() {
    let state = running(web(1, "a", Value::Null));
    let update =
        Update { version: Some(1_000), spec: spec(web(1, "b", Value::Null)), ..Update::default() };
    let err = plan(&state, "web", &update, AT).unwrap_err();
    assert!(err.to_string().contains("update out of sequence"), "{err}");
}
