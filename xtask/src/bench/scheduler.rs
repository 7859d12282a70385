//! Placements: the scheduler's example, in release mode. Alone, one thread, no containers, no root.

use anyhow::{Context, Result, ensure};

use super::page;
use crate::chores;

/// Runs it, its table shown line by line; with `write` the table goes into the page.
pub(crate) fn run(write: bool) -> Result<()> {
    let table =
        chores::cargo_output(&["run", "--release", "-q", "-p", "scheduler", "--example", "bench"])?;
    ensure!(table.lines().count() > 2, "the benchmark printed no table");
    if !write {
        return Ok(());
    }
    let text = format!(
        "Made by `cargo xtask bench scheduler --write`: one thread, its CPU time; {} at the end. Constraints, reserved CPUs and \
         memory, two spread levels.\n\n{table}",
        page::machine()
    );
    page::write("Scheduler", &text).context("the scheduler's table")
}
