//! Random histories of one service, and what must hold at every step of each.

use crate::script::Script;
use orchestrator::{Action, UpdateState, is_dead, progress};
use proptest::prelude::*;
use std::collections::BTreeMap;
use types::swarm::extension::Stop;
use types::swarm::task::{Task, TaskState};

pub(crate) const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

/// One thing that happens, as a line of a script, or something to a task by its place in the list.
#[derive(Debug, Clone)]
pub(crate) enum Happening {
    Line(String),
    Fail(usize),
    Complete(usize),
    Decide,
    /// One decision is committed, and the next one never made: the leader fell.
    Once,
}

pub(crate) fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let line = |text: String| Happening::Line(text);
    let image = prop_oneof![Just("a"), Just("b"), Just("broken"), Just("slow")];
    let node = (
        0usize..4,
        prop_oneof![
            Just("down"),
            Just("ready"),
            Just("ready"),
            Just("drain"),
            Just("pause"),
            Just("active")
        ],
    );
    let happening = prop_oneof![
        2 => (0u64..5).prop_map(move |n| line(format!("service scale={n}"))),
        2 => image.prop_map(move |image| line(format!("service image={image}"))),
        1 => Just(line("service force".to_owned())),
        1 => Just(line("rollback".to_owned())),
        1 => Just(line("service paused".to_owned())),
        1 => Just(line("service paused=no".to_owned())),
        2 => node.prop_map(move |(n, state)| line(format!("node {} {state}", NODES[n]))),
        1 => Just(line("dependency db started".to_owned())),
        1 => Just(line("dependency db started healthy".to_owned())),
        4 => (1u64..40).prop_map(move |s| line(format!("wait {s}s"))),
        4 => Just(line("agents".to_owned())),
        2 => (0usize..12).prop_map(Happening::Fail),
        1 => (0usize..12).prop_map(Happening::Complete),
        6 => Just(Happening::Decide),
        2 => Just(Happening::Once),
    ];
    proptest::collection::vec(happening, 1..60)
}

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

impl Trial {
    fn new(setting: Setting) -> Self {
        let mut script = Script::new();
        script.run("nodes n1 n2 n3 n4");
        script.run("history 2");
        script.run("dependency db started healthy");
        script.run(&format!("service {}", setting.wishes.join(" ")));
        script.run("settle");
        Trial { script, setting }
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Line(line) => {
                let global = self.setting.global;
                let line = line.replace("scale", if global { "name" } else { "replicas" });
                self.script.run(&line);
            }
            Happening::Fail(n) => self.end(*n, TaskState::Failed),
            Happening::Complete(n) => self.end(*n, TaskState::Complete),
            Happening::Decide => self.decide(),
            Happening::Once => {
                let actions = self.script.world.decide().actions;
                self.commit(&actions);
            }
        }
    }

    fn end(&mut self, n: usize, state: TaskState) {
        let world = &mut self.script.world;
        let running = |task: &&Task| task.status.state == TaskState::Running;
        let id = world.tasks.values().filter(running).nth(n).map(|task| task.id.clone());
        if let Some(id) = id {
            world.report(&id, state, "ended");
        }
    }

    fn decide(&mut self) {
        for round in 0.. {
            let decision = self.script.world.decide();
            let mut tasks: Vec<&Task> = self.script.world.tasks.values().collect();
            tasks.reverse();
            let middle = tasks.len() / 3;
            tasks.rotate_left(middle);
            assert_eq!(decision, self.script.world.decide_on(&tasks), "order of the tasks matters");
            if decision.actions.is_empty() {
                break;
            }
            assert!(round < 6, "no fixed point: {:?}", decision.actions);
            self.commit(&decision.actions);
        }
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
