//! What goes wrong, and how it is mended.
//!
//! | fault | what a real machine does |
//! |---|---|
//! | kill | the daemon ends at once (SIGKILL); its containers go on |
//! | stop | the daemon is told to end (SIGTERM) |
//! | freeze | the daemon stands still and does not know it (SIGSTOP) |
//! | power | everything on the host ends, and its disk holds only what was made durable: the filesystem is shut down without writing out anything |
//! | blackout | the power of all hosts at once |
//! | torn | killed, and its disk lies: up to 4 KiB are missing at the end of the raft log, made durable or not |
//! | cut, one way, split | packets are dropped between hosts |
//!
//! **What a disk may lose.** What was not made durable (`power`, `blackout`), on all hosts at once. What *was* made
//! durable (`torn`), on a minority only and not again before it is back from the others: an acknowledged write is on a
//! majority's disks, and no protocol mends the loss of all its copies.

use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::RngExt;
use rand::rngs::StdRng;
use testkit::Hosts;

/// A torn log ends at most so many bytes early.
const TORN_BYTES: u64 = 4096;

/// Nodes by index, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    Kill(usize),
    Stop(usize),
    Freeze(usize),
    Power(usize),
    Blackout,
    Torn(usize, u64),
    Cut(usize, usize),
    OneWay {
        from: usize,
        to: usize,
    },
    /// Nobody hears this one, which hears all.
    Mute(usize),
    /// This one hears nobody, and all hear it.
    Deaf(usize),
    /// These see each other, and none of the others.
    Split(Vec<usize>),
}

