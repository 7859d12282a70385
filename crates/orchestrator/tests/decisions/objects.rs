//! What the helpers around decisions promise.

use crate::script::Script;
use orchestrator::{ScheduleError, apply, check_schedule, find_cycle, next_run, readiness};
use std::collections::{BTreeMap, BTreeSet};
use types::Timestamp;
use types::swarm::extension::Schedule;
use types::swarm::task::{Task, TaskState, TaskStatus};

fn edges(pairs: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (from, to) in pairs {
        edges.entry((*from).to_owned()).or_default().insert((*to).to_owned());
    }
    edges
}

#[test]
fn a_circle_of_dependencies_is_found_and_named() {
    let chain = edges(&[("web", "api"), ("api", "db"), ("api", "cache")]);
    assert_eq!(find_cycle(&chain, "web"), None);
    let circle = edges(&[("web", "api"), ("api", "cache"), ("api", "db"), ("db", "web")]);
    let named = ["web", "api", "db", "web"].map(str::to_owned).to_vec();
    assert_eq!(find_cycle(&circle, "web"), Some(named));
    assert!(find_cycle(&edges(&[("a", "a")]), "a").is_some());
}

#[test]
fn a_status_that_goes_back_is_refused_and_times_are_the_managers() {
    let at = Timestamp::from_seconds;
    let status = |state| TaskStatus { timestamp: at(9), state, ..TaskStatus::default() };
    let task = Task::default();
    let task = apply::with_status(&task, status(TaskState::Running), at(100)).unwrap();
    assert_eq!(task.record.running_at, at(100));
    assert_eq!(apply::with_status(&task, status(TaskState::Starting), at(101)), None);
    let task = apply::with_status(&task, status(TaskState::Failed), at(102)).unwrap();
    assert_eq!(task.record.ended_at, at(102));
    assert_eq!(apply::with_status(&task, status(TaskState::Rejected), at(103)), None);
}

#[test]
fn a_bad_schedule_says_what_is_wrong() {
    let schedule = |cron: &str| Schedule { cron: cron.to_owned(), ..Schedule::default() };
    assert!(check_schedule(&schedule("*/5 * * * *")).is_ok());
    let err = check_schedule(&schedule("61 * * * *")).unwrap_err();
    assert!(matches!(err, ScheduleError::Expression { .. }), "{err}");
    let never = next_run(&schedule("0 0 30 2 *"), Timestamp::from_seconds(0)).unwrap_err();
    assert!(matches!(never, ScheduleError::Never { .. }), "{never}");
}

#[test]
fn a_service_is_healthy_when_every_slot_runs() {
    let mut script = Script::new();
    script.run("nodes n1");
    script.run("service image=a replicas=2");
    let ready = |script: &Script| {
        let tasks: Vec<&Task> = script.world.tasks.values().collect();
        readiness(&script.world.service, &tasks, &script.world.nodes.values().collect())
    };
    assert!(!ready(&script).started);
    script.run("settle");
    assert!(ready(&script).healthy);
    script.run("fail t01");
    let one_left = ready(&script);
    assert!(one_left.started && !one_left.healthy && !one_left.completed);
}

#[test]
fn a_global_service_is_healthy_without_the_task_of_a_lost_node() {
    let mut script = Script::new();
    script.run("nodes n1 n2");
    script.run("service image=a global");
    script.run("scheduler sleeps");
    script.run("decide");
    script.run("node n2 down");
    script.run("scheduler wakes");
    script.run("settle");
    let ready = |script: &Script| {
        let tasks: Vec<&Task> = script.world.tasks.values().collect();
        readiness(&script.world.service, &tasks, &script.world.nodes.values().collect())
    };
    assert!(ready(&script).healthy);
    script.run("node n2 ready");
    assert!(!ready(&script).healthy);
}
