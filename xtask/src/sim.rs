//! `cargo xtask sim`: the seeded simulation of a whole cluster, built for speed with assertions. Reads
//! nothing; what it finds is printed by the simulation itself.

use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// `--seeds N [--from S]`, `--seed S --trace`, `--faults`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

impl Args {
    /// The first so many seeds.
    pub(crate) fn seeds(count: u64) -> Args {
        Args { args: vec!["--seeds".to_owned(), count.to_string()] }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let status = Command::new(cargo)
        .args(["run", "--locked", "--quiet", "--profile", "sim", "--package", "sim", "--"])
        .args(&args.args)
        .current_dir(testkit::workspace())
        .status()
        .context("failed to run cargo")?;
    ensure!(status.success(), "the simulation found something");
    Ok(())
}
