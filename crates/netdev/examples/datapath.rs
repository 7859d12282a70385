//! What the way of a packet costs: `cargo run -p netdev --example datapath [ROUNDS]`, as root. Two hosts in namespaces, a
//! container on each.
//!
//! | way | |
//! |---|---|
//! | by hand | two other hosts, containers on a bridge each, joined by a VXLAN device, as an overlay is made by hand; no rules |
//! | overlay | the same two hosts, containers in a network of the cluster, by address |
//! | VIP | by the service's address |
//! | mesh, near; mesh, far | a client outside, by a published port: of the task's own host, of the other one |
//!
//! What else the machine does must not count. So ways are measured in turns of a moment each, over connections that stay;
//! a way is compared with the one that it is judged by within the same round, and the median of these ratios counts. The
//! threads at both ends keep to the same processors on all ways: one byte there and back is measured with both ends on
//! one processor, where it is the work on the way and nobody has to be woken from sleep elsewhere, and with each end on
//! one of its own; throughput with each on one of its own.
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made says why")]
#![allow(dead_code, reason = "what the tests use of it is more")]

#[path = "../tests/support/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the tests, shared as a file")]
mod cluster;
#[path = "../tests/support/world.rs"]
#[expect(unreachable_pub, reason = "a module of the tests, shared as a file")]
mod world;

use cluster::{Cluster, FRONT, INGRESS, PUBLISHED, VIP, ip, task_ip, underlay};
use netdev::Sandboxes;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::ContainerId;
use world::{command, inside};

/// What one way is given in a round for each of its three measures.
const TURN: Duration = Duration::from_millis(150);
/// A client that begins with this is sent back what it sends; any other is only read from. The processor comes next.
const ECHO: u8 = b'e';
const SINK: u8 = b's';

/// In the order of the columns.
const MEASURES: [&str; 3] = ["µs, one processor", "µs, two processors", "Gbit/s"];

struct Way {
    name: &'static str,
    /// The way that it is judged by.
    by: usize,
    /// A connection for each measure.
    streams: [TcpStream; 3],
    /// Of each round.
    seen: [Vec<f64>; 3],
}

fn main() {
    let rounds: usize = std::env::args().nth(1).map_or(20, |text| text.parse().unwrap());
    let processors = processors();
    let (first, last) = (processors[0], processors[processors.len() - 1]);
    let mut cluster = Cluster::new();
    let near = cluster.task("app", 1, 1, &[("front", FRONT)]);
    let far = cluster.task("web", 2, 1, &[("front", FRONT), ("ingress", INGRESS)]);
    serve(&far, 80);
    cluster.apply();
    let place = tempfile::tempdir().unwrap();
    let machines = Sandboxes::open(place.path()).unwrap();
    let (by_hand_near, by_hand_far) = by_hand(&machines);
    serve(&by_hand_far, 80);
    let way = |name, by, from: &PathBuf, to: Ipv4Addr, port| Way {
        name,
        by,
        streams: [(ECHO, first), (ECHO, last), (SINK, last)]
            .map(|(kind, processor)| inside(from, || open((to, port).into(), kind, processor))),
        seen: [const { Vec::new() }; 3],
    };
    let mut ways = [
        way("VXLAN by hand", 0, &by_hand_near, Ipv4Addr::new(10, 99, 0, 2), 80),
        way("overlay", 0, &near, task_ip(FRONT, 2, 1), 80),
        way("overlay, VIP", 1, &near, ip(FRONT, VIP), 80),
        way("mesh, task's host", 1, &cluster.client, underlay(2), PUBLISHED),
        way("mesh, another host", 1, &cluster.client, underlay(1), PUBLISHED),
    ];
    keep_to(first);
    for round in 0..rounds {
        // Nobody is always the first.
        for turn in 0..ways.len() {
            let way = &mut ways[(round + turn) % 5];
            for (measure, stream) in way.streams.iter_mut().enumerate() {
                let seen = if measure == 2 { rate(stream) } else { trip(stream) };
                way.seen[measure].push(seen);
            }
        }
    }
    println!("{rounds} rounds; medians, and ratios within a round: median (quartiles)");
    for way in &ways {
        print!("{:<19}", way.name);
        for (measure, unit) in MEASURES.iter().enumerate() {
            let seen = quantiles(&way.seen[measure]);
            print!("  {:>6.1} {unit}", seen[1]);
            let base = &ways[way.by];
            if base.name != way.name {
                let pairs = way.seen[measure].iter().zip(&base.seen[measure]);
                let [low, middle, high] =
                    quantiles(&pairs.map(|(seen, by)| seen / by).collect::<Vec<_>>());
                print!(" {middle:.2}× ({low:.2} to {high:.2})");
            }
        }
        println!("{}", if way.by == 0 { "" } else { "   × overlay" });
    }
    drop(ways);
    for id in machines.list().unwrap() {
        machines.remove(&id).unwrap();
    }
}

