//! Runs `scenarios/*.txt`. With `UPDATE=1` the outputs are written anew instead of compared.
//!
//! A file is one task. Time passes by `wait` alone; every other word is an event, and prints what the agent must do.

#![expect(clippy::unwrap_used, reason = "a script that cannot be read fails the test")]

use scenario::{Play, differences};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use taskfsm::{Effect, Event, Machine, Rules, step};
use types::Timestamp;
use types::swarm::task::TaskState;

/// When every file begins; `wake at` counts from here.
const START: Timestamp = Timestamp::from_seconds(1_000);

struct Node {
    now: Timestamp,
    machine: Machine,
}

impl Node {
    fn new() -> Node {
        Node {
            now: START,
            machine: Machine::new(
                TaskState::Running,
                Rules { stop_grace: Duration::from_secs(10), health_check: false },
            ),
        }
    }

    fn play(&mut self, event: Event) -> String {
        let (machine, effects) = step(self.machine.clone(), event, self.now);
        self.machine = machine;
        effects.iter().fold(String::new(), |told, effect| told + &line(effect) + "\n")
    }
}

impl Play for Node {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let event = match words.as_slice() {
            ["task", wishes @ ..] => {
                for wish in wishes {
                    match wish.split_once('=').unwrap_or((wish, "")) {
                        ("desired", state) => self.machine.desired = desired(state),
                        ("grace", seconds) => {
                            let grace = seconds.trim_end_matches('s').parse().unwrap();
                            self.machine.rules.stop_grace = Duration::from_secs(grace);
                        }
                        ("health-check", _) => self.machine.rules.health_check = true,
                        other => panic!("no wish {other:?}"),
                    }
                }
                Event::Begin
            }
            ["wait", seconds] => {
                let seconds = seconds.trim_end_matches('s').parse().unwrap();
                self.now = self.now.after(Duration::from_secs(seconds));
                Event::Tick
            }
            ["desired", state] => Event::Desired(desired(state)),
            // The agent ended, and reads its disk.
            ["agent", "restarts"] => {
                let Machine { reported, desired, rules, .. } = self.machine;
                self.machine = Machine::resume(reported, desired, rules);
                Event::Begin
            }
            ["prepared"] => Event::Prepared,
            ["prepare-fails", why @ ..] => Event::PrepareFailed(why.join(" ")),
            ["started"] => Event::Started,
            ["start-fails", why @ ..] => Event::StartFailed(why.join(" ")),
            ["healthy"] => Event::Healthy,
            ["unhealthy"] => Event::Unhealthy,
            ["exits", code] => Event::Exited { code: code.parse().unwrap() },
            ["vanishes"] => Event::Vanished,
            ["unassigned"] => Event::Unassigned,
            ["removed"] => Event::Removed,
            ["show"] => return format!("{:?}\n", self.machine.phase),
            other => panic!("no command {other:?}"),
        };
        self.play(event)
    }
}

fn desired(word: &str) -> TaskState {
    match word {
        "ready" => TaskState::Ready,
        "running" => TaskState::Running,
        "shutdown" => TaskState::Shutdown,
        other => panic!("no state {other}"),
    }
}

fn line(effect: &Effect) -> String {
    match effect {
        Effect::Report(report) => {
            let mut line = format!("report {}: {}", report.state.as_str(), report.message);
            if !report.err.is_empty() {
                write!(line, ": {}", report.err).unwrap();
            }
            line
        }
        Effect::WakeAt(time) => format!("wake at {}s", time.since(START).as_secs()),
        Effect::CancelPrepare => "cancel the preparation".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[test]
fn every_scenario_ends_as_it_is_told() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let wrong = differences(&dir, 9, Node::new).unwrap();
    assert!(wrong.is_empty(), "these end otherwise:\n{}", wrong.join("\n"));
}
