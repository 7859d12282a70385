//! Random histories of one service, and what must hold at every step of each.

use crate::history::{self, History, NODES, happenings};
use crate::script::Script;
use orchestrator::{Action, UpdateState, is_dead, progress};
use proptest::prelude::*;
use std::collections::BTreeMap;
use types::swarm::extension::Stop;
use types::swarm::task::{Task, TaskState};

#[derive(Debug, Clone)]
struct Setting {
    global: bool,
    wishes: Vec<String>,
    parallelism: u64,
    start_first: bool,
    moves: bool,
    capacity: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let action = prop_oneof![Just("pause"), Just("continue"), Just("rollback")];
    let some = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let rest = (0u64..3, 0u64..12, any::<bool>());
    (some, rest, action).prop_map(|(some, (parallelism, delay, needs), action)| {
        let (global, start_first, moves, ports, capacity) = some;
        let mut wishes = vec![
            "image=a".to_owned(),
            format!("parallelism={parallelism}"),
            format!("delay={delay}s"),
            format!("on-failure={action}"),
        ];
        wishes.push(if global { "global" } else { "replicas=3" }.to_owned());
        if start_first {
            wishes.push("order=start-first".to_owned());
        }
        if moves {
            wishes.push("rebalance=1".to_owned());
        }
        if ports {
            wishes.push("host-port=80".to_owned());
        }
        if needs {
            wishes.push("depends-on=db:healthy".to_owned());
        }
        let capacity = capacity && !global && !ports;
        if capacity {
            wishes.push("capacity=0.5/0.5".to_owned());
        }
        Setting { global, wishes, parallelism, start_first, moves, capacity }
    })
}

struct Trial {
    script: Script,
    setting: Setting,
}

impl History for Trial {
    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    fn size(&self) -> &'static str {
        if self.setting.global { "name" } else { "replicas" }
    }

    fn commit(&mut self, actions: &[Action]) {
        self.check_stops(actions);
        for action in actions {
            let before = self.script.world.tasks.clone();
            let paused =
                self.script.world.service.spec.sampan.as_ref().is_some_and(|wish| wish.paused);
            match action {
                Action::CreateTask(_) => {
                    assert!(!paused, "a paused service gets no tasks");
                    assert!(self.setting.global || self.replicas() > 0, "scaled to zero");
                }
                Action::SetDesired { task, desired, .. } => {
                    assert!(before[task].desired_state < *desired, "desired states only grow");
                }
                Action::DeleteTask { task } => {
                    assert!(is_dead(&before[task]), "a task is deleted that may run");
                }
                _ => {}
            }
            self.script.world.commit(action);
        }
        self.check_slots();
    }
}

impl Trial {
    fn new(setting: Setting) -> Self {
        let script = history::begin(&setting.wishes.join(" "));
        Trial { script, setting }
    }

    fn replicas(&self) -> u64 {
        let replicated = self.script.world.service.spec.mode.replicated.as_ref();
        replicated.and_then(|mode| mode.replicas).unwrap_or(0)
    }

    /// Never more stops by the updater than it may, never below the minimum that is healthy.
    fn check_stops(&self, actions: &[Action]) {
        let running = |task: &Task| {
            task.status.state == TaskState::Running && task.desired_state <= TaskState::Running
        };
        let tasks = &self.script.world.tasks;
        let before = tasks.values().filter(|task| running(task)).count() as u64;
        let stopped = actions.iter().filter(|action| match action {
            Action::SetDesired { task, stop: Some(Stop::Updated), .. } => running(&tasks[task]),
            _ => false,
        });
        let stopped = stopped.count() as u64;
        if stopped > 0 && self.setting.parallelism > 0 {
            // MakeRoom stops what an earlier decision counted: at most one batch on top.
            assert!(stopped <= self.setting.parallelism * 2, "{stopped} stopped at once");
        }
        if stopped > 0 && self.setting.capacity {
            let minimum = self.replicas().div_ceil(2);
            let slots = self.slots(running);
            let left =
                slots.values().filter(|tasks| tasks.len() > 1).count() as u64 + before - stopped;
            assert!(left >= minimum, "{left} of at least {minimum} would run");
        }
    }

