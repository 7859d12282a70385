//! A million lines of 101 bytes through a container's log: from start to exit, and read back. dockerd writes with `local`,
//! the faster of its drivers.

use std::io::Read;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use testkit::{Daemon, Engine};

use super::Bench;
use super::table::{Table, Unit};

const LINES: usize = 1_000_000;
const WRITE: (&str, &str) = ("log: 1 M lines × 101 B written (start → exit)", "≤ 1 ×");
const READ: (&str, &str) = ("log: the same read back by docker logs", "≤ 0.33 ×");

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let sides = [
        (Engine::Dockerd, bench.start(Engine::Dockerd)?),
        (Engine::Sampan, bench.start(Engine::Sampan)?),
    ];
    for round in 0..bench.rounds {
        eprintln!("==> logs: round {}", round + 1);
        for (engine, daemon) in [&sides[round % 2], &sides[1 - round % 2]] {
            table.add(*engine, WRITE.0, Unit::Seconds, WRITE.1, write(*engine, daemon)?);
            table.add(*engine, READ.0, Unit::Seconds, READ.1, read(daemon)?);
            daemon.docker(&["rm", "-f", "lines"]).checked()?;
        }
    }
    Ok(())
}

fn write(engine: Engine, daemon: &Daemon) -> Result<f64> {
    let driver = match engine {
        Engine::Sampan => "json-file",
        Engine::Dockerd => "local",
    };
    let script = format!("yes {} | head -n {LINES}", "0123456789".repeat(10));
    let create = [
        "create",
        "--name",
        "lines",
        "--network",
        "none",
        "--log-driver",
        driver,
        "--log-opt",
        "max-size=2g",
        "busybox",
        "sh",
        "-c",
    ];
    daemon.docker(&[&create[..], &[&script]].concat()).checked()?;
    let start = Instant::now();
    daemon.docker(&["start", "lines"]).checked()?;
    let code = daemon.docker(&["wait", "lines"]).checked()?;
    ensure!(code.trim() == "0", "the writer ended with {code}");
    Ok(start.elapsed().as_secs_f64())
}

fn read(daemon: &Daemon) -> Result<f64> {
    let start = Instant::now();
    let mut child = daemon
        .docker_command()
        .args(["logs", "lines"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdout = child.stdout.take().context("no pipe to the client")?;
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        let read = stdout.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        lines += buffer[..read].iter().filter(|&&byte| byte == b'\n').count();
    }
    ensure!(child.wait()?.success() && lines == LINES, "read back {lines} of {LINES} lines");
    Ok(start.elapsed().as_secs_f64())
}
