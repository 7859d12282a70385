//! `cargo xtask chaos --minutes N [--seed S]`: managers on hosts of their own fail at random while clients write; at the end
//! every answer that anyone got must have been true.
//!
//! ```text
//! round: faults ─► a while ─► mended ─► every manager takes writes again
//!                              … until the time is over …
//! end:   acknowledged writes · order of the registers · equal states · invariants · tasks · nothing left behind
//! ```
//!
//! The seed gives the faults, not the run: machines and clients are real, and so is their timing.

mod clients;
mod faults;
mod history;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::{Hosts, Options};

use crate::{chores, debian};
use clients::{Client, Counts, Shared};
use faults::{Broken, Fault};

/// Enough for two managers to fail.
const NODES: u8 = 5;
const CLIENTS: usize = 8;
/// Room for images, containers and log; taken from the real disk only as far as it is used.
const DISK_BYTES: u64 = 2 << 30;
/// A faulty disk may be met on so many nodes at once: the rest is a majority.
const TORN_AT_ONCE: usize = 2;
/// In the log of a manager that had lost its end, once it is back.
const MENDED: &str = "what the raft log had lost is back";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long to break things
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// What gives the faults [default: drawn]
    #[arg(long)]
    seed: Option<u64>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// The sampan binary [default: built in release mode]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What a run was.
