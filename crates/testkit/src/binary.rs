//! Finds the `sampan` binary that the tests are about.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// `$SAMPAN_BIN`, else what cargo built beside the running test or program.
pub fn sampan_binary() -> Result<PathBuf> {
    for name in ["SAMPAN_BIN", "CARGO_BIN_EXE_sampan"] {
        if let Some(path) = std::env::var_os(name) {
            return Ok(PathBuf::from(path));
        }
    }
    let here = std::env::current_exe()?;
    // target/debug/deps/test-… or target/debug/xtask: the binary is up to two folders above.
    here.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("sampan"))
        .find(|path| path.is_file())
        .context("no `sampan` binary beside the tests: run `cargo build -p sampan` (or `cargo xtask test`) first")
}
