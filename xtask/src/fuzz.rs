//! `cargo xtask fuzz TARGET --minutes N`: generated input for as long as one likes: requests to a daemon (`api`), Compose files
//! (built for speed with assertions), and what crates' own fuzz tests are fed.
//!
//! Stable Rust and seeds only: what failed is tried again with the seed that it named.

mod api;
mod made;
mod spec;

use std::process::Command;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to feed
    #[arg(value_parser = ["api", "compose", "dockerfile", "dockerignore", "filters", "reference", "tar"])]
    target: String,
    #[arg(long, default_value_t = 1)]
    minutes: u64,
    /// The same seed gives the same inputs
    #[arg(long)]
    seed: Option<u64>,
}

/// Targets that are tests of crates: the crate, and the test's name.
const TESTS: &[(&str, &str, &str)] = &[
    ("dockerfile", "dockerfile", "fuzz_dockerfile"),
    ("dockerignore", "dockerfile", "fuzz_dockerignore"),
    ("filters", "engine", "fuzz_filters"),
    ("reference", "image", "fuzz_reference"),
    ("tar", "image", "fuzz_tar"),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    match args.target.as_str() {
        "api" => api::run(args.minutes, args.seed),
        "compose" => {
            let (minutes, seed) = (args.minutes.to_string(), args.seed.unwrap_or(1).to_string());
            let words = ["run", "--locked", "--quiet", "--profile", "sim", "--package", "compose"];
            let rest = ["--example", "fuzz", "--", "--minutes", &minutes, "--seed", &seed];
            cargo(&[&words[..], &rest].concat(), &[])
        }
        target => {
            let found = TESTS.iter().find(|(name, ..)| *name == target);
            let (_, package, test) = found.context("no such target")?;
            let limit = match args.seed {
                Some(seed) => ("FUZZ_SEED", seed.to_string()),
                None => ("FUZZ_SECONDS", (args.minutes * 60).to_string()),
            };
            cargo(&["test", "--locked", "--package", package, test, "--", "--nocapture"], &[limit])
        }
    }
}

fn cargo(words: &[&str], env: &[(&str, String)]) -> Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(words).envs(env.iter().map(|(name, value)| (name, value)));
    let status = command.current_dir(testkit::workspace()).status().context("running cargo")?;
    ensure!(status.success(), "the fuzzer found something");
    Ok(())
}