/// Those that this program may use.
fn processors() -> Vec<u8> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..=u8::MAX).filter(|number| allowed.is_set((*number).into()).unwrap_or(false)).collect()
}

/// The calling thread runs there and nowhere else.
fn keep_to(processor: u8) {
    let mut only = CpuSet::new();
    only.set(processor.into()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &only).unwrap();
}

/// Two hosts on one bridge that nobody else has to do with, a container on each, both on bridges with a VXLAN device between
/// them. Returns the containers.
fn by_hand(machines: &Sandboxes) -> (PathBuf, PathBuf) {
    let machine = |name: &str| machines.ensure(&ContainerId::new(name)).unwrap();
    let on = |path: &Path, words: &str| {
        command(path, "ip", &words.split_whitespace().collect::<Vec<_>>());
    };
    let lan = machine("lan");
    on(&lan, "link add lan type bridge");
    on(&lan, "link set lan up");
    let container = |number: u8| {
        let (host, sandbox) =
            (machine(&format!("host{number}")), machine(&format!("hand{number}")));
        let port = format!("p{number}");
        on(&lan, &format!("link add {port} type veth peer name up0 netns {}", host.display()));
        on(&lan, &format!("link set {port} master lan up"));
        let (own, peer) = (underlay(number), underlay(3 - number));
        on(&host, &format!("addr add {own}/24 dev up0"));
        on(&host, "link set up0 up");
        on(&host, "link add hand type bridge");
        on(
            &host,
            &format!("link add hand9 type vxlan id 9 local {own} remote {peer} dstport 8472"),
        );
        on(&host, "link set hand9 master hand up");
        on(&host, &format!("link add hand0 type veth peer name eth0 netns {}", sandbox.display()));
        on(&host, "link set hand0 master hand up");
        on(&host, "link set hand up");
        on(&sandbox, &format!("addr add 10.99.0.{number}/24 dev eth0"));
        on(&sandbox, "link set eth0 mtu 1450 up");
        sandbox
    };
    (container(1), container(2))
}

fn serve(sandbox: &Path, port: u16) {
    let listener = inside(sandbox, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
}

/// Ends when the client does.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wish = [0; 2];
    stream.read_exact(&mut wish)?;
    let [kind, processor] = wish;
    keep_to(processor);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let len = stream.read(&mut buffer)?;
        match (len, kind) {
            (0, _) => return Ok(()),
            (_, ECHO) => stream.write_all(&buffer[..len])?,
            _ => {}
        }
    }
}

/// `processor`: where the other end is to run.
fn open(to: SocketAddr, kind: u8, processor: u8) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(30)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[kind, processor]).unwrap();
    stream
}

/// The median of one byte's way there and back, in microseconds.
fn trip(stream: &mut TcpStream) -> f64 {
    let (mut took, begun) = (Vec::new(), Instant::now());
    let mut byte = [7];
    while begun.elapsed() < TURN {
        let sent = Instant::now();
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        took.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    quantiles(&took)[1]
}

fn rate(stream: &mut TcpStream) -> f64 {
    let (block, begun, mut bytes) = (vec![7; 256 * 1024], Instant::now(), 0);
    while begun.elapsed() < TURN {
        stream.write_all(&block).unwrap();
        bytes += block.len();
    }
    bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9
}

/// First quartile, median, third quartile.
fn quantiles(of: &[f64]) -> [f64; 3] {
    let mut sorted = of.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    [1, 2, 3].map(|part| sorted.get(sorted.len() * part / 4).copied().unwrap_or(f64::NAN))
}
