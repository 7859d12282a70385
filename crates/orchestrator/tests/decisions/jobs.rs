//! Random histories of one job of any kind and schedule.

use crate::properties::{Happening, NODES, happenings};
use crate::script::Script;
use orchestrator::{Action, is_dead, progress};
use proptest::prelude::*;
use std::collections::BTreeSet;
use types::swarm::task::{Task, TaskState};

#[derive(Debug, Clone)]
struct Setting {
    wishes: String,
    scheduled: bool,
    /// Runs must not overlap.
    forbid: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let mode = prop_oneof![Just("global-job"), Just("job=1/1"), Just("job=2/5"), Just("job=3/3")];
    let overlap =
        prop_oneof![Just(None), Just(Some("forbid")), Just(Some("allow")), Just(Some("replace"))];
    (mode, overlap, any::<bool>()).prop_map(|(mode, overlap, needs)| {
        let mut wishes = format!("image=a {mode}");
        if let Some(overlap) = overlap {
            wishes += &format!(" every=*_*_*_*_* overlap={overlap}");
        }
        if needs {
            wishes += " depends-on=db:healthy";
        }
        Setting { wishes, scheduled: overlap.is_some(), forbid: overlap == Some("forbid") }
    })
}

struct Trial {
    script: Script,
    setting: Setting,
}

impl Trial {
    fn new(setting: Setting) -> Trial {
        let mut script = Script::new();
        script.run("nodes n1 n2 n3 n4");
        script.run("history 2");
        script.run("dependency db started healthy");
        script.run(&format!("service {}", setting.wishes));
        script.run("settle");
        Trial { script, setting }
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Line(line) => drop(self.script.run(&line.replace("scale", "name"))),
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
            world.report(&id, state, "");
        }
    }

    /// Decides until nothing is left to do, whatever the order of the tasks.
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
        for action in actions {
            let tasks = &self.script.world.tasks;
            let wishes = self.script.world.service.spec.sampan.as_ref();
            let paused = wishes.is_some_and(|wish| wish.paused);
            match action {
                Action::CreateTask(_) => assert!(!paused, "a paused service gets no tasks"),
                Action::SetDesired { task, desired, .. } => {
                    assert!(tasks[task].desired_state < *desired, "desired states only grow");
                }
                Action::DeleteTask { task } => {
                    assert!(is_dead(&tasks[task]), "a task is deleted that may run");
                }
                _ => {}
            }
            self.script.world.commit(action);
        }
        let wanted = self.script.world.tasks.values().filter(|task| {
            task.desired_state <= TaskState::Complete && !task.status.state.is_terminal()
        });
        let mut slots = BTreeSet::new();
        let mut runs = BTreeSet::new();
        for task in wanted {
            let run = task.job_iteration.map(|version| version.index);
            let node = if task.slot == 0 { task.node_id.to_string() } else { String::new() };
            assert!(slots.insert((run, task.slot, node)), "two tasks of one slot and run");
            runs.insert(run);
        }
        assert!(!self.setting.forbid || runs.len() <= 1, "runs overlap: {runs:?}");
    }

    /// Faults stop, and every task that runs completes: the job, or the next run of its schedule, is done in
    /// bounded time.
    fn recover(&mut self) {
        for node in NODES {
            self.script.run(&format!("node {node} ready"));
            self.script.run(&format!("node {node} active"));
        }
        self.script.run("dependency db started healthy");
        self.script.run("service image=a paused=no");
        let index = |script: &Script| {
            script.world.service.job_status.as_ref().map(|status| status.job_iteration.index)
        };
        let before = index(&self.script);
        for _ in 0..400 {
            self.script.run("settle");
            let again = !self.setting.scheduled || index(&self.script) > before;
            let world = &mut self.script.world;
            let tasks: Vec<&Task> = world.tasks.values().collect();
            if again && progress(&world.service, &tasks).converged {
                return;
            }
            let running: Vec<_> =
                tasks.iter().filter(|task| is_at_work(task)).map(|task| task.id.clone()).collect();
            if running.is_empty() {
                let Some(wake) = world.decide().wake_at else { break };
                world.now = wake;
            }
            for id in running {
                world.report(&id, TaskState::Complete, "");
            }
        }
        panic!("does not converge:\n{}{}", self.script.run("show"), self.script.run("why"));
    }
}

/// Wanted and placed: it could say that it is complete.
fn is_at_work(task: &Task) -> bool {
    let state = task.status.state;
    task.desired_state == TaskState::Complete
        && state >= TaskState::Assigned
        && !state.is_terminal()
}

proptest! {
    /// Whatever happened, each decision is safe, the next ones come to rest, runs overlap only if they may, and
    /// once faults stop the job completes.
    #[test]
    fn any_history_of_a_job_is_safe_and_completes(setting in setting(), history in happenings()) {
        let mut trial = Trial::new(setting);
        for happening in &history {
            trial.happen(happening);
        }
        trial.recover();
    }
}
