//! Three managers and a thousand agents without containers (`crates/manager/examples/fleet.rs`), thirty thousand tasks: how
//! long it takes, and what the managers need for it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testkit::{Hosts, Options};

use super::Bench;
use super::writes::load_average;
use crate::chores;

const MANAGERS: u8 = 3;
/// Within it a daemon gives back at least once what it has freed.
const SETTLE: Duration = Duration::from_secs(40);
/// `/proc/<pid>/stat` counts in hundredths of a second.
const TICKS: f64 = 100.0;

/// How large it is.
#[derive(clap::Args)]
pub(crate) struct Size {
    /// `fleet`: agents
    #[arg(long, default_value_t = 1_000)]
    agents: u32,
    /// `fleet`: tasks of the one service
    #[arg(long, default_value_t = 30_000)]
    tasks: u32,
    /// `fleet`: all tasks on one network, and so many endpoints that come and go after all run
    #[arg(long, default_value_t = 0)]
    changes: u32,
    /// `fleet`: the agents' program [default: built in release mode]
    #[arg(long, value_name = "FILE")]
    driver: Option<PathBuf>,
}

pub(crate) fn measure(bench: &Bench, size: &Size) -> Result<String> {
    let built = || chores::release_example("manager", "fleet");
    let program = size.driver.clone().map_or_else(built, Ok)?;
    let options = Options { binary: Some(bench.binary.clone()), ..Options::default() };
    let hosts = Hosts::try_start(MANAGERS, &options)?;
    hosts.swarm(MANAGERS.into());
    // The managers run nothing themselves.
    for host in hosts.iter() {
        let name = host.docker(&["info", "--format", "{{.Name}}"]).checked()?;
        hosts[0].docker(&["node", "update", "--availability", "drain", name.trim()]).checked()?;
    }
    let addresses: Vec<String> =
        hosts.iter().map(|host| format!("{}:2377", host.address())).collect();
    let mut command = hosts.hub().namespace().command("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$0\" \"$@\""]).arg(&program);
    command
        .arg(hosts[0].socket())
        .arg(addresses.join(","))
        .arg(size.agents.to_string())
        .arg(size.tasks.to_string())
        .arg(size.changes.to_string());
    let mut text = format!("{}\n", load_average());
    let idle = cpu(&hosts)?;
    let mut fleet = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(fleet.stdout.take().context("no output")?).lines();
    for line in lines {
        let line = line?;
        println!("{line}");
        if line == "full" {
            text.push_str(&format!("right after:\n{}", weighed(&hosts, &idle)?));
            std::thread::sleep(SETTLE);
            let later = SETTLE.as_secs();
            text.push_str(&format!("{later} s later:\n{}", weighed(&hosts, &idle)?));
            fleet.stdin.take().context("no input")?.write_all(b"\n")?;
        } else {
            text.push_str(&format!("{line}\n"));
        }
    }
    ensure!(fleet.wait()?.success(), "the fleet failed");
    Ok(text)
}

/// Memory and CPU of each manager's daemon alone: the agents' program is started with the first one's socket and would be
/// weighed with it. The leader is told apart.
fn weighed(hosts: &Hosts, before: &[f64]) -> Result<String> {
    let mut text = String::new();
    for ((host, cpu), before) in hosts.iter().zip(cpu(hosts)?).zip(before) {
        let leads =
            host.docker(&["node", "inspect", "self", "--format", "{{.ManagerStatus.Leader}}"]);
        let what = if leads.stdout.trim() == "true" { "leader" } else { "follower" };
        let weights = host.weigh();
        let pss = weights.iter().find(|(name, _)| name == "daemon");
        let pss = pss.map_or(0, |(_, weight)| weight.pss_bytes);
        text.push_str(&format!(
            "{what}: {:.0} MB PSS, {:.1} s of CPU\n",
            pss as f64 / 1e6,
            cpu - before
        ));
    }
    Ok(text)
}

/// Seconds of CPU that each daemon has had.
pub(crate) fn cpu(hosts: &Hosts) -> Result<Vec<f64>> {
    hosts.iter().map(|host| cpu_of(host.pid())).collect()
}

/// Seconds that a process has computed.
pub(super) fn cpu_of(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / TICKS)
}
