//! Sentences about a small cluster.

use super::*;
use orchestrator::{Wait, Waiting};
use store::{Change, Entry, Store};
use types::swarm::extension::{Cause, NodeRecord, Stop};
use types::swarm::task::TaskStatus;
use types::{NodeId, ServiceId, TaskId, Timestamp};

fn task(id: &str, run: u64, state: TaskState, desired: TaskState) -> Task {
    let mut task = Task {
        id: TaskId::new(id),
        service_id: ServiceId::new("svc"),
        slot: 1,
        desired_state: desired,
        status: TaskStatus { state, timestamp: Timestamp(0), ..TaskStatus::default() },
        ..Task::default()
    };
    task.record.run = run;
    task
}

/// `web.1` has failed once on n1 and waits for a node; n1 is down.
fn state() -> Snapshot {
    let mut store = Store::default();
    let mut service = Service { id: ServiceId::new("svc"), ..Service::default() };
    service.spec.name = "web".to_owned();
    service.spec.mode.replicated = Some(types::swarm::service::Replicated { replicas: Some(1) });
    let mut node = Node { id: NodeId::new("n1"), ..Node::default() };
    node.description.hostname = "host1".to_owned();
    node.status.state = NodeState::Down;
    node.status.message = "heartbeat failure".to_owned();
    node.record = Some(NodeRecord { state_since: Timestamp(1), ..NodeRecord::default() });
    let mut failed = task("old", 1, TaskState::Failed, TaskState::Shutdown);
    failed.node_id = node.id.clone();
    failed.status.err = "task: non-zero exit (1)".to_owned();
    failed.record.stop = Some(Stop::Ended);
    let mut pending = task("new", 2, TaskState::Pending, TaskState::Running);
    pending.record.cause = Cause::Restart;
    let changes = vec![
        Change::Create(node.into()),
        Change::Create(service.into()),
        Change::Create(failed.into()),
        Change::Create(pending.into()),
    ];
    let applied = store.apply(&Entry::one(Timestamp(2), changes));
    assert_eq!(applied.refused, []);
    store.snapshot()
}

fn asked(key: &str, known: Option<&Why>) -> Vec<String> {
    let state = state();
    explain(&state, &subject(&state, key).unwrap(), known).because
}

#[test]
fn a_task_without_a_node_is_traced_back_to_what_ended_before_it() {
    let why = Why {
        refusal: Some("no suitable node (1 node not available for new tasks)".to_owned()),
        waits: vec![Waiting { slot: 1, node: None, reason: Wait::UpdatePaused }],
        ..Why::default()
    };
    let words = asked("web.1", Some(&why));
    assert_eq!(
        words,
        [
            "web.1 is pending and has no node since 1970-01-01T00:00:00Z; it should be running",
            "no suitable node (1 node not available for new tasks)",
            "slot 1: the update is paused until the service changes",
            "it was made at 1970-01-01T00:00:00.000000002Z: the one before it ended, and the restart policy \
             replaces it",
            "before it, old was failed on node host1 at 1970-01-01T00:00:00Z: task: non-zero exit (1)",
        ]
    );
}

#[test]
fn a_service_and_a_node_say_what_ails_them() {
    assert_eq!(
        asked("web", Some(&Why::default())),
        ["web runs 0 of 1 tasks", "web.1: task: non-zero exit (1)"]
    );
    assert_eq!(
        asked("host1", None),
        [
            "node host1 is down since 1970-01-01T00:00:00.000000001Z",
            "heartbeat failure",
            "it runs 0 tasks and should run 0",
        ]
    );
}

#[test]
fn who_could_not_ask_the_leader_says_so() {
    let words = asked("old", None);
    assert_eq!(words.last().unwrap(), "the leader could not be asked what it waits for");
}

#[test]
fn nobody_of_that_name_is_not_found() {
    let err = subject(&state(), "ghost").unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(err.to_string(), "no service, node or task ghost in the swarm");
}