#[derive(Debug, serde::Serialize)]
struct Summary {
    seed: u64,
    minutes: f64,
    rounds: u64,
    faults: BTreeMap<&'static str, u64>,
    #[serde(flatten)]
    counts: Counts,
    kept: usize,
    /// Seconds from everything mended to every manager taking writes.
    settled_median: f64,
    settled_worst: f64,
    /// The longest time in which nobody was acknowledged a write, faults or not.
    longest_gap: f64,
    /// The log's last entry.
    index: u64,
    tasks: usize,
    violations: Vec<String>,
    leaks: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask chaos` as root"
    );
    debian::ensure_installed(&[debian::BUILD, debian::RUN])?;
    let binary = args.binary.clone().map_or_else(chores::release_binary, Ok)?;
    testkit::images::make(&testkit::images::default_dir(), &["busybox"])?;
    let seed = args.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let options = Options {
        binary: Some(binary),
        own_disk_bytes: Some(DISK_BYTES),
        ..Options::with_images(&["busybox"])
    };
    let mut hosts = Hosts::try_start(NODES, &options)?;
    hosts.swarm(NODES.into());
    let ended = Run::new(args, seed).and_then(|run| run.go(&mut hosts));
    let is_sound = |summary: &Summary| summary.violations.is_empty() && summary.leaks.is_empty();
    if !ended.as_ref().is_ok_and(is_sound) {
        let kept = keep_logs(&hosts, seed)?;
        eprintln!("the daemons' logs are kept in {}", kept.display());
    }
    let summary = ended?;
    tell(&summary, args.json)?;
    ensure!(is_sound(&summary), "seed {seed} found something");
    Ok(())
}

struct Run {
    seed: u64,
    time: Duration,
    random: StdRng,
    began: Instant,
    faults: BTreeMap<&'static str, u64>,
    settled: Vec<Duration>,
}

impl Run {
    fn new(args: &Args, seed: u64) -> Result<Self> {
        let time = Duration::try_from_secs_f64(args.minutes * 60.0)?;
        Ok(Run {
            seed,
            time,
            random: StdRng::seed_from_u64(seed),
            began: Instant::now(),
            faults: BTreeMap::new(),
            settled: Vec::new(),
        })
    }

    fn say(&self, what: &str) {
        println!("[{:7.1} s] {what}", self.began.elapsed().as_secs_f64());
    }

    fn go(mut self, hosts: &mut Hosts) -> Result<Summary> {
        let sockets = hosts.iter().map(|host| host.socket()).collect();
        let shared = Shared::start(sockets)?;
        self.began = Instant::now();
        println!("seed {}", self.seed);
        std::thread::scope(|scope| {
            for number in 0..CLIENTS {
                let client = Client::new(&shared, number, self.seed);
                scope.spawn(move || client.run());
            }
            let broken = self.rounds(hosts, &shared);
            shared.end();
            broken
        })?;
        self.verify(hosts, &shared)
    }

    /// Breaks and mends until the time is over.
    fn rounds(&mut self, hosts: &mut Hosts, shared: &Shared) -> Result<()> {
        while self.began.elapsed() < self.time {
            let (mut broken, mut torn) = (Broken::default(), Vec::new());
            for _ in 0..self.random.random_range(1..=4) {
                let running = broken.running(hosts);
                let may_tear = torn.len() < TORN_AT_ONCE;
                let fault = faults::draw(&mut self.random, NODES.into(), &running, may_tear);
                self.say(&fault.to_string());
                *self.faults.entry(fault.kind()).or_default() += 1;
                if let Fault::Torn(at, _) = fault {
                    torn.push((at, mended_so_far(hosts, at)));
                }
                broken.inflict(&fault, hosts)?;
                self.wait(100..4000);
            }
            self.wait(200..8000);
            broken.mend(hosts)?;
            let round = self.settled.len() as u64;
            let settled = verify::settled(shared, NODES.into(), round)?;
            for (at, before) in torn {
                verify::eventually("what a torn log lost is back", || {
                    ensure!(mended_so_far(hosts, at) > before, "not on node{}", at + 1);
                    Ok(())
                })?;
            }
            self.say(&format!("mended; settled after {:.1} s", settled.as_secs_f64()));
            self.settled.push(settled);
            // What was wrong is wrong at once: nobody waits for the end to see it.
            if let Some(wrong) = shared.ledger().wrong.first() {
                bail!("{wrong}");
            }
            self.wait(0..2000);
        }
        Ok(())
    }

    fn wait(&mut self, millis: std::ops::Range<u64>) {
        std::thread::sleep(Duration::from_millis(self.random.random_range(millis)));
    }

    fn verify(mut self, hosts: &Hosts, shared: &Shared) -> Result<Summary> {
        self.say("no more faults; comparing");
        let tasks = verify::converged(shared, hosts)?;
        let (about, state) = verify::equal_states(shared, NODES.into())?;
        let ledger = shared.ledger();
        let mut violations = verify::ledger(&ledger, &state);
        violations.extend(verify::invariants(&state));
        let (counts, kept) = (ledger.counts.clone(), ledger.kept.len());
        let longest_gap = ledger.longest_gap.as_secs_f64();
        drop(ledger);
        let leaks = verify::leaks(shared, hosts)?;
        self.settled.sort();
        let settled = |at: usize| self.settled.get(at).map_or(0.0, Duration::as_secs_f64);
        Ok(Summary {
            seed: self.seed,
            minutes: self.time.as_secs_f64() / 60.0,
            rounds: self.settled.len() as u64,
            settled_median: settled(self.settled.len() / 2),
            settled_worst: settled(self.settled.len().saturating_sub(1)),
            faults: self.faults,
            counts,
            kept,
            longest_gap,
            index: about.index,
            tasks,
            violations,
            leaks,
        })
    }
}

/// How often the manager said that what its log had lost is back.
fn mended_so_far(hosts: &Hosts, at: usize) -> usize {
    hosts[at].log().matches(MENDED).count()
}

fn keep_logs(hosts: &Hosts, seed: u64) -> Result<PathBuf> {
    let kept = testkit::workspace().join(format!("target/chaos/{seed}"));
    fs::create_dir_all(&kept)?;
    for (at, host) in hosts.iter().enumerate() {
        fs::write(kept.join(format!("node{}.log", at + 1)), host.log())?;
    }
    Ok(kept)
}

fn tell(summary: &Summary, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(summary)?);
        return Ok(());
    }
    for sentence in summary.violations.iter().chain(&summary.leaks) {
        println!("WRONG: {sentence}");
    }
    let faults: u64 = summary.faults.values().sum();
    let counts = &summary.counts;
    println!(
        "chaos seed {}: {:.0} min, {} rounds, {faults} faults; {} writes acknowledged ({} kept at the end), {} refused, {} in \
         doubt, {} reads; {} calls on {} registers; settled in {:.1} s (worst {:.1} s); {} violations, {} leaks",
        summary.seed,
        summary.minutes,
        summary.rounds,
        counts.acknowledged,
        summary.kept,
        counts.refused,
        counts.doubtful,
        counts.reads,
        counts.calls,
        clients::REGISTERS,
        summary.settled_median,
        summary.settled_worst,
        summary.violations.len(),
        summary.leaks.len(),
    );
    Ok(())
}