    fn slots(&self, keep: impl Fn(&Task) -> bool) -> BTreeMap<(u64, String), Vec<&Task>> {
        let mut slots: BTreeMap<_, Vec<&Task>> = BTreeMap::new();
        for task in self.script.world.tasks.values().filter(|task| keep(task)) {
            let node = if self.setting.global { task.node_id.to_string() } else { String::new() };
            slots.entry((task.slot, node)).or_default().push(task);
        }
        slots
    }

    /// One wanted task in a slot, two only while something starts first.
    fn check_slots(&self) {
        let two = self.setting.start_first || self.setting.moves || self.setting.capacity;
        let wanted = |task: &Task| task.desired_state <= TaskState::Running && !is_dead(task);
        for (slot, tasks) in self.slots(wanted) {
            assert!(tasks.len() <= if two { 2 } else { 1 }, "slot {slot:?} has {}", tasks.len());
        }
    }

    /// Faults stop: the service must converge in bounded time.
    fn recover(&mut self) {
        for node in NODES {
            self.script.run(&format!("node {node} ready"));
            self.script.run(&format!("node {node} active"));
        }
        self.script.run("dependency db started healthy");
        self.script.run("service image=a paused=no force");
        for _ in 0..200 {
            self.script.run("settle");
            let world = &mut self.script.world;
            let tasks: Vec<&Task> = world.tasks.values().collect();
            let updating = matches!(
                UpdateState::of(&world.service),
                Some(UpdateState::Updating | UpdateState::RollbackStarted)
            );
            if progress(&world.service, &tasks).converged && !updating {
                return;
            }
            let Some(wake) = world.decide().wake_at else { break };
            world.now = wake;
        }
        panic!("does not converge:\n{}{}", self.script.run("show"), self.script.run("why"));
    }
}

proptest! {
    /// Whatever happened, each decision is safe, the next ones come to rest, and once faults stop the
    /// service converges.
    #[test]
    fn any_history_is_safe_and_converges(setting in setting(), history in happenings()) {
        let mut trial = Trial::new(setting);
        for happening in &history {
            trial.happen(happening);
        }
        trial.recover();
    }

    /// Scaling to zero removes every task, from any state.
    #[test]
    fn scaled_to_zero_nothing_is_left(setting in setting(), history in happenings()) {
        let mut setting = setting;
        setting.global = false;
        setting.wishes.push("replicas=3".to_owned());
        let mut trial = Trial::new(setting);
        for happening in &history {
            trial.happen(happening);
        }
        for node in NODES {
            trial.script.run(&format!("node {node} ready"));
        }
        trial.script.run("service replicas=0");
        trial.script.run("settle");
        prop_assert!(trial.script.world.tasks.is_empty());
    }

    /// A job of any shape runs each of its slots to completion and never more at once than it may.
    #[test]
    fn jobs_complete(concurrent in 1u64..4, total in 0u64..8, failures in proptest::collection::vec(0usize..6, 0..10)) {
        let mut script = Script::new();
        script.run("nodes n1 n2");
        script.run(&format!("service image=a job={concurrent}/{total}"));
        let mut failures = failures.into_iter();
        for _ in 0..200 {
            script.run("settle");
            let running: Vec<_> = script
                .world
                .tasks
                .values()
                .filter(|task| task.status.state == TaskState::Running)
                .map(|task| task.id.clone())
                .collect();
            prop_assert!(running.len() as u64 <= concurrent);
            let mut tasks: Vec<&Task> = script.world.tasks.values().collect();
            tasks.reverse();
            prop_assert_eq!(script.world.decide(), script.world.decide_on(&tasks));
            match (failures.next(), running.first()) {
                (Some(n), Some(_)) => {
                    script.world.report(&running[n % running.len()], TaskState::Failed, "no");
                }
                (None, Some(first)) => script.world.report(first, TaskState::Complete, ""),
                (_, None) => match script.world.decide().wake_at {
                    Some(wake) => script.world.now = wake,
                    None => break,
                },
            }
        }
        let tasks: Vec<&Task> = script.world.tasks.values().collect();
        let end = progress(&script.world.service, &tasks);
        prop_assert!(end.converged && end.completed == total, "{:?}", end);
    }
}
