//! `cargo xtask images`: makes the base images, and loads them into an engine when asked.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to keep them [default: target/images]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Load them into the engine that listens on this unix socket
    #[arg(long, value_name = "SOCKET")]
    load: Option<PathBuf>,
    /// Which images (all of them when none is named)
    references: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let dir = args.out.clone().unwrap_or_else(testkit::images::default_dir);
    let references: Vec<&str> = args.references.iter().map(String::as_str).collect();
    for archive in testkit::images::make(&dir, &references)? {
        println!("{} ({:.1} MB)", archive.display(), archive.metadata()?.len() as f64 / 1e6);
        if let Some(socket) = &args.load {
            let stream = UnixStream::connect(socket)
                .with_context(|| format!("connecting to {}", socket.display()))?;
            let reply = testkit::load_archive(stream, File::open(&archive)?)?;
            ensure!(
                reply.status == 200,
                "the engine refused {}: {}",
                archive.display(),
                reply.text()
            );
        }
    }
    Ok(())
}
