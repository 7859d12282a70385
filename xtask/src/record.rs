//! `cargo xtask record`: asks Debian's dockerd the recorded requests and writes its answers beside them. The test
//! `recorded` of the crate `sampan` compares ours.

use std::fs;

use anyhow::Result;
use testkit::{Daemon, Engine, Options, recorded};

use crate::debian;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ask ours instead and print where it differs; write nothing
    #[arg(long)]
    compare: bool,
    /// Only files whose name contains this
    #[arg(default_value = "")]
    only: String,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    debian::ensure_installed(&[debian::RUN, debian::TEST])?;
    let engine = if args.compare { Engine::Sampan } else { Engine::Dockerd };
    let dir = testkit::workspace().join("crates/sampan/tests/recorded");
    for path in recorded::files(&dir)? {
        if !path.to_string_lossy().contains(&args.only) {
            continue;
        }
        println!("{}", path.display());
        let daemon = Daemon::try_start(Options { engine, ..Options::with_images(&["busybox"]) })?;
        let mut cases = recorded::parse(&fs::read_to_string(&path)?)?;
        if args.compare {
            for told in recorded::compare(&daemon, &cases)? {
                println!("  {told}");
            }
        } else {
            recorded::record(&daemon, &mut cases)?;
            fs::write(&path, recorded::print(&cases))?;
        }
    }
    Ok(())
}
