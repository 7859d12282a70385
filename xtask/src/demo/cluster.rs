//! The second half of the demo: three nodes become a swarm, run a stack, change it, refuse a broken change, and lose one of
//! their number.

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
/// The demo's stack, as its variables have it.
const STACK: &str = r#"services:
  web:
    image: "${IMAGE:-nginx:latest}"
    environment: {GREETING: "${GREETING:-}"}
    ports: ["8080:80"]
    deploy:
      replicas: ${REPLICAS:-3}
      update_config: {order: start-first, failure_action: rollback, monitor: 1s}
"#;

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
    let file = first.dir().join("stack.yml");
    std::fs::write(&file, STACK).context("writing the stack's file")?;
    say(&format!("stack.yml:\n{STACK}"));
    let deploy = ["stack", "deploy", "--detach=false", "-c", "stack.yml", "demo"];
    stack(binary, first, &[], &deploy, 0)?;
    sampan(binary, first, &["stack", "ps", "demo"])?;
    for node in &nodes {
        visit(node)?;
    }
    let changed = [("REPLICAS", "5"), ("GREETING", "hello")];
    stack(binary, first, &changed, &["stack", "diff", "-c", "stack.yml", "demo"], 0)?;
    stack(binary, first, &changed, &deploy, 0)?;
    say("an image that nobody has: the managers go back by themselves");
    let broken = [changed[0], changed[1], ("IMAGE", "nowhere.invalid/none:1")];
    stack(binary, first, &broken, &deploy, 1)?;
    visit(first)?;
    let Some(lost) = hosts.iter_mut().last() else { bail!("no nodes were started") };
    say("node 3 loses its power: its tasks come back elsewhere");
    let began = Instant::now();
    lost.power_off();
    let Some(first) = hosts.iter().next() else { bail!("no nodes were started") };
    await_elsewhere(binary, first)?;
    say(&format!("five tasks run on two nodes, {:.1} s later", began.elapsed().as_secs_f64()));
    sampan(binary, first, &["node", "ls"])?;
    sampan(binary, first, &["stack", "ps", "demo"])?;
    sampan(binary, first, &["stack", "rm", "demo"])?;
    say("cleaning up");
    Ok(())
}

/// Runs our CLI in the node's folder with these variables, its output shown; `code` is how it has to end.
fn stack(
    binary: &Path,
    node: &Host,
    variables: &[(&str, &str)],
    args: &[&str],
    code: i32,
) -> Result<()> {
    let set = variables.iter().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
    let line = args.join(" ");
    say(&format!("node {}: {set}sampan {line}", node.address()));
    let mut command = command(binary, node, args);
    let command = command.current_dir(node.dir()).envs(variables.iter().copied());
    let status = command.status().context("running sampan")?;
    ensure!(status.code() == Some(code), "`sampan {line}` ended with {status}");
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
        let args = ["service", "ps", "--no-resolve", "-f", filter, "--format", format, "demo_web"];
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
