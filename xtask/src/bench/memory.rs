//! What daemon and helpers weigh: idle, with ten and with a hundred containers.
//!
//! One side at a time: PSS looks small while another process shares the same program.

use std::time::Duration;

use anyhow::Result;
use testkit::{Daemon, Engine, Weight};

use super::table::{Table, Unit};
use super::{Bench, TRAP};

const IDLE: (&str, &str) = ("memory idle (PSS)", "≤ 25 MB");
const TEN: (&str, &str) = ("memory with 10 containers (PSS)", "");
const HUNDRED: (&str, &str) = ("memory with 100 containers (PSS)", "≤ 0.25 ×");
const SHIM: (&str, &str) = ("private memory of one shim", "");
const SHARE: (&str, &str) =
    ("private memory per container, shim and share of the daemon", "≤ 1.0 MB");

/// How long after the last start memory is taken; both sides give back what starting cost.
const SETTLE: Duration = Duration::from_secs(5);

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    // Memory hardly varies from one time to the next: one round does.
    for engine in [Engine::Dockerd, Engine::Sampan] {
        eprintln!("==> memory: {engine:?}");
        one_side(&bench.start(engine)?, engine, table)?;
    }
    Ok(())
}

fn one_side(daemon: &Daemon, engine: Engine, table: &mut Table) -> Result<()> {
    daemon.docker(&["run", "--rm", "busybox", "true"]).checked()?;
    let idle = settled(daemon);
    table.add(engine, IDLE.0, Unit::Bytes, IDLE.1, idle.all.pss_bytes as f64);
    start(daemon, 0..10)?;
    table.add(engine, TEN.0, Unit::Bytes, TEN.1, settled(daemon).all.pss_bytes as f64);
    start(daemon, 10..100)?;
    let full = settled(daemon);
    table.add(engine, HUNDRED.0, Unit::Bytes, HUNDRED.1, full.all.pss_bytes as f64);
    let shim = full.shims.private_bytes as f64 / full.shims.processes.max(1) as f64;
    table.add(engine, SHIM.0, Unit::Bytes, SHIM.1, shim);
    let share = full.all.private_bytes.saturating_sub(idle.all.private_bytes) as f64 / 100.0;
    table.add(engine, SHARE.0, Unit::Bytes, SHARE.1, share);
    Ok(())
}

fn start(daemon: &Daemon, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        let name = format!("m{number}");
        daemon
            .docker(&[&["run", "-d", "--name", &name, "busybox"][..], TRAP].concat())
            .checked()?;
    }
    Ok(())
}

struct Weights {
    all: Weight,
    shims: Weight,
}

fn settled(daemon: &Daemon) -> Weights {
    std::thread::sleep(SETTLE);
    let mut weights = Weights { all: Weight::default(), shims: Weight::default() };
    for (name, weight) in daemon.weigh() {
        eprintln!(
            "    {name:<18} {:>4} × {:>7.2} MB PSS in all",
            weight.processes,
            weight.pss_bytes as f64 / 1e6
        );
        weights.all += weight;
        if !matches!(name.as_str(), "daemon" | "containerd") {
            weights.shims += weight;
        }
    }
    weights
}