impl Fault {
    /// For counting.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill -9",
            Fault::Stop(_) => "stop",
            Fault::Freeze(_) => "freeze",
            Fault::Power(_) => "power loss",
            Fault::Blackout => "power loss of all",
            Fault::Torn(..) => "torn log",
            Fault::Cut(..) => "cut",
            Fault::OneWay { .. } | Fault::Mute(_) | Fault::Deaf(_) => "one-way cut",
            Fault::Split(_) => "split",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = |index: &usize| format!("node{}", index + 1);
        match self {
            Fault::Kill(at) => write!(f, "kill -9 {}", node(at)),
            Fault::Stop(at) => write!(f, "stop {}", node(at)),
            Fault::Freeze(at) => write!(f, "freeze {}", node(at)),
            Fault::Power(at) => write!(f, "power off {}", node(at)),
            Fault::Blackout => write!(f, "power off all nodes"),
            Fault::Torn(at, bytes) => {
                write!(f, "kill -9 {}, {bytes} B off the end of its raft log", node(at))
            }
            Fault::Cut(one, other) => write!(f, "cut {} <-> {}", node(one), node(other)),
            Fault::OneWay { from, to } => write!(f, "cut {} -> {}", node(from), node(to)),
            Fault::Mute(at) => write!(f, "cut {} -> everyone", node(at)),
            Fault::Deaf(at) => write!(f, "cut everyone -> {}", node(at)),
            Fault::Split(side) => {
                write!(f, "split off {}", side.iter().map(node).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Draws a fault for a cluster of so many nodes, of which these run. `torn`: a log may still be torn.
pub(crate) fn draw(random: &mut StdRng, nodes: usize, running: &[usize], torn: bool) -> Fault {
    let any = |random: &mut StdRng| random.random_range(0..nodes);
    let two = |random: &mut StdRng| {
        let one = random.random_range(0..nodes);
        (one, (one + random.random_range(1..nodes)) % nodes)
    };
    let choice = random.random_range(0..100);
    let alive = running.get(random.random_range(0..running.len().max(1))).copied();
    match (choice, alive) {
        (0..20, Some(at)) => Fault::Kill(at),
        (20..27, Some(at)) => Fault::Stop(at),
        (27..35, Some(at)) => Fault::Freeze(at),
        (35..50, Some(at)) => Fault::Power(at),
        (50..54, _) => Fault::Blackout,
        (54..64, Some(at)) if torn => Fault::Torn(at, random.random_range(1..TORN_BYTES)),
        (64..72, _) => {
            let (one, other) = two(random);
            Fault::Cut(one, other)
        }
        (72..80, _) => {
            let (from, to) = two(random);
            Fault::OneWay { from, to }
        }
        (80..85, _) => Fault::Mute(any(random)),
        (85..90, _) => Fault::Deaf(any(random)),
        _ => {
            let first = any(random);
            let size = random.random_range(1..=nodes / 2);
            Fault::Split((0..size).map(|step| (first + step) % nodes).collect())
        }
    }
}

/// Which nodes do not run as they should.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    frozen: Vec<usize>,
}

impl Broken {
    /// Nodes that run and are not frozen.
    pub(crate) fn running(&self, hosts: &Hosts) -> Vec<usize> {
        let started = hosts.iter().enumerate().filter(|(_, host)| host.is_started());
        started.map(|(at, _)| at).filter(|at| !self.frozen.contains(at)).collect()
    }

    pub(crate) fn inflict(&mut self, fault: &Fault, hosts: &mut Hosts) -> Result<()> {
        let nodes = hosts.iter().count();
        match fault {
            Fault::Kill(at) => hosts[*at].kill9(),
            Fault::Stop(at) => drop(hosts[*at].stop()),
            Fault::Freeze(at) => {
                hosts[*at].freeze(true);
                self.frozen.push(*at);
            }
            Fault::Power(at) => {
                hosts[*at].cut_power()?;
                hosts[*at].restore_power()?;
            }
            Fault::Blackout => {
                // All first: none may write after another has lost its power.
                hosts.iter_mut().try_for_each(|host| host.cut_power())?;
                hosts.iter_mut().try_for_each(|host| host.restore_power())?;
                self.frozen.clear();
            }
            Fault::Torn(at, bytes) => {
                hosts[*at].kill9();
                tear(&hosts[*at].data_root(), *bytes)?;
            }
            Fault::Cut(one, other) => hosts.cut(*one, *other),
            Fault::OneWay { from, to } => hosts.cut_one_way(*from, *to),
            Fault::Mute(at) => others(nodes, *at).for_each(|other| hosts.cut_one_way(*at, other)),
            Fault::Deaf(at) => others(nodes, *at).for_each(|other| hosts.cut_one_way(other, *at)),
            Fault::Split(side) => {
                for one in side {
                    let rest = others(nodes, *one).filter(|other| !side.contains(other));
                    rest.for_each(|other| hosts.cut(*one, other));
                }
            }
        }
        Ok(())
    }

    /// Everything is connected and runs again, when this returns.
    pub(crate) fn mend(&mut self, hosts: &mut Hosts) -> Result<()> {
        hosts.heal();
        self.frozen.drain(..).for_each(|at| hosts[at].freeze(false));
        let ended: Vec<usize> =
            (0..hosts.iter().count()).filter(|at| !hosts[*at].is_started()).collect();
        for at in &ended {
            hosts[*at].launch()?;
        }
        ended.iter().try_for_each(|at| hosts[*at].await_ready())
    }
}

fn others(nodes: usize, one: usize) -> impl Iterator<Item = usize> {
    (0..nodes).filter(move |other| *other != one)
}

/// Takes so many bytes off the end of what the raft log holds.
fn tear(data_root: &Path, bytes: u64) -> Result<()> {
    let newest = newest_segment(&data_root.join("swarm/raft"))?;
    let file = File::options().read(true).write(true).open(&newest)?;
    let end = written(&file)?;
    file.set_len(end.saturating_sub(bytes))?;
    file.sync_all().context("tearing a raft log")
}

fn newest_segment(dir: &Path) -> Result<PathBuf> {
    let paths = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let segments = paths.flatten().map(|entry| entry.path());
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("log-") && !name.contains('.')
    };
    segments.filter(is_segment).max().context("a manager without a raft log")
}

/// How far the file is not zeros.
fn written(file: &File) -> Result<u64> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1))
}
