//! Random histories of one job of any kind and schedule.

use crate::history::{self, History, NODES, happenings};
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

impl History for Trial {
    fn script(&mut self) -> &mut Script {
        &mut self.script
    }

    /// A job has no replicas: what would change their number changes nothing.
    fn size(&self) -> &'static str {
        "name"
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
}

impl Trial {
    fn new(setting: Setting) -> Trial {
        let script = history::begin(&setting.wishes);
        Trial { script, setting }
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
