//! `cargo xtask mesh`: five hosts, a service with ten replicas behind the routing mesh, a machine outside that asks 1,000
//! times in a second by every host in turn; how many requests fail while the service and its cluster change.
//!
//! ```text
//! hub (outside) ── 1,000 requests/s, a connection each ──► any host:8080 ──► a task
//!                    meanwhile: updates, scaling, a drained node, a lost leader, daemons that restart
//! ```
//! The tasks are this program again (`mesh --serve`): a server that is healthy once it listens, and on SIGTERM ends what it
//! has begun and nothing else. Open loop: a slow answer delays nobody's question.

mod churn;
mod converge;
mod load;
mod serve;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::{Hosts, Options};

use crate::chores;
use load::{Counts, Load};

const HOSTS: u8 = 5;
const MANAGERS: usize = 3;
const PORT: u16 = 8080;
/// The size that the service has but for scaling.
const REPLICAS: u64 = 10;
/// Above anything here takes, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(300);
/// Requests go on for so long after each deployment has converged.
const AFTER: Duration = Duration::from_secs(3);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Requests in a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Only deployments whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Instead: random changes, so many, and whether every host is told the truth after each
    #[arg(long, value_name = "STEPS")]
    churn: Option<u32>,
    /// Instead: so many tasks are killed, and how long until no host leads to them
    #[arg(long, value_name = "TASKS")]
    converge: Option<usize>,
    /// Of the random changes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The sampan binary [default: built in release mode]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// What agents are upgraded to [default: the same binary, put in its place as another file]
    #[arg(long, value_name = "FILE")]
    upgrade_to: Option<PathBuf>,
    /// Be a task of the service: answer on this port until SIGTERM
    #[arg(long, hide = true, value_name = "PORT")]
    serve: Option<u16>,
    /// Be its health check
    #[arg(long, hide = true, value_name = "PORT")]
    check: Option<u16>,
}

/// What is done to the service or its cluster.
type Deployment = (&'static str, fn(&mut Mesh) -> Result<()>);

const DEPLOYMENTS: &[Deployment] = &[
    ("nothing", |_| Ok(())),
    ("update, stop-first", |mesh| mesh.update("stop-first", "1")),
    ("update, start-first", |mesh| mesh.update("start-first", "2")),
    ("scale 10 to 3", |mesh| mesh.scale(3)),
    ("scale 3 to 10", |mesh| mesh.scale(REPLICAS)),
    ("drain of a node", |mesh| mesh.drain("node5")),
    ("loss of the leader", Mesh::lose_the_leader),
    ("daemon restart, node1", |mesh| mesh.restart(0)),
    ("daemon restart, node2", |mesh| mesh.restart(1)),
    ("daemon restart, node3", |mesh| mesh.restart(2)),
    ("daemon restart, node4", |mesh| mesh.restart(3)),
    ("daemon restart, node5", |mesh| mesh.restart(4)),
    ("kill -9 of a daemon", |mesh| mesh.kill(3)),
    ("agent upgrade, all nodes", Mesh::upgrade),
];

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(port) = args.serve {
        return serve::serve(port);
    }
    if let Some(port) = args.check {
        return serve::check(port);
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run `cargo xtask mesh` as root"
    );
    let binary = args.binary.clone().map_or_else(chores::release_binary, Ok)?;
    // Daemons run from a place of their own, so that an upgrade can put another file there.
    let place = tempfile::tempdir()?;
    let installed = place.path().join("sampan");
    std::fs::copy(&binary, &installed)?;
    let newer = args.upgrade_to.clone().unwrap_or(binary);
    let options = Options { binary: Some(installed.clone()), ..Options::with_images(&["busybox"]) };
    let hosts = Hosts::try_start(HOSTS, &options)?;
    let mut mesh = Mesh { hosts, installed, newer };
    mesh.hosts.swarm(MANAGERS);
    if let Some(steps) = args.churn {
        return churn::run(&mut mesh.hosts, MANAGERS, steps, args.seed);
    }
    if let Some(times) = args.converge {
        return converge::run(&mesh.hosts, times);
    }
    mesh.create().context("the service does not run")?;
    let targets = mesh.hosts.iter().map(|host| (host.address(), PORT).into()).collect();
    let load = Load::start(mesh.hosts.hub().namespace(), targets, args.rate);
    let mut failed = 0;
    println!(
        "{:<26} {:>9} {:>9} {:>7} {:>9} {:>9}",
        "", "seconds", "requests", "failed", "p50 ms", "p99 ms"
    );
    for (name, deploy) in DEPLOYMENTS.iter().filter(|(name, _)| name.contains(&args.only)) {
        load.take();
        let began = Instant::now();
        let ended = deploy(&mut mesh);
        thread::sleep(AFTER);
        let counts = load.settle();
        failed += counts.failed;
        show(name, began.elapsed(), &counts);
        ended.with_context(|| (*name).to_owned())?;
    }
    drop(load);
    ensure!(failed == 0, "{failed} requests failed");
    Ok(())
}

fn show(name: &str, took: Duration, counts: &Counts) {
    let (p50, p99) = (counts.quantile(0.5), counts.quantile(0.99));
    println!(
        "{name:<26} {:>9.1} {:>9} {:>7} {p50:>9.2} {p99:>9.2}",
        took.as_secs_f64(),
        counts.answered + counts.failed,
        counts.failed
    );
    for (why, count) in &counts.reasons {
        println!("    {count} × {why}");
    }
}

struct Mesh {
    hosts: Hosts,
    /// The file that daemons are started from.
    installed: PathBuf,
    /// What takes its place in an upgrade.
    newer: PathBuf,
}

