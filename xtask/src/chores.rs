//! Chores of a few lines each: run the tests, run what CI runs, clear away what dead runs left.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::debian;

/// `cargo test --workspace`, those tests included that need root and network namespaces.
pub(crate) fn test(args: &[String]) -> Result<()> {
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::TEST])?;
    sweep()?;
    testkit::images::make(&testkit::images::default_dir(), &[])?;
    // The tests of every crate drive this one binary.
    cargo(&["build", "--locked", "--package", "sampan"])?;
    let mut words = vec!["test", "--locked", "--workspace", "--no-fail-fast"];
    words.extend(args.iter().map(String::as_str));
    let outcome = cargo(&words);
    sweep()?;
    outcome
}

/// What `.ci/run` runs on a bare machine, in the same order.
pub(crate) fn ci() -> Result<()> {
    debian::ensure_installed(&[debian::BUILD, debian::RUN, debian::TEST])?;
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    test(&[])
}

/// Ends and removes what dead test runs left behind.
pub(crate) fn sweep() -> Result<()> {
    for token in testkit::sweep() {
        println!("cleared {token}");
    }
    Ok(())
}

/// Runs cargo, its output shown.
pub(crate) fn cargo(args: &[&str]) -> Result<()> {
    eprintln!("==> cargo {}", args.join(" "));
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(args)
        .current_dir(testkit::workspace())
        .stdin(Stdio::null())
        .status()
        .context("running cargo")?;
    ensure!(status.success(), "`cargo {}` failed", args.join(" "));
    Ok(())
}

/// Where cargo puts what it builds in release mode.
pub(crate) fn release_binary() -> Result<std::path::PathBuf> {
    cargo(&["build", "--locked", "--release", "--package", "sampan"])?;
    // This program lies in target/debug.
    let here = std::env::current_exe()?;
    let target = here.ancestors().nth(2).context("xtask runs outside a target directory")?;
    Ok(target.join("release/sampan"))
}
