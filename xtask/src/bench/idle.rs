//! What a quiet cluster needs: three managers and a worker with a hundred tasks, looked at for a minute.

use std::time::Duration;

use anyhow::Result;
use testkit::{Hosts, Options};

use super::fleet::cpu;
use super::writes::load_average;
use super::{Bench, TRAP};

const NODES: u8 = 4;
const MANAGERS: usize = 3;
const TASKS: &str = "100";
/// After the last task runs: what starting cost is given back.
const SETTLE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(60);

pub(crate) fn measure(bench: &Bench) -> Result<String> {
    let binary = Some(bench.binary.clone());
    let hosts = Hosts::try_start(NODES, &Options { binary, ..Options::with_images(&["busybox"]) })?;
    hosts.swarm(MANAGERS);
    let create = ["service", "create", "--name", "idle", "--replicas", TASKS, "busybox"];
    hosts[0].docker(&[&create[..], TRAP].concat()).checked()?;
    std::thread::sleep(SETTLE);
    let before = cpu(&hosts)?;
    std::thread::sleep(LOOK);
    let after = cpu(&hosts)?;
    let mut text = format!(
        "| node | daemon PSS | shims PSS | daemon's CPU in {} s |\n|---|---:|---:|---:|\n",
        LOOK.as_secs()
    );
    for (place, (host, (before, after))) in
        hosts.iter().zip(before.into_iter().zip(after)).enumerate()
    {
        let role = if place < MANAGERS { "manager" } else { "worker" };
        let (mut daemon, mut shims) = (0, 0);
        for (name, weight) in host.weigh() {
            *(if name == "daemon" { &mut daemon } else { &mut shims }) += weight.pss_bytes;
        }
        text.push_str(&format!(
            "| {role} {} | {:.1} MB | {:.1} MB | {:.2} s ({:.2} % of a core) |\n",
            place + 1,
            daemon as f64 / 1e6,
            shims as f64 / 1e6,
            after - before,
            (after - before) / LOOK.as_secs_f64() * 100.0
        ));
    }
    Ok(format!("{text}\n{}\n", load_average()))
}
