//! How long a stack of twenty services of five tasks takes on five hosts: the same docker client against five dockerds
//! in a swarm and against five of ours, each with one manager and an overlay network for the stack.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use testkit::{Engine, Hosts, Options};

use super::Bench;
use super::table::{Table, Unit};

const HOSTS: u8 = 5;
const SERVICES: usize = 20;
const REPLICAS: usize = 5;
const DEPLOY: (&str, &str) =
    ("docker stack deploy, 20 services × 5 on 5 nodes → all tasks run", "≤ 0.33 ×");
const CHANGE: (&str, &str) = ("the same with another variable → all tasks are new and run", "");
const REMOVE: (&str, &str) = ("docker stack rm → no container is left", "");
/// Often enough for what takes seconds, and cheap for both sides.
const LOOK_EACH: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let sides = [
        (Engine::Dockerd, swarm(bench, Engine::Dockerd)?),
        (Engine::Sampan, swarm(bench, Engine::Sampan)?),
    ];
    for round in 0..bench.rounds {
        eprintln!("==> stack: round {}", round + 1);
        let first = round % 2;
        for (engine, hosts) in [&sides[first], &sides[1 - first]] {
            for ((name, goal), version) in [(DEPLOY, 1), (CHANGE, 2)] {
                let took = deploy(hosts, version)?;
                table.add(*engine, name, Unit::Seconds, goal, took);
            }
            table.add(*engine, REMOVE.0, Unit::Seconds, REMOVE.1, remove(hosts)?);
        }
    }
    Ok(())
}

/// Five hosts with the image, one of them a manager.
fn swarm(bench: &Bench, engine: Engine) -> Result<Hosts> {
    let binary = (engine == Engine::Sampan).then(|| bench.binary.clone());
    let options = Options { engine, binary, ..Options::with_images(&["busybox"]) };
    let hosts = Hosts::try_start(HOSTS, &options)?;
    hosts.swarm(1);
    // the first container of a daemon is slower than the next, on both sides
    for host in hosts.iter() {
        host.docker(&["run", "--rm", "busybox", "true"]).checked()?;
    }
    Ok(hosts)
}

fn file(version: u32) -> String {
    let mut text = String::from("version: \"3.8\"\nservices:\n");
    for number in 0..SERVICES {
        let _ = write!(
            text,
            "  s{number}:\n    image: busybox:latest\n    command: [sh, -c, \"trap 'exit 0' TERM; sleep 86400 & wait\"]\n    \
             environment: {{VERSION: \"{version}\"}}\n    deploy:\n      replicas: {REPLICAS}\n      update_config: {{parallelism: 0}}\n",
        );
    }
    text
}

/// Seconds until every task of this version runs.
fn deploy(hosts: &Hosts, version: u32) -> Result<f64> {
    let file_path = hosts[0].dir().join("bench.yml");
    fs::write(&file_path, file(version))?;
    let start = Instant::now();
    // No registry is asked on either side: there is none.
    let mut client = hosts[0].docker_command();
    client.args(["stack", "deploy", "--resolve-image", "never", "-c"]).arg(&file_path).arg("bench");
    let output = client.output()?;
    anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let env = format!("VERSION={version}");
    until(start, || Ok(running(hosts, &env)? == SERVICES * REPLICAS))
}

fn running(hosts: &Hosts, env: &str) -> Result<usize> {
    // {"desired-state":["running"]}
    let path = "/tasks?filters=%7B%22desired-state%22%3A%5B%22running%22%5D%7D";
    let tasks: Value = serde_json::from_slice(&hosts[0].request("GET", path, b"")?.body)?;
    let tasks = tasks.as_array().into_iter().flatten();
    let runs = tasks.filter(|task| {
        let its = &task["Spec"]["ContainerSpec"]["Env"];
        task["Status"]["State"] == "running"
            && its.as_array().is_some_and(|its| its.iter().any(|it| it == env))
    });
    Ok(runs.count())
}

/// Seconds until no host has a container of it.
fn remove(hosts: &Hosts) -> Result<f64> {
    let start = Instant::now();
    hosts[0].docker(&["stack", "rm", "bench"]).checked()?;
    let took = until(start, || {
        for host in hosts.iter() {
            let left: Value =
                serde_json::from_slice(&host.request("GET", "/containers/json?all=1", b"")?.body)?;
            if left.as_array().is_none_or(|left| !left.is_empty()) {
                return Ok(false);
            }
        }
        Ok(true)
    })?;
    // The network goes when the last task has let go of it; the next round makes it anew.
    until(start, || {
        let networks = hosts[0].docker(&["network", "ls", "-q", "--filter", "name=bench_default"]);
        if networks.stdout.trim().is_empty() {
            return Ok(true);
        }
        hosts[0].docker(&["network", "rm", "bench_default"]);
        Ok(false)
    })?;
    Ok(took)
}

fn until(start: Instant, mut is_so: impl FnMut() -> Result<bool>) -> Result<f64> {
    while !is_so()? {
        if start.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}");
        }
        std::thread::sleep(LOOK_EACH);
    }
    Ok(start.elapsed().as_secs_f64())
}
