use super::*;
use types::swarm::task::NetworkAttachment;

const AT: Duration = Duration::from_secs(100);

fn node(id: &str) -> NodeId {
    NodeId::new(id)
}

fn task(id: &str) -> Task {
    let mut task = Task { id: TaskId::new(id), ..Task::default() };
    (task.status.state, task.desired_state) = (TaskState::Running, TaskState::Shutdown);
    task.networks_attachments = vec![NetworkAttachment::default()];
    task
}

fn see(drains: &mut Drains, tasks: &[&str], version: u64) {
    see_at(drains, tasks, version, AT);
}

/// All tasks run on node `a`.
fn see_at(drains: &mut Drains, tasks: &[&str], version: u64, now: Duration) {
    let place = |id: &&str| (TaskId::new(*id), node("a"));
    drains.see(tasks.iter().map(place).collect(), version, now);
}

#[test]
fn a_task_is_let_go_when_all_nodes_that_are_up_have_applied_a_table_in_which_it_drains() {
    let (mut drains, up) = (Drains::default(), [node("a"), node("b")]);
    drains.applied(&node("a"), 4, AT);
    drains.applied(&node("b"), 4, AT);
    see(&mut drains, &["t"], 5);
    assert!(drains.holds(&task("t")));
    assert_eq!(drains.release(up.iter(), AT), []);
    drains.applied(&node("a"), 5, AT);
    assert_eq!(drains.release(up.iter(), AT + SETTLE), []);
    drains.applied(&node("b"), 9, AT + SETTLE);
    assert_eq!(drains.release(up.iter(), AT + SETTLE), [], "what is under way arrives");
    assert_eq!(drains.deadline(), Some(AT + SETTLE * 2));
    assert_eq!(drains.release(up.iter(), AT + SETTLE * 2), [TaskId::new("t")]);
    assert!(!drains.holds(&task("t")) && drains.is_idle());
    assert_eq!(drains.deadline(), None);
}

#[test]
fn who_is_not_up_is_not_waited_for() {
    let mut drains = Drains::default();
    see(&mut drains, &["t"], 5);
    drains.applied(&node("a"), 5, AT);
    assert_eq!(drains.release([node("a"), node("down")].iter(), AT + SETTLE), []);
    assert_eq!(drains.release([node("a")].iter(), AT + SETTLE), []);
    assert_eq!(drains.release([node("a")].iter(), AT + SETTLE * 2), [TaskId::new("t")]);
}

#[test]
fn who_comes_up_before_it_is_let_go_is_waited_for() {
    let mut drains = Drains::default();
    see(&mut drains, &["t"], 5);
    drains.applied(&node("a"), 5, AT);
    assert_eq!(drains.release([node("a")].iter(), AT), []);
    assert_eq!(drains.release([node("a"), node("b")].iter(), AT + SETTLE), []);
    drains.applied(&node("b"), 5, AT + SETTLE);
    assert_eq!(drains.release([node("a"), node("b")].iter(), AT + SETTLE), []);
    let due = drains.release([node("a"), node("b")].iter(), AT + SETTLE * 2);
    assert_eq!(due, [TaskId::new("t")]);
}

#[test]
fn who_is_up_and_silent_delays_it_for_so_long_and_no_longer() {
    let (mut drains, up) = (Drains::default(), [node("a")]);
    see(&mut drains, &["t"], 5);
    assert_eq!(drains.release(up.iter(), AT), []);
    assert_eq!(drains.release(up.iter(), AT + PATIENCE - Duration::from_nanos(1)), []);
    assert_eq!(drains.deadline(), Some(AT + PATIENCE));
    assert_eq!(drains.release(up.iter(), AT + PATIENCE), []);
    assert_eq!(drains.late().iter().collect::<Vec<_>>(), [&node("a")]);
    assert_eq!(drains.release(up.iter(), AT + PATIENCE + SETTLE), [TaskId::new("t")]);
    assert_eq!(drains.deadline(), None);
}

