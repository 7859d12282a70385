//! The project's chores: `cargo xtask <chore>`. Everything a developer or CI runs is here, so that both run the same.

mod bench;
mod chaos;
mod chores;
mod cluster;
mod compat;
mod debian;
mod demo;
mod fuzz;
mod images;
mod mesh;
mod record;
mod sim;
mod soak;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sampan's chores", disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build, start a private daemon, bring up the page counter, show it, clean up
    Demo(demo::Args),
    /// Several daemons in network namespaces as one swarm: up, down, kill, cut, heal
    Cluster(cluster::Args),
    /// Kill, cut and power off managers while clients write; every answer they got must hold
    Chaos(chaos::Args),
    /// Run every test, also those that need root and network namespaces
    Test {
        /// Further arguments of `cargo test`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Compare with Debian's dockerd, side by side in one run
    Bench(bench::Args),
    /// What CI runs: formatting, clippy, tests
    Ci,
    /// Five hosts, a service behind the mesh, 1,000 requests a second: how many fail while it changes
    Mesh(mesh::Args),
    /// Write dockerd's answers to the recorded requests into crates/sampan/tests/recorded
    Record(record::Args),
    /// Generated input: requests to a daemon, archives, Dockerfiles, filters …
    Fuzz(fuzz::Args),
    /// Create, remove, follow, flood for minutes; then look for what leaked
    Soak(soak::Args),
    /// Clients' flows against ours and dockerd, case by case
    Compat(compat::Args),
    /// Make the stand-in base images out of Debian packages
    Images(images::Args),
    /// Simulate whole clusters: --seeds N [--from S], --seed S --trace, --faults
    Sim(sim::Args),
    /// Check floors, headers, banned paths; report sizes
    Tidy,
    /// End and remove what dead test runs left behind (names smp-*)
    Sweep,
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Demo(args) => demo::run(&args),
        Chore::Chaos(args) => chaos::run(&args),
        Chore::Cluster(args) => cluster::run(&args),
        Chore::Test { args } => chores::test(&args),
        Chore::Bench(args) => bench::run(&args),
        Chore::Ci => chores::ci(),
        Chore::Mesh(args) => mesh::run(&args),
        Chore::Record(args) => record::run(&args),
        Chore::Soak(args) => soak::run(&args),
        Chore::Compat(args) => compat::run(&args),
        Chore::Images(args) => images::run(&args),
        Chore::Sim(args) => sim::run(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Tidy => tidy::run(),
        Chore::Sweep => chores::sweep(),
    }
}
