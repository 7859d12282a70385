//! Chores of a few lines each: run the tests, run what CI runs, clear away what dead runs left.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{debian, sim};

/// Simulated clusters in each run of CI: about half a minute, and a minute to build.
const SIM_SEEDS: u64 = 2000;

/// `cargo test --workspace`, those tests included that need root and network namespaces.
pub(crate) fn test(args: &[String]) -> Result<()> {
    let failed = run_tests(args)?;
    ensure!(failed.is_empty(), "tests failed: {}", failed.join(", "));
    Ok(())
}

/// What `.ci/run` runs on a bare machine, in the same order. A target that fails is run once more, alone: one that
/// passes then is named as flaky, and is a bug to be mended, but it does not cost everybody's work.
pub(crate) fn ci() -> Result<()> {
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::TEST])?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    sim::run(&sim::Args::seeds(SIM_SEEDS))?;
    let failed = run_tests(&[])?;
    for target in &failed {
        let words: Vec<&str> = ["test", "--locked"].into_iter().chain(target.split(' ')).collect();
        let again = cargo_test(&words);
        sweep()?;
        ensure!(again?.is_empty(), "failed twice: {target}");
    }
    for target in &failed {
        println!("FLAKY: `cargo test {target}` failed once and passed when run again");
    }
    Ok(())
}

/// Makes what the tests need and runs them; returns the targets that failed.
fn run_tests(args: &[String]) -> Result<Vec<String>> {
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::TEST])?;
    sweep()?;
    testkit::images::make(&testkit::images::default_dir(), &[])?;
    // The tests of every crate drive this one binary.
    cargo(&["build", "--locked", "--package", "sampan"])?;
    let mut words = vec!["test", "--locked", "--workspace", "--no-fail-fast"];
    words.extend(args.iter().map(String::as_str));
    let failed = cargo_test(&words);
    sweep()?;
    failed
}

/// Runs `cargo test`, its output shown. Returns the targets that failed, as the words that run them again:
/// `-p runtime --test containers`.
fn cargo_test(words: &[&str]) -> Result<Vec<String>> {
    let mut run = cargo_command(words).stderr(Stdio::piped()).spawn().context("running cargo")?;
    let told = run.stderr.take().context("cargo's messages")?;
    let mut failed = Vec::new();
    for line in BufReader::new(told).lines() {
        let line = line?;
        eprintln!("{line}");
        let again = line.split_once("to rerun pass `").and_then(|(_, rest)| rest.split_once('`'));
        failed.extend(again.map(|(target, _)| target.to_owned()));
    }
    let status = run.wait()?;
    ensure!(status.success() || !failed.is_empty(), "`cargo {}` failed", words.join(" "));
    Ok(failed)
}

/// Ends and removes what dead test runs left behind.
pub(crate) fn sweep() -> Result<()> {
    for token in testkit::sweep() {
        println!("cleared {token}");
    }
    Ok(())
}

/// Runs cargo, its output shown and answered.
pub(crate) fn cargo_output(args: &[&str]) -> Result<String> {
    let mut run = cargo_command(args).stdout(Stdio::piped()).spawn().context("running cargo")?;
    let told = run.stdout.take().context("cargo's output")?;
    let mut output = String::new();
    for line in BufReader::new(told).lines() {
        let line = line?;
        println!("{line}");
        output += &line;
        output += "\n";
    }
    ensure!(run.wait()?.success(), "`cargo {}` failed", args.join(" "));
    Ok(output)
}

/// Runs cargo, its output shown.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    let status = cargo_command(args).status().context("running cargo")?;
    ensure!(status.success(), "`cargo {}` failed", args.join(" "));
    Ok(())
}

fn cargo_command(args: &[&str]) -> Command {
    eprintln!("==> cargo {}", args.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(testkit::workspace()).stdin(Stdio::null());
    command
}

/// Where cargo puts what it builds in release mode.
pub(crate) fn release_binary() -> Result<std::path::PathBuf> {
    cargo(&["build", "--locked", "--release", "--package", "sampan"])?;
    Ok(release_dir()?.join("sampan"))
}

/// Builds an example in release mode; where it lies.
pub(crate) fn release_example(package: &str, name: &str) -> Result<std::path::PathBuf> {
    cargo(&["build", "--locked", "--release", "--package", package, "--example", name])?;
    Ok(release_dir()?.join("examples").join(name))
}

fn release_dir() -> Result<std::path::PathBuf> {
    // This program lies in target/debug.
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("xtask runs outside a target directory")?;
    Ok(target.join("release"))
}
