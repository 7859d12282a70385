//! `cargo xtask fuzz TARGET --minutes N`: random input for as long as one likes, built for speed with assertions.

use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to feed: the loader of Compose files
    #[arg(value_parser = ["compose"])]
    target: String,
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// The same seed gives the same inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let (minutes, seed) = (args.minutes.to_string(), args.seed.to_string());
    let status = Command::new(cargo)
        .args(["run", "--locked", "--quiet", "--profile", "sim", "--package", &args.target])
        .args(["--example", "fuzz", "--", "--minutes", &minutes, "--seed", &seed])
        .current_dir(testkit::workspace())
        .status()
        .context("failed to run cargo")?;
    ensure!(status.success(), "the fuzzer found something");
    Ok(())
}
