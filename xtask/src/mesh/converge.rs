//! `cargo xtask mesh --converge N`: N tasks are killed, one after the other; how long until no host's kernel leads to them
//! any more, from the kill on. The agent's notice, the store's entry, the table on its way and its application are all in it.
//! Each kernel is asked again and again (`nft list chain`), and what that takes is in it, too: some milliseconds for
//! each, on the processors that the daemons need.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::Hosts;

/// Above anything here takes, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(120);
const TASK: &str = "trap 'exit 0' TERM; sleep 86400 & wait";
const FORMAT: &str = "{{.State.Pid}} {{.NetworkSettings.Networks.points.IPAddress}}";

pub(super) fn run(hosts: &Hosts, times: usize) -> Result<()> {
    let manager = |words: &[&str]| hosts[0].docker(words).checked();
    manager(&["network", "create", "-d", "overlay", "points"])?;
    // None takes the place of another: each is killed once.
    let replicas = times.to_string();
    let create = ["service", "create", "--detach", "--name", "point", "--replicas", &replicas];
    let how = ["--network", "points", "--restart-condition", "none", "--no-resolve-image"];
    manager(&[&create[..], &how, &["busybox", "sh", "-c", TASK]].concat())?;
    let mut chain = None;
    wait("a VIP", || {
        let found =
            manager(&["service", "inspect", "--format", "{{json .Endpoint.VirtualIPs}}", "point"])?;
        let vip = found.split('"').find_map(|word| word.split_once('/')?.0.parse().ok());
        chain = vip.map(|vip: Ipv4Addr| format!("vip_{:08x}", vip.to_bits()));
        Ok(chain.is_some())
    })?;
    let chain = chain.context("it has a VIP")?;
    let mut chain = (Vec::new(), chain);
    wait("all to be offered everywhere", || {
        chain.0 = tables(hosts).unwrap_or_default();
        let all = (0..hosts.iter().count()).map(|host| offered(hosts, host, &chain));
        Ok(all.into_iter().all(|offered| offered.len() == times))
    })?;
    let mut took = Vec::new();
    for turn in 0..times {
        let (pid, address) = task(hosts, turn)?;
        let killed = Instant::now();
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        took.push(withdrawn(hosts, &chain, address, killed)?);
    }
    took.sort();
    let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "{times} tasks killed: led to by no host of {} after p50 {:.0} ms, p99 {:.0} ms",
        hosts.iter().count(),
        at(50),
        at(99)
    );
    Ok(())
}

/// A task of the service, on one host after the other.
fn task(hosts: &Hosts, turn: usize) -> Result<(i32, Ipv4Addr)> {
    let count = hosts.iter().count();
    for place in 0..count {
        let host = &hosts[(turn + place) % count];
        let label = "label=com.docker.swarm.service.name=point";
        let ids = host.docker(&["ps", "-q", "--filter", label]).checked()?;
        let Some(id) = ids.lines().next() else { continue };
        let found = host.docker(&["inspect", "--format", FORMAT, id]).checked()?;
        let (pid, address) = found.trim().split_once(' ').context("pid and address")?;
        return Ok((pid.parse()?, address.parse()?));
    }
    anyhow::bail!("no task runs")
}

/// How long until the last host's kernel had it no more.
fn withdrawn(
    hosts: &Hosts,
    chain: &(Vec<String>, String),
    address: Ipv4Addr,
    since: Instant,
) -> Result<Duration> {
    thread::scope(|scope| {
        let ask = |host: usize| {
            scope.spawn(move || {
                while offered(hosts, host, chain).contains(&address) {
                    ensure!(since.elapsed() < PATIENCE, "host {host} still leads to {address}");
                }
                Ok(since.elapsed())
            })
        };
        let asked: Vec<_> = (0..hosts.iter().count()).map(ask).collect();
        let mut last = Duration::ZERO;
        for thread in asked {
            last = last.max(thread.join().map_err(|_| anyhow::anyhow!("a look panicked"))??);
        }
        Ok(last)
    })
}

fn addresses(text: &str) -> Vec<Ipv4Addr> {
    let words = text.split(|letter: char| !letter.is_ascii_digit() && letter != '.');
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Where a host's kernel leads those who ask for the service; `chain` with its table.
fn offered(hosts: &Hosts, host: usize, chain: &(Vec<String>, String)) -> Vec<Ipv4Addr> {
    let (tables, chain) = chain;
    let Some(table) = tables.get(host) else { return Vec::new() };
    let listing = hosts[host].namespace().run(&["nft", "list", "chain", "ip", table, chain]);
    // Without anybody to lead to there is no chain.
    listing.map(|text| addresses(&text)).unwrap_or_default()
}

/// By host: our table for the cluster's networks.
fn tables(hosts: &Hosts) -> Result<Vec<String>> {
    let table = |host: &testkit::Host| {
        let listed = host.namespace().run(&["nft", "list", "tables", "ip"])?;
        let mut names = listed.split_whitespace().filter(|word| word.starts_with("sampan_overlay"));
        names.next().map(str::to_owned).context("a host without our table")
    };
    hosts.iter().map(table).collect()
}

fn wait(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < until, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
