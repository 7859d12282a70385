//! Random histories: what happens to one service, and the decisions between.

use crate::script::Script;
use orchestrator::Action;
use proptest::prelude::*;
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

/// A service on four nodes that has come to rest.
pub(crate) fn begin(wishes: &str) -> Script {
    let mut script = Script::new();
    script.run("nodes n1 n2 n3 n4");
    script.run("history 2");
    script.run("dependency db started healthy");
    script.run(&format!("service {wishes}"));
    script.run("settle");
    script
}

/// One service's history as it happens.
pub(crate) trait History {
    fn script(&mut self) -> &mut Script;
    /// The word of a service's line that sets how many tasks it has.
    fn size(&self) -> &'static str;
    /// Commits what was decided, and asserts what must hold.
    fn commit(&mut self, actions: &[Action]);

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Line(line) => {
                let line = line.replace("scale", self.size());
                self.script().run(&line);
            }
            Happening::Fail(n) => self.end(*n, TaskState::Failed),
            Happening::Complete(n) => self.end(*n, TaskState::Complete),
            Happening::Decide => self.decide(),
            Happening::Once => {
                let actions = self.script().world.decide().actions;
                self.commit(&actions);
            }
        }
    }

    fn end(&mut self, n: usize, state: TaskState) {
        let world = &mut self.script().world;
        let running = |task: &&Task| task.status.state == TaskState::Running;
        let id = world.tasks.values().filter(running).nth(n).map(|task| task.id.clone());
        if let Some(id) = id {
            world.report(&id, state, "ended");
        }
    }

    /// Decides until nothing is left to do, whatever the order of the tasks.
    fn decide(&mut self) {
        for round in 0.. {
            let world = &self.script().world;
            let decision = world.decide();
            let mut tasks: Vec<&Task> = world.tasks.values().collect();
            tasks.reverse();
            let middle = tasks.len() / 3;
            tasks.rotate_left(middle);
            assert_eq!(decision, world.decide_on(&tasks), "order of the tasks matters");
            if decision.actions.is_empty() {
                break;
            }
            assert!(round < 6, "no fixed point: {:?}", decision.actions);
            self.commit(&decision.actions);
        }
    }
}
