//! The resolver that containers have at 127.0.0.11: names of containers on a user's network, asked over UDP from within one of
//! them, by sockets that have many queries under way and by one that waits for each answer.
//!
//! The askers are threads of this program that have moved into the container's namespace: sockets, rules and addresses on
//! the way are those that the container's own programs meet.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};
use testkit::{Daemon, Engine};

use super::fleet::cpu_of;
use super::table::{Table, Unit};
use super::{Bench, TRAP};

const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
const NETWORK: &str = "bench";
/// Containers whose names are asked for.
const NAMES: usize = 8;
/// A name that all of them have, so that its answer has as many addresses.
const SHARED: &str = "all";
/// Sockets under load, each with so many queries under way.
const SOCKETS: usize = 4;
const WINDOW: u16 = 16;
const LOAD: Duration = Duration::from_secs(2);
const ALONE: Duration = Duration::from_secs(1);
/// A query without an answer for so long is lost, and asked again.
const LOST: Duration = Duration::from_secs(1);

const HEADER: usize = 12;
const A: [u8; 4] = [0, 1, 0, 1];

/// What came back to one socket.
#[derive(Default)]
struct Answers {
    took: Vec<Duration>,
    lost: u64,
}

pub(crate) fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let sides = [
        (Engine::Dockerd, bench.start(Engine::Dockerd)?),
        (Engine::Sampan, bench.start(Engine::Sampan)?),
    ];
    let mut askers = Vec::new();
    for (_, daemon) in &sides {
        askers.push(populate(daemon)?);
    }
    // Both warm up alike.
    for pid in &askers {
        ask(*pid, SOCKETS, WINDOW, ALONE)?;
    }
    for round in 0..bench.rounds {
        eprintln!("==> dns: round {}", round + 1);
        for place in [round % 2, 1 - round % 2] {
            let (engine, pid) = (sides[place].0, askers[place]);
            let mut add = |name, unit, goal, value| table.add(engine, name, unit, goal, value);
            let before = cpu_of(sides[place].1.pid())?;
            let (answers, spent) = ask(pid, SOCKETS, WINDOW, LOAD)?;
            let count = answers.took.len() as f64;
            let rate = count / spent.as_secs_f64();
            let each = (cpu_of(sides[place].1.pid())? - before) / count;
            add("DNS: 4 sockets, 16 queries under way each", Unit::PerSecond, "≥ 1.2 ×", rate);
            add("the same: p50", Unit::Seconds, "", quantile(&answers, 0.5));
            add("the same: p99", Unit::Seconds, "", quantile(&answers, 0.99));
            add("the same: the daemon's CPU for each", Unit::Seconds, "", each);
            if answers.lost > 0 {
                eprintln!("    {} of {count} lost", answers.lost);
            }
            let (answers, spent) = ask(pid, 1, 1, ALONE)?;
            let rate = answers.took.len() as f64 / spent.as_secs_f64();
            add("DNS: one query at a time", Unit::PerSecond, "", rate);
            add("one at a time: p50", Unit::Seconds, "", quantile(&answers, 0.5));
            add("one at a time: p99", Unit::Seconds, "", quantile(&answers, 0.99));
        }
    }
    Ok(())
}

/// A network with containers on it. Returns the process of one of them, whose namespace is asked from.
fn populate(daemon: &Daemon) -> Result<u32> {
    daemon.docker(&["network", "create", NETWORK]).checked()?;
    for number in 0..NAMES {
        let (name, network) = (format!("c{number}"), ["--network", NETWORK]);
        let options = ["run", "-d", "--name", &name, "--network-alias", SHARED];
        daemon.docker(&[&options[..], &network, &["busybox"], TRAP].concat()).checked()?;
    }
    let pid = daemon.docker(&["inspect", "--format", "{{.State.Pid}}", "c0"]).checked()?;
    pid.trim().parse().context("the container has no process")
}

/// Asks from the namespace of a process. All answers, and how long it went on.
fn ask(pid: u32, sockets: usize, window: u16, during: Duration) -> Result<(Answers, Duration)> {
    let pin = File::open(format!("/proc/{pid}/ns/net"))?;
    let began = Instant::now();
    let all = std::thread::scope(|scope| {
        let pin = &pin;
        let ask = |_| {
            scope.spawn(move || {
                setns(pin, CloneFlags::CLONE_NEWNET)?;
                by_one_socket(window, during)
            })
        };
        let threads: Vec<_> = (0..sockets).map(ask).collect();
        let mut all = Answers::default();
        for thread in threads {
            let one = thread.join().map_err(|_| anyhow!("an asker panicked"))??;
            all.took.extend(one.took);
            all.lost += one.lost;
        }
        anyhow::Ok(all)
    })?;
    Ok((all, began.elapsed()))
}

/// Keeps `window` queries under way: each answer is followed by another question.
fn by_one_socket(window: u16, during: Duration) -> Result<Answers> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(RESOLVER)?;
    socket.set_read_timeout(Some(LOST))?;
    let names: Vec<String> = (0..NAMES).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain([SHARED]).collect();
    let mut queries: Vec<Vec<u8>> = names.iter().map(|name| query(name)).collect();
    let mut sent: Vec<Option<Instant>> = vec![None; usize::from(u16::MAX) + 1];
    let (mut answers, mut next, mut reply) = (Answers::default(), 0_u16, [0; 4096]);
    let mut send = |sent: &mut Vec<Option<Instant>>| {
        let query = &mut queries[usize::from(next) % names.len()];
        query[..2].copy_from_slice(&next.to_be_bytes());
        sent[usize::from(next)] = Some(Instant::now());
        next = next.wrapping_add(1);
        socket.send(query)
    };
    let began = Instant::now();
    for _ in 0..window {
        send(&mut sent)?;
    }
    while began.elapsed() < during {
        let Ok(len) = socket.recv(&mut reply) else {
            answers.lost += u64::from(window);
            for _ in 0..window {
                send(&mut sent)?;
            }
            continue;
        };
        let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
        ensure!(len > HEADER && reply[3] & 0x0f == 0 && reply[7] > 0, "a name is not known");
        if let Some(asked) = sent[id].take() {
            answers.took.push(asked.elapsed());
        }
        send(&mut sent)?;
    }
    Ok(answers)
}

/// For the addresses of `name`; its id is to be filled in. RFC 1035, 4.1.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.push(name.len() as u8);
    query.extend_from_slice(name.as_bytes());
    query.push(0);
    query.extend_from_slice(&A);
    query
}

fn quantile(of: &Answers, part: f64) -> f64 {
    let mut took = of.took.clone();
    took.sort_unstable();
    let at = (took.len() as f64 * part) as usize;
    took.get(at.min(took.len().saturating_sub(1))).map_or(f64::NAN, Duration::as_secs_f64)
}
