//! `cargo xtask bench`: side by side with Debian's dockerd in one run, samples taken in turns, medians and their ratios.
//! Programs, never timed tests: figures depend on the machine, and are read by people.
//!
//! | name | measures |
//! |---|---|
//! | `run` | `docker run --rm busybox true`, and with `--network none` |
//! | `exec` | `docker exec C true` |
//! | `memory` | daemon and helpers: idle, with 10 and 100 containers |
//! | `stack` | twenty services of five tasks on five hosts, beside a swarm of five dockerds; its section is written alone |
//! | `compose` | `up -d` of thirty services, beside docker-compose 1.29; its section is written alone |
//! | `logs` | a million lines of 101 bytes: written, read back |
//! | `dns` | the resolver in a container: queries in a second, how long one takes; its section is written alone |
//! | `writes` | replicated writes of three managers, set beside etcd's; alone; its table is printed only |
//! | `fleet` | three managers, 1,000 agents without containers, 30,000 tasks; likewise |
//! | `idle` | memory and CPU of a quiet cluster with 100 tasks; likewise |
//! | `scheduler` | placements, one thread, no containers; alone and without root |

mod compose;
mod dns;
mod fleet;
mod idle;
mod logs;
mod memory;
pub(crate) mod page;
mod run;
mod scheduler;
mod stack;
mod table;
mod writes;

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
    #[arg(value_parser = ["run", "exec", "memory", "logs", "compose", "stack", "dns", "writes", "fleet", "idle", "scheduler"])]
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
    #[command(flatten)]
    fleet: fleet::Size,
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
        return scheduler::run(args.write);
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask bench` as root"
    );
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::BENCH])?;
    let binary = args.binary.clone().map_or_else(chores::release_binary, Ok)?;
    let bench = Bench { rounds: args.rounds.max(1), binary };
    if args.names == ["writes"] {
        debian::ensure_installed(&[debian::ETCD])?;
        println!("\n{}\n{}", writes::measure(&bench)?, writes::load_average());
        return Ok(());
    }
    if args.names == ["fleet"] {
        println!("\n{}", fleet::measure(&bench, &args.fleet)?);
        return Ok(());
    }
    if args.names == ["idle"] {
        println!("\n{}", idle::measure(&bench)?);
        return Ok(());
    }
    if args.names == ["compose"] {
        let mut table = Table::default();
        compose::measure(&bench, &mut table)?;
        println!("\n{table}");
        if args.write {
            let text = format!(
                "Made by `cargo xtask bench compose --write`: docker-compose 1.29 against dockerd 20.10, our client \
                 against our daemon, in turns in one run, {} rounds. {}.\n\n{table}",
                bench.rounds,
                page::machine(),
            );
            page::write("Compose", &text)?;
        }
        return Ok(());
    }
    if args.names == ["stack"] {
        let mut table = Table::default();
        stack::measure(&bench, &mut table)?;
        println!("\n{table}");
        if args.write {
            let text = format!(
                "Made by `cargo xtask bench stack --write`: five hosts in network namespaces on each side, one of them a \
                 manager, the same docker client, in turns in one run, {} rounds; dockerd is Debian's 20.10. {}.\n\n{table}",
                bench.rounds,
                page::machine(),
            );
            page::write("Stacks on five nodes", &text)?;
        }
        return Ok(());
    }
    if args.names == ["dns"] {
        let mut table = Table::default();
        dns::measure(&bench, &mut table)?;
        println!("\n{table}\n{}", writes::load_average());
        if args.write {
            let text = format!(
                "Made by `cargo xtask bench dns --write`: names of eight containers on a network, asked over UDP at 127.0.0.11 from \
                 within one of them; dockerd 20.10 and ours in turns in one run, {} rounds. {}.\n\n{table}",
                bench.rounds,
                page::machine(),
            );
            page::write("Names", &text)?;
        }
        return Ok(());
    }
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
        page::write("Beside dockerd", &section(&text, bench.rounds))?;
    }
    failures.into_iter().next().map_or(Ok(()), Err)
}

fn section(table: &str, rounds: usize) -> String {
    format!(
        "Made by `cargo xtask bench --write`: Sampan and Debian's dockerd 20.10 side by side in one run, each in \
         a network namespace of its own,\nsamples taken in turns, {rounds} rounds. {machine} at the end. Medians; the \
         same engine against itself gives ratios of 0.8 to 1.1, so that differences\nunder a quarter prove nothing. Times \
         include the docker CLI's own start.\n\n{table}\nMemory is PSS (shared pages divided among their users) of daemon, \
         containerd and shims, without the containers' own processes;\nprivate memory of a container is its shim's and its \
         share of the daemon's growth.\n",
        machine = page::machine(),
    )
}
