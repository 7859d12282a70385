//! How long `up -d` of a project of thirty services takes: docker-compose 1.29 against dockerd, our client against
//! our daemon, on the same image; with a network of its own, a dependency for every second service, and a second
//! `up` that finds nothing to do.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};
use testkit::{Daemon, Engine};

use super::Bench;
use super::table::{Table, Unit};

const SERVICES: usize = 30;
const UP: (&str, &str) = ("compose up -d, 30 services", "≤ 0.33 ×");
const AGAIN: (&str, &str) = ("the same again: nothing to do", "");
const DOWN: (&str, &str) = ("compose down of the same", "");

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let sides = [
        (Engine::Dockerd, bench.start(Engine::Dockerd)?),
        (Engine::Sampan, bench.start(Engine::Sampan)?),
    ];
    for (_, daemon) in &sides {
        let project = daemon.dir().join("thirty");
        fs::create_dir_all(&project)?;
        fs::write(project.join("docker-compose.yml"), file())?;
        daemon.docker(&["run", "--rm", "busybox", "true"]).checked()?; // warm both up alike
    }
    for round in 0..bench.rounds {
        eprintln!("==> compose: round {}", round + 1);
        let first = round % 2;
        for (engine, daemon) in [&sides[first], &sides[1 - first]] {
            let project = daemon.dir().join("thirty");
            for ((name, goal), words) in
                [(UP, &["up", "-d"][..]), (AGAIN, &["up", "-d"][..]), (DOWN, &["down", "-t", "1"])]
            {
                let took = time(bench, *engine, daemon, &project, words)?;
                table.add(*engine, name, Unit::Seconds, goal, took);
            }
        }
    }
    Ok(())
}

fn file() -> String {
    let mut text = String::from("version: \"3.7\"\nservices:\n");
    for number in 0..SERVICES {
        let _ = write!(
            text,
            "  s{number}:\n    image: busybox\n    command: [sh, -c, \"trap 'exit 0' TERM; sleep 86400 & wait\"]\n    environment: {{NUMBER: \"{number}\"}}\n",
        );
        if number % 2 == 1 {
            let _ = writeln!(text, "    depends_on: [s{}]", number - 1);
        }
    }
    text
}

fn time(
    bench: &Bench,
    engine: Engine,
    daemon: &Daemon,
    project: &Path,
    words: &[&str],
) -> Result<f64> {
    let start = Instant::now();
    if engine == Engine::Dockerd {
        let output = daemon.compose(project, words);
        let took = start.elapsed().as_secs_f64();
        output.checked()?;
        return Ok(took);
    }
    let host = daemon.host();
    let output = Command::new(&bench.binary)
        .envs([("DOCKER_HOST", &host), ("SAMPAN_HOST", &host)])
        .current_dir(project)
        .arg("compose")
        .args(words)
        .output()?;
    let took = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}