impl Mesh {
    fn create(&self) -> Result<()> {
        let program = std::env::current_exe()?;
        let mount = |source: &Path, target: &str| {
            format!("type=bind,source={},target={target},readonly", source.display())
        };
        let mounts = [
            mount(&program, "/task"),
            mount(Path::new("/lib"), "/lib"),
            mount(Path::new("/lib64"), "/lib64"),
        ];
        let replicas = REPLICAS.to_string();
        let mut words = vec![
            "service",
            "create",
            "--detach",
            "--name",
            "web",
            "--replicas",
            &replicas,
            "--publish",
            "8080:80",
            "--health-cmd",
            "/task mesh --check 80",
            "--health-interval",
            "5s",
            "--health-start-period",
            "60s",
            "--health-start-interval",
            "500ms",
            "--health-timeout",
            "60s",
            "--stop-grace-period",
            "30s",
            "--update-parallelism",
            "2",
        ];
        for mount in &mounts {
            words.extend(["--mount", mount]);
        }
        words.extend(["busybox", "/task", "mesh", "--serve", "80"]);
        self.manager(&words)?;
        self.converged(REPLICAS)
    }

    fn update(&mut self, order: &str, version: &str) -> Result<()> {
        let version = format!("VERSION={version}");
        let update =
            ["service", "update", "--detach", "--update-order", order, "--env-add", &version];
        self.manager(&[&update[..], &["web"]].concat())?;
        self.wait_for("the update", |mesh| {
            let state = mesh.manager(&[
                "service",
                "inspect",
                "--format",
                "{{.UpdateStatus.State}}",
                "web",
            ])?;
            ensure!(!state.contains("paused"), "the update is paused");
            Ok(state.trim() == "completed")
        })?;
        self.converged(REPLICAS)
    }

    fn scale(&mut self, replicas: u64) -> Result<()> {
        self.manager(&["service", "scale", "--detach", &format!("web={replicas}")])?;
        self.converged(replicas)
    }

    fn drain(&mut self, node: &str) -> Result<()> {
        self.manager(&["node", "update", "--availability", "drain", node])?;
        self.wait_for("the node to be empty", |mesh| {
            Ok(mesh.running(&["--filter", &format!("node={node}")])? == 0)
        })?;
        self.converged(REPLICAS)?;
        self.manager(&["node", "update", "--availability", "active", node]).map(drop)
    }

    fn lose_the_leader(&mut self) -> Result<()> {
        let leader = self.leader()?;
        self.hosts[leader].kill9();
        self.wait_for("another leader", |mesh| mesh.leader().map(|found| found != leader))?;
        self.manager(&["service", "update", "--detach", "--env-add", "VERSION=3", "web"])?;
        thread::sleep(AFTER);
        self.hosts[leader].try_again()?;
        self.converged(REPLICAS)
    }

    fn restart(&mut self, host: usize) -> Result<()> {
        self.hosts[host].stop();
        thread::sleep(AFTER);
        self.hosts[host].try_again()?;
        self.converged(REPLICAS)
    }

    fn kill(&mut self, host: usize) -> Result<()> {
        self.hosts[host].kill9();
        self.hosts[host].try_again()?;
        self.converged(REPLICAS)
    }

    /// As a package's upgrade does it: the file is replaced while the daemons run, then each is restarted in turn. Shims
    /// go on as they are.
    fn upgrade(&mut self) -> Result<()> {
        let beside = self.installed.with_extension("new");
        std::fs::copy(&self.newer, &beside)?;
        std::fs::rename(&beside, &self.installed)?;
        thread::sleep(AFTER);
        for host in 0..usize::from(HOSTS) {
            self.hosts[host].stop();
            self.hosts[host].try_again()?;
            let runs = std::fs::read_link(format!("/proc/{}/exe", self.hosts[host].pid()))?;
            ensure!(runs == self.installed, "the daemon runs {}", runs.display());
            self.converged(REPLICAS)?;
        }
        Ok(())
    }

    /// Which host leads, as the first manager that answers says.
    fn leader(&self) -> Result<usize> {
        let format = "{{if eq .ManagerStatus \"Leader\"}}{{.Hostname}}{{end}}";
        let said = self.manager(&["node", "ls", "--format", format])?;
        let number =
            said.trim().strip_prefix("node").and_then(|number| number.parse::<usize>().ok());
        number.map(|number| number - 1).context("nobody leads")
    }

    fn running(&self, filters: &[&str]) -> Result<u64> {
        let words =
            ["service", "ps", "--filter", "desired-state=running", "--format", "{{.CurrentState}}"];
        let said = self.manager(&[&words[..], filters, &["web"]].concat());
        // dockerd answers a filter that matches nothing with an error.
        let said = said.or_else(|err| match err.to_string().contains("no such") {
            true => Ok(String::new()),
            false => Err(err),
        })?;
        Ok(u64::try_from(said.lines().filter(|line| line.starts_with("Running")).count())?)
    }

    fn converged(&self, replicas: u64) -> Result<()> {
        self.wait_for("all to run", |mesh| Ok(mesh.running(&[])? == replicas))
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Mesh) -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let held = holds(self);
            if matches!(held, Ok(true)) {
                return Ok(());
            }
            if Instant::now() >= until {
                held.with_context(|| format!("waited in vain for {what}"))?;
                bail!("waited in vain for {what}");
            }
            thread::sleep(Duration::from_millis(250));
        }
    }

    /// Asks the managers in turn: one of them may be gone.
    fn manager(&self, words: &[&str]) -> Result<String> {
        let mut last = None;
        for host in 0..MANAGERS {
            if !self.hosts[host].is_started() {
                continue;
            }
            match self.hosts[host].docker(words).checked() {
                Ok(said) => return Ok(said),
                Err(err) => last = Some(err),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no manager runs")))
    }
}
