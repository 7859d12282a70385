//! `cargo xtask demo`: the main job, from nothing to a page that counts, on a private daemon that disturbs nobody; then
//! three such daemons as a swarm.

mod cluster;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::{Daemon, Engine, Options};

use crate::{chores, debian};

/// Names the demo's directory, namespace and cgroup; not a test's name, so that `sweep` leaves a kept demo alone.
const TOKEN: &str = "smp-demo";
const PORT: u16 = 5000;
const VISITS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Leave it running and say how to use it
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// End a demo that was left running
    #[arg(long)]
    stop: bool,
    /// The sampan binary [default: built in release mode]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask demo` as root"
    );
    testkit::clear(TOKEN);
    testkit::clear(cluster::TOKEN);
    if args.stop {
        return Ok(());
    }
    debian::ensure_installed(&[debian::BUILD, debian::RUN])?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => {
            say("building the release binary");
            chores::release_binary()?
        }
    };
    say("making the base images out of Debian packages");
    let images = [&["redis:alpine", "python:3.7-alpine"], cluster::IMAGES].concat();
    testkit::images::make(&testkit::images::default_dir(), &images)?;
    say("starting a private daemon");
    let daemon = start(&binary)?;
    let demo = Demo { binary, daemon, project: testkit::workspace().join("examples/page-counter") };
    demo.show()?;
    if args.keep {
        demo.leave();
        return Ok(());
    }
    demo.sampan(&["down", "--volumes"])?;
    let Demo { binary, daemon, .. } = demo;
    drop(daemon);
    cluster::show(&binary)
}

fn start(binary: &Path) -> Result<Daemon> {
    Daemon::try_start(Options {
        engine: Engine::Sampan,
        token: Some(TOKEN.to_owned()),
        binary: Some(binary.to_owned()),
        ..Options::with_images(&["redis:alpine", "python:3.7-alpine"])
    })
}

struct Demo {
    binary: PathBuf,
    daemon: Daemon,
    project: PathBuf,
}

impl Demo {
    fn show(&self) -> Result<()> {
        self.sampan(&["up", "-d"])?;
        self.visit()?;
        self.sampan(&["ps"])?;
        self.sampan(&["compose", "logs", "webtest"])?;
        self.sampan(&["stats", "--no-stream"])
    }

    /// Requests the page until it has counted; the web service takes a moment to listen.
    fn visit(&self) -> Result<()> {
        say(&format!("requesting http://localhost:{PORT}/"));
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut counted = 0;
        while counted < VISITS {
            match self.daemon.fetch(PORT, "/") {
                Ok(page) if page.status == 200 => {
                    print!("{}", page.text());
                    counted += 1;
                }
                _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Ok(page) => bail!("the page answers {}: {}", page.status, page.text()),
                Err(err) => return Err(err.context("the page does not answer")),
            }
        }
        Ok(())
    }

    /// Runs our CLI in the project's folder, its output shown.
    fn sampan(&self, args: &[&str]) -> Result<()> {
        say(&format!("sampan {}", args.join(" ")));
        let status = Command::new(&self.binary)
            .args(args)
            .env("SAMPAN_HOST", self.daemon.host())
            .current_dir(&self.project)
            .stdin(Stdio::null())
            .status()
            .context("running sampan")?;
        ensure!(status.success(), "`sampan {}` failed", args.join(" "));
        Ok(())
    }

    fn leave(self) {
        println!("\nThe daemon runs on in its own network namespace.");
        println!("  export SAMPAN_HOST={host} DOCKER_HOST={host}", host = self.daemon.host());
        println!("  {} ps", self.binary.display());
        println!(
            "  nsenter --net={} curl localhost:{PORT}",
            self.daemon.namespace().path().display()
        );
        println!("  cargo xtask demo --stop");
        println!("Three nodes to play with: cargo xtask cluster up");
        std::mem::forget(self.daemon);
    }
}

fn say(what: &str) {
    eprintln!("==> {what}");
}
