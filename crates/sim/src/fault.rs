//! What goes wrong: leaders, agents, machines, network, disks. And how it all ends.

use crate::rng::Rng;
use crate::world::{Happening, TROUBLED, World};
use types::TaskId;

/// One mishap.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// The leader goes; for a while nobody leads.
    LeaderGoes,
    Elect,
    /// The agent ends; with its machine, or alone.
    AgentEnds {
        machine: bool,
    },
    /// It starts again, perhaps with an older disk.
    AgentStarts {
        node: String,
        old: bool,
    },
    /// One way or both.
    Cut {
        down: bool,
        up: bool,
    },
    Mend {
        node: String,
    },
    Loss {
        percent: u64,
    },
    SlowPulls {
        slow: bool,
    },
    /// By itself, or its health check fails.
    ContainerDies {
        ill: bool,
    },
    /// An agent's disk as it is now is what a later crash may leave.
    DiskLags,
    /// Everything is mended, for good; but for a machine that now and then is lost.
    Calm,
}

const MOST_TROUBLES: u64 = 24;
const MOST_USER_ACTS: u64 = 20;

impl World {
    /// Rolls the seed's fate.
    pub(crate) fn plan_troubles(&mut self) {
        for node in self.agents.keys().cloned().collect::<Vec<_>>() {
            let first = self.rng.between(0, 2_000);
            self.after(first, Happening::Heartbeat { node, boot: 0 });
        }
        for _ in 0..self.rng.between(2, MOST_USER_ACTS) {
            let at = self.rng.between(0, TROUBLED);
            self.after(at, Happening::User);
        }
        for _ in 0..self.rng.between(0, MOST_TROUBLES) {
            let at = self.rng.between(1_000, TROUBLED);
            let trouble = roll(&mut self.rng);
            self.after(at, Happening::Trouble(trouble));
        }
        self.after(TROUBLED, Happening::Trouble(Trouble::Calm));
        self.after(TROUBLED + 1, Happening::Look);
    }

    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        if self.calm {
            if let Trouble::Elect = trouble
                && self.leader.is_none()
            {
                self.elect();
            }
            return;
        }
        self.say(|| format!("TROUBLE {trouble:?}"));
        let nodes: Vec<String> = self.agents.keys().cloned().collect();
        let node = self.rng.pick(&nodes).cloned().unwrap_or_default();
        match trouble {
            Trouble::LeaderGoes => {
                self.depose();
                let pause = self.rng.between(10, 15_000);
                self.after(pause, Happening::Trouble(Trouble::Elect));
            }
            Trouble::Elect => {
                if self.leader.is_none() {
                    self.elect();
                }
            }
            Trouble::AgentEnds { machine } => self.end_agent(&node, machine),
            Trouble::AgentStarts { node, old } => self.start_agent(&node, old),
            Trouble::Cut { down, up } => {
                if down {
                    self.deaf.insert(node.clone());
                }
                if up {
                    self.mute.insert(node.clone());
                }
                let pause = self.rng.between(1_000, 90_000);
                self.after(pause, Happening::Trouble(Trouble::Mend { node }));
            }
            Trouble::Mend { node } => {
                self.deaf.remove(&node);
                self.mute.remove(&node);
            }
            Trouble::Loss { percent } => self.loss_percent = percent,
            Trouble::SlowPulls { slow } => self.slow_pulls = slow,
            Trouble::ContainerDies { ill } => self.hurt_container(&node, ill),
            Trouble::DiskLags => {
                if let Some(agent) = self.agents.get_mut(&node) {
                    agent.old_disk = agent.tasks.clone();
                }
            }
            Trouble::Calm => self.mend_all(),
        }
    }

    fn end_agent(&mut self, node: &str, machine: bool) {
        let Some(agent) = self.agents.get_mut(node).filter(|agent| agent.up) else { return };
        agent.crash(machine);
        let pause = self.rng.between(100, 120_000);
        let old = self.rng.chance(30);
        let start = Trouble::AgentStarts { node: node.to_owned(), old };
        self.after(pause, Happening::Trouble(start));
    }

    fn start_agent(&mut self, node: &str, old: bool) {
        let Some(agent) = self.agents.get(node).filter(|it| !it.up && !it.removed) else { return };
        let boot = agent.boot + 1;
        self.with_agent(node, |agent, moment| agent.restart(old, moment));
        self.after(0, Happening::Heartbeat { node: node.to_owned(), boot });
    }

    /// This machine will not come back.
    fn bury(&mut self, node: &str) {
        self.say(|| format!("{node} is gone for good"));
        if let Some(agent) = self.agents.get_mut(node) {
            agent.crash(true);
        }
    }

    fn hurt_container(&mut self, node: &str, ill: bool) {
        let Some(agent) = self.agents.get(node) else { return };
        let running: Vec<TaskId> = agent.running().cloned().collect();
        if let Some(id) = self.rng.pick(&running).cloned() {
            self.with_agent(node, |agent, moment| agent.hurt(&id, ill, moment));
        }
    }

    fn mend_all(&mut self) {
        self.say(|| "CALM".to_owned());
        self.loss_percent = 0;
        self.slow_pulls = false;
        self.deaf.clear();
        self.mute.clear();
        let nodes: Vec<String> = self.agents.keys().cloned().collect();
        let buried = self.rng.chance(20).then(|| self.rng.pick(&nodes[1..]).cloned()).flatten();
        for node in nodes {
            if Some(&node) == buried.as_ref() {
                self.bury(&node);
            } else {
                self.start_agent(&node, false);
            }
        }
        self.calm = true;
        if self.leader.is_none() {
            self.elect();
        }
    }
}

fn roll(rng: &mut Rng) -> Trouble {
    match rng.between(0, 12) {
        0..=2 => Trouble::LeaderGoes,
        3 => Trouble::AgentEnds { machine: false },
        4 | 5 => Trouble::AgentEnds { machine: true },
        6 => {
            let (down, up) = (rng.chance(60), rng.chance(60));
            Trouble::Cut { down, up: up || !down }
        }
        7 | 8 => Trouble::Loss { percent: rng.between(0, 40) },
        9 => Trouble::SlowPulls { slow: rng.chance(60) },
        10 => Trouble::ContainerDies { ill: rng.chance(30) },
        _ => Trouble::DiskLags,
    }
}
