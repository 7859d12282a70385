use super::*;
use types::swarm::task::TaskState;

fn report(task: &str, state: TaskState) -> TaskReport {
    TaskReport { task: TaskId::new(task), status: TaskStatus { state, ..TaskStatus::default() } }
}

fn states(batch: &Batch) -> Vec<(String, TaskState)> {
    batch.reports.iter().map(|(task, _, status)| (task.to_string(), status.state)).collect()
}

#[test]
fn the_newest_status_of_each_task_is_written_once_in_the_order_they_came() {
    let (mut intake, node) = (Intake::default(), NodeId::new("n"));
    intake.report(&node, report("b", TaskState::Preparing));
    intake.report(&node, report("a", TaskState::Running));
    intake.report(&node, report("b", TaskState::Failed));
    intake.report(&node, report("b", TaskState::Running)); // late
    let batch = intake.take();
    assert_eq!(
        states(&batch),
        [("b".to_owned(), TaskState::Failed), ("a".to_owned(), TaskState::Running)]
    );
    assert!(intake.is_empty());
}

#[test]
fn what_was_not_written_gives_way_to_what_came_meanwhile() {
    let (mut intake, node) = (Intake::default(), NodeId::new("n"));
    intake.report(&node, report("a", TaskState::Starting));
    let ready = Facts { state: Some((NodeState::Ready, "")), description: None };
    let down = Facts { state: Some((NodeState::Down, "silent")), description: None };
    intake.node(&node, down);
    let batch = intake.take();
    intake.report(&node, report("a", TaskState::Running));
    intake.node(&node, ready.clone());
    intake.put_back(batch);
    let batch = intake.take();
    assert_eq!(states(&batch), [("a".to_owned(), TaskState::Running)]);
    assert_eq!(batch.nodes, [(node, ready)]);
}

#[test]
fn more_than_one_entry_holds_waits_for_the_next() {
    let (mut intake, node) = (Intake::default(), NodeId::new("n"));
    for number in 0..BATCH + 5 {
        intake.report(&node, report(&format!("t{number}"), TaskState::Running));
    }
    assert_eq!(intake.take().reports.len(), BATCH);
    assert_eq!(intake.take().reports.len(), 5);
}

#[test]
fn a_state_that_does_not_change_is_not_written() {
    let mut node = Node { id: NodeId::new("n"), ..Node::default() };
    node.status.state = NodeState::Ready;
    let ready = Facts { state: Some((NodeState::Ready, "")), description: None };
    assert_eq!(with_facts(&node, &ready, Timestamp(5)), None);
    let down = Facts { state: Some((NodeState::Down, "silent")), description: None };
    let next = with_facts(&node, &down, Timestamp(5)).unwrap();
    assert_eq!(next.record.unwrap().state_since, Timestamp(5));
}
