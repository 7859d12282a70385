//! `cargo xtask bench`: side by side with Debian's dockerd in one run, samples taken in turns, medians and their ratios.
//! Programs, never timed tests: figures depend on the machine, and are read by people.
//!
//! | name | measures |
//! |---|---|
//! | `run` | `docker run --rm busybox true`, and with `--network none` |
//! | `exec` | `docker exec C true` |
//! | `memory` | daemon and helpers: idle, with 10 and 100 containers |
//! | `logs` | a million lines of 101 bytes: written, read back |
//! | `scheduler` | placements, one thread, no containers; alone and without root; its table is printed only |

mod logs;
mod memory;
mod run;
mod table;

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use testkit::{Daemon, Engine, Options};

use crate::{chores, debian};
use table::Table;

/// A container's command that ends on SIGTERM; a bare `sleep` as process 1 would sit out the grace period.
const TRAP: &[&str] = &["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which benchmarks (all when none is named)
    #[arg(value_parser = ["run", "exec", "memory", "logs", "scheduler"])]
    names: Vec<String>,
    /// How many rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Also write the table to docs/benchmarks.md
    #[arg(long)]
    write: bool,
    /// The sampan binary [default: built in release mode]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// What every benchmark is given.
pub(crate) struct Bench {
    rounds: usize,
    binary: PathBuf,
}

impl Bench {
    /// Starts one side with busybox loaded.
    fn start(&self, engine: Engine) -> Result<Daemon> {
        let binary = (engine == Engine::Sampan).then(|| self.binary.clone());
        Daemon::try_start(Options { engine, binary, ..Options::with_images(&["busybox"]) })
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.names == ["scheduler"] {
        return chores::cargo(&["run", "--release", "-q", "-p", "scheduler", "--example", "bench"]);
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask bench` as root"
    );
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::BENCH])?;
    let binary = args.binary.clone().map_or_else(chores::release_binary, Ok)?;
    let bench = Bench { rounds: args.rounds.max(1), binary };
    let is_chosen =
        |name: &str| args.names.is_empty() || args.names.iter().any(|chosen| chosen == name);
    let mut table = Table::default();
    // One that fails does not take the figures of the others along.
    let mut failures = Vec::new();
    if is_chosen("run") || is_chosen("exec") {
        failures
            .extend(run::measure(&bench, &mut table, is_chosen("run"), is_chosen("exec")).err());
    }
    if is_chosen("logs") {
        failures.extend(logs::measure(&bench, &mut table).err());
    }
    if is_chosen("memory") {
        failures.extend(memory::measure(&bench, &mut table).err());
    }
    let text = table.to_string();
    println!("\n{text}");
    if args.write && failures.is_empty() {
        let path = testkit::workspace().join("docs/benchmarks.md");
        fs::write(&path, page(&text, bench.rounds))?;
        println!("written to {}", path.display());
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn page(table: &str, rounds: usize) -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "# Benchmarks\n\nMade by `cargo xtask bench --write`: Sampan and Debian's dockerd 20.10 side by side in one run, each in \
         a network namespace of its own,\nsamples taken in turns, {rounds} rounds. {cpus} CPUs, Linux {kernel}, load average {load} at the end. Medians; the \
         same engine against itself gives ratios of 0.8 to 1.1, so that differences\nunder a quarter prove nothing. Times \
         include the docker CLI's own start.\n\n{table}\nMemory is PSS (shared pages divided among their users) of daemon, \
         containerd and shims, without the containers' own processes;\nprivate memory of a container is its shim's and its \
         share of the daemon's growth.\n",
        kernel = kernel.trim(),
        load = load.split(' ').next().unwrap_or("?"),
    )
}
