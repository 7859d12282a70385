//! How long `docker run` and `docker exec` take, seen from the client.

use std::time::Instant;

use anyhow::Result;
use testkit::{Daemon, Engine};

use super::table::{Table, Unit};
use super::{Bench, TRAP};

/// Samples of each kind and side in one round.
const EACH: usize = 5;

const RUN: (&str, &str) = ("docker run --rm busybox true", "≤ 0.35 ×");
const RUN_NONE: (&str, &str) =
    ("docker run --rm --network none busybox true", "≤ 60 ms, quiet machine");
const EXEC: (&str, &str) = ("docker exec C true", "≤ 0.5 ×");
const VERSION: (&str, &str) = ("docker version (the client alone)", "");

pub(crate) fn measure(
    bench: &Bench,
    table: &mut Table,
    with_run: bool,
    with_exec: bool,
) -> Result<()> {
    let sides = [
        (Engine::Dockerd, bench.start(Engine::Dockerd)?),
        (Engine::Sampan, bench.start(Engine::Sampan)?),
    ];
    let mut kinds: Vec<((&str, &str), Vec<&str>)> = vec![(VERSION, vec!["version"])];
    if with_run {
        kinds.push((RUN, vec!["run", "--rm", "busybox", "true"]));
        kinds.push((RUN_NONE, vec!["run", "--rm", "--network", "none", "busybox", "true"]));
    }
    if with_exec {
        kinds.push((EXEC, vec!["exec", "bench", "true"]));
    }
    for (_, daemon) in &sides {
        let start = [&["run", "-d", "--name", "bench", "busybox"][..], TRAP].concat();
        daemon.docker(&start).checked()?;
        daemon.docker(&["run", "--rm", "busybox", "true"]).checked()?; // warm both up alike
    }
    for round in 0..bench.rounds {
        eprintln!("==> run, exec: round {}", round + 1);
        for ((name, goal), words) in &kinds {
            for sample in 0..EACH {
                // In turns, and each side first as often as the other.
                let first = (round + sample) % 2;
                for (engine, daemon) in [&sides[first], &sides[1 - first]] {
                    table.add(*engine, name, Unit::Seconds, goal, time(daemon, words)?);
                }
            }
        }
    }
    Ok(())
}

fn time(daemon: &Daemon, words: &[&str]) -> Result<f64> {
    let start = Instant::now();
    let output = daemon.docker(words);
    let took = start.elapsed().as_secs_f64();
    output.checked()?;
    Ok(took)
}