#[test]
fn who_is_slow_but_goes_on_is_waited_for() {
    let (mut drains, up) = (Drains::default(), [node("a")]);
    see(&mut drains, &["t"], 5);
    assert_eq!(drains.release(up.iter(), AT), []);
    let later = AT + PATIENCE - Duration::from_secs(1);
    drains.applied(&node("a"), 3, later);
    assert_eq!(drains.release(up.iter(), AT + PATIENCE), []);
    assert!(drains.late().is_empty());
    assert_eq!(drains.deadline(), Some(later + PATIENCE));
    drains.applied(&node("a"), 5, later + PATIENCE - Duration::from_nanos(1));
    assert_eq!(drains.release(up.iter(), later + PATIENCE), []);
    assert_eq!(drains.release(up.iter(), later + PATIENCE + SETTLE), [TaskId::new("t")]);
    assert!(drains.late().is_empty());
}

#[test]
fn who_was_waited_for_in_vain_is_not_waited_for_again_until_it_follows() {
    let (mut drains, up) = (Drains::default(), [node("a"), node("b")]);
    see(&mut drains, &["t"], 5);
    drains.applied(&node("a"), 5, AT);
    drains.release(up.iter(), AT);
    drains.release(up.iter(), AT + PATIENCE);
    assert_eq!(drains.late().iter().collect::<Vec<_>>(), [&node("b")]);
    drains.release(up.iter(), AT + PATIENCE + SETTLE);
    let now = AT + PATIENCE * 2;
    see_at(&mut drains, &["u"], 6, now);
    assert_eq!(drains.release(up.iter(), now + SETTLE), [], "the other node is waited for");
    drains.applied(&node("a"), 6, now);
    assert_eq!(drains.release(up.iter(), now), []);
    assert_eq!(drains.release(up.iter(), now + SETTLE), [TaskId::new("u")]);
    drains.applied(&node("b"), 6, now);
    see_at(&mut drains, &["v"], 7, now);
    drains.applied(&node("a"), 7, now);
    assert_eq!(drains.release(up.iter(), now + SETTLE), []);
    assert_eq!(drains.release(up.iter(), now + SETTLE * 2), []);
}

#[test]
fn a_later_table_does_not_make_it_wait_again() {
    let (mut drains, up) = (Drains::default(), [node("a")]);
    see(&mut drains, &["t"], 5);
    see(&mut drains, &["t", "u"], 6);
    drains.applied(&node("a"), 5, AT);
    assert_eq!(drains.release(up.iter(), AT), []);
    assert_eq!(drains.release(up.iter(), AT + SETTLE), [TaskId::new("t")]);
    see(&mut drains, &["t", "u"], 7);
    assert!(!drains.holds(&task("t")) && drains.holds(&task("u")));
    see(&mut drains, &["u"], 8);
    assert!(drains.holds(&task("t")), "what has ended is forgotten");
}

#[test]
fn a_task_on_a_node_that_is_down_is_held_until_that_node_is_back_and_follows() {
    let (mut drains, others) = (Drains::default(), [node("b")]);
    drains.applied(&node("a"), 4, AT);
    see(&mut drains, &["t"], 5);
    drains.applied(&node("b"), 5, AT);
    assert_eq!(drains.release(others.iter(), AT), []);
    assert_eq!(drains.release(others.iter(), AT + PATIENCE * 2), [], "its node is down");
    assert_eq!(drains.deadline(), None);
    let (back, all) = (AT + PATIENCE * 3, [node("a"), node("b")]);
    assert_eq!(drains.release(all.iter(), back), [], "it has just come back");
    assert!(drains.late().is_empty());
    assert_eq!(drains.deadline(), Some(back + PATIENCE));
    drains.applied(&node("a"), 5, back + SETTLE);
    assert_eq!(drains.release(all.iter(), back + SETTLE), []);
    assert_eq!(drains.release(all.iter(), back + SETTLE * 2), [TaskId::new("t")]);
}

#[test]
fn only_what_somebody_may_send_to_is_held() {
    let drains = Drains::default();
    assert!(drains.holds(&task("t")), "before a table was derived, too");
    let mut starting = task("t");
    starting.status.state = TaskState::Starting;
    let mut alone = task("t");
    alone.networks_attachments.clear();
    let mut stays = task("t");
    stays.desired_state = TaskState::Running;
    for free in [starting, alone, stays] {
        assert!(!drains.holds(&free));
    }
}
