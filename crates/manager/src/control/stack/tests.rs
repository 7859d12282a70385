//! Deployments that go on.

use super::*;
use store::{Change, Entry, Store};
use types::swarm::service::Replicated;
use types::swarm::task::{TaskState, TaskStatus};
use types::{ServiceId, TaskId};

/// A service of one replica of the stack `shop`, in its first deployment.
fn service() -> Service {
    let mut service = Service { id: ServiceId::new("svc"), ..Service::default() };
    service.spec.name = "shop_web".to_owned();
    service.spec.labels.insert(NAMESPACE.to_owned(), "shop".to_owned());
    service.spec.mode.replicated = Some(Replicated { replicas: Some(1) });
    let running = Deployment { number: 1, ..Deployment::default() };
    service.record.get_or_insert_default().deployments.push(running);
    service
}

fn task(id: &str, state: TaskState, err: &str) -> Task {
    let status = TaskStatus { state, err: err.to_owned(), ..TaskStatus::default() };
    let (id, service_id) = (TaskId::new(id), ServiceId::new("svc"));
    let desired_state = if state.is_terminal() { TaskState::Shutdown } else { TaskState::Running };
    Task { id, service_id, slot: 1, desired_state, status, ..Task::default() }
}

/// The state and the reason of the stack's only deployment.
fn told(service: Service, tasks: Vec<Task>) -> (serde_json::Value, String) {
    let mut store = Store::default();
    let tasks = tasks.into_iter().map(|task| Change::Create(task.into()));
    let changes = std::iter::once(Change::Create(service.into())).chain(tasks).collect();
    assert_eq!(store.apply(&Entry::one(Timestamp(2), changes)).refused, []);
    let found = deployments(&store.snapshot(), "shop");
    let [only] = &found[..] else { panic!("{found:?}") };
    (serde_json::to_value(only.state).unwrap(), only.services[0].reason.clone())
}

#[test]
fn what_ends_again_and_again_is_failing_and_says_why() {
    let err = "No such image: nowhere:1";
    let ends = |count: usize| {
        (0..count).map(|run| task(&format!("t{run}"), TaskState::Rejected, err)).collect()
    };
    assert_eq!(told(service(), ends(1)), ("running".into(), String::new()));
    assert_eq!(told(service(), ends(4)), ("failing".into(), err.to_owned()));
    let mut once = service();
    once.spec.task_template.restart_policy = Some(types::swarm::task::RestartPolicy {
        condition: "none".to_owned(),
        ..Default::default()
    });
    let mut ended: Vec<Task> = ends(1);
    ended[0].spec = once.spec.task_template.clone().into();
    assert_eq!(told(once, ended), ("failing".into(), err.to_owned()));
}

#[test]
fn what_waits_for_a_node_says_so_and_what_has_ended_is_as_it_was_written() {
    let why = "no suitable node (1 node not available for new tasks)";
    let waits = task("t1", TaskState::Pending, why);
    assert_eq!(told(service(), vec![waits.clone()]), ("running".into(), why.to_owned()));
    let mut ended = service();
    let record = &mut ended.record.get_or_insert_default().deployments[0];
    record.state = DeploymentState::Paused;
    record.ended_at = Some(Timestamp(1));
    assert_eq!(told(ended, vec![waits]), ("paused".into(), String::new()));
}
