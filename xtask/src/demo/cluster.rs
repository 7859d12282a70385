//! The second half of the demo: three nodes become a swarm, run a service, change it, and lose one of their number.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use testkit::{Engine, Host, Hosts, Options};

use super::say;

/// Names all that belongs to it; not a test's name, so that `sweep` leaves it alone.
pub(super) const TOKEN: &str = "smp-three";
pub(super) const IMAGES: &[&str] = &["nginx:latest"];
const NODES: u8 = 3;
const PORT: u16 = 8080;
/// Much longer than anything here takes, on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Shows it from nothing to nothing.
pub(super) fn show(binary: &Path) -> Result<()> {
    testkit::clear(TOKEN);
    say("starting three nodes, each in a network namespace of its own");
    let options = Options {
        engine: Engine::Sampan,
        token: Some(TOKEN.to_owned()),
        binary: Some(binary.to_owned()),
        ..Options::with_images(IMAGES)
    };
    let mut hosts = Hosts::try_start(NODES, &options)?;
    let nodes: Vec<&Host> = hosts.iter().collect();
    let [first, others @ ..] = nodes.as_slice() else { bail!("no nodes were started") };
    let address = first.address().to_string();
    sampan(binary, first, &["init", "--advertise-addr", &address])?;
    let token = quiet(binary, first, &["swarm", "join-token", "-q", "manager"])?;
    for other in others {
        sampan(binary, other, &["join", "--token", token.trim(), &format!("{address}:2377")])?;
    }
    await_nodes(binary, first, 3)?;
    sampan(binary, first, &["node", "ls"])?;
    let publish = format!("{PORT}:80");
    let create = ["service", "create", "--name", "web", "--replicas", "3", "-p", &publish];
    sampan(binary, first, &[&create, &["nginx:latest"][..]].concat())?;
    sampan(binary, first, &["service", "ps", "web"])?;
    for node in &nodes {
        visit(node)?;
    }
    sampan(binary, first, &["service", "scale", "web=5"])?;
    sampan(binary, first, &["plan", "--env-add", "GREETING=hello", "web"])?;
    sampan(binary, first, &["service", "update", "--env-add", "GREETING=hello", "web"])?;
    let Some(lost) = hosts.iter_mut().last() else { bail!("no nodes were started") };
    say("node 3 loses its power: its tasks come back elsewhere");
    let began = Instant::now();
    lost.power_off();
    let Some(first) = hosts.iter().next() else { bail!("no nodes were started") };
    await_elsewhere(binary, first)?;
    say(&format!("five tasks run on two nodes, {:.1} s later", began.elapsed().as_secs_f64()));
    sampan(binary, first, &["node", "ls"])?;
    sampan(binary, first, &["service", "ps", "web"])?;
    sampan(binary, first, &["service", "rm", "web"])?;
    say("cleaning up");
    Ok(())
}

/// Runs our CLI against one node, its output shown.
fn sampan(binary: &Path, node: &Host, args: &[&str]) -> Result<()> {
    // The token is the cluster's secret, if only a demo's.
    let shown =
        args.iter().map(|word| if word.starts_with("SWMTKN") { "SWMTKN-1-…" } else { word });
    say(&format!("node {}: sampan {}", node.address(), shown.collect::<Vec<_>>().join(" ")));
    let status = command(binary, node, args).status().context("running sampan")?;
    ensure!(status.success(), "`sampan {}` failed", args.join(" "));
    Ok(())
}

fn quiet(binary: &Path, node: &Host, args: &[&str]) -> Result<String> {
    let Output { status, stdout, stderr } =
        command(binary, node, args).output().context("running sampan")?;
    let error = String::from_utf8_lossy(&stderr);
    ensure!(status.success(), "`sampan {}` failed: {error}", args.join(" "));
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn command(binary: &Path, node: &Host, args: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(args).env("SAMPAN_HOST", node.host()).stdin(Stdio::null());
    command
}

fn await_nodes(binary: &Path, node: &Host, wanted: usize) -> Result<()> {
    until("the nodes are ready", || {
        let words = quiet(binary, node, &["node", "ls", "--format", "{{.Status}}"])?;
        Ok(words.lines().filter(|word| *word == "Ready").count() == wanted)
    })
}

/// Five tasks run, none of them on the node that is gone.
fn await_elsewhere(binary: &Path, node: &Host) -> Result<()> {
    until("the tasks run elsewhere", || {
        let down = quiet(binary, node, &["node", "ls", "--format", "{{.Status}} {{.ID}}"])?;
        let Some(lost) = down.lines().find_map(|line| line.strip_prefix("Down ")) else {
            return Ok(false);
        };
        let format = "{{.CurrentState}}|{{.Node}}";
        let filter = "desired-state=running";
        let args = ["service", "ps", "--no-resolve", "-f", filter, "--format", format, "web"];
        let tasks = quiet(binary, node, &args)?;
        let lives =
            tasks.lines().filter(|line| line.starts_with("Running") && !line.ends_with(lost));
        Ok(lives.count() == 5)
    })
}

fn visit(node: &Host) -> Result<()> {
    until("the page answers", || {
        let page = node.fetch(PORT, "/");
        Ok(page.is_ok_and(|page| page.status == 200))
    })?;
    say(&format!("http://{}:{PORT}/ answers", node.address()));
    Ok(())
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
