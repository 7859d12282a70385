//! What the way of a packet costs: `cargo run -p netdev --example datapath [ROUNDS]`, as root. Two hosts in namespaces, a
//! container on each; ways are measured in turns, so that whatever else the machine does meets all of them.
//!
//! | way | |
//! |---|---|
//! | by hand | containers on a bridge each, joined by a VXLAN device, as an overlay is made by hand |
//! | overlay | the same two hosts, containers in a network of the cluster, by address |
//! | VIP | by the service's address |
//! | mesh, near; mesh, far | a client outside, by a published port: of the task's own host, of the other one |
#![expect(clippy::unwrap_used, reason = "a measurement that cannot be made says why")]
#![allow(dead_code, reason = "what the tests use of it is more")]

#[path = "../tests/support/cluster.rs"]
#[expect(unreachable_pub, reason = "a module of the tests, shared as a file")]
mod cluster;
#[path = "../tests/support/world.rs"]
#[expect(unreachable_pub, reason = "a module of the tests, shared as a file")]
mod world;

use cluster::{Cluster, FRONT, INGRESS, PUBLISHED, VIP, ip, task_ip, underlay};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::ContainerId;
use world::{command, inside};

const ROUND: Duration = Duration::from_millis(250);
/// A client that begins with this is sent back what it sends; any other is only read from.
const ECHO: u8 = b'e';
const SINK: u8 = b's';

struct Way {
    name: &'static str,
    from: PathBuf,
    to: SocketAddr,
    /// Microseconds there and back, and Gbit/s, of each round.
    trips: Vec<f64>,
    rates: Vec<f64>,
}

fn main() {
    let rounds: u32 = std::env::args().nth(1).map_or(20, |text| text.parse().unwrap());
    let mut cluster = Cluster::new();
    let near = cluster.task("app", 1, 1, &[("front", FRONT)]);
    let far = cluster.task("web", 2, 1, &[("front", FRONT), ("ingress", INGRESS)]);
    serve(&far, 80);
    cluster.apply();
    let (by_hand_near, by_hand_far) = by_hand(&cluster);
    serve(&by_hand_far, 80);
    let way = |name, from: &PathBuf, to: Ipv4Addr, port| Way {
        name,
        from: from.clone(),
        to: (to, port).into(),
        trips: Vec::new(),
        rates: Vec::new(),
    };
    let mut ways = [
        way("VXLAN by hand", &by_hand_near, Ipv4Addr::new(10, 99, 0, 2), 80),
        way("overlay", &near, task_ip(FRONT, 2, 1), 80),
        way("overlay, VIP", &near, ip(FRONT, VIP), 80),
        way("mesh, task's host", &cluster.client, underlay(2), PUBLISHED),
        way("mesh, another host", &cluster.client, underlay(1), PUBLISHED),
    ];
    for _ in 0..rounds {
        for way in &mut ways {
            let (from, to) = (way.from.clone(), way.to);
            way.trips.push(inside(&from, || trip(to)));
            way.rates.push(inside(&from, || rate(to)));
        }
    }
    println!(
        "{rounds} rounds in turns; the best of each: what else the machine does is no cost of the way"
    );
    let base = (least(&ways[0].trips), most(&ways[0].rates));
    for way in &ways {
        let (trip, rate) = (least(&way.trips), most(&way.rates));
        println!(
            "{:<20} {trip:>7.1} µs there and back ({:.2}×)  {rate:>6.2} Gbit/s ({:.2}×)",
            way.name,
            trip / base.0,
            rate / base.1
        );
    }
    for sandbox in ["hand1", "hand2"] {
        let host = &cluster.hosts[usize::from(sandbox.ends_with('2'))];
        host.sandboxes.remove(&ContainerId::new(sandbox)).unwrap();
    }
}

/// A container on each host, both on bridges with a VXLAN device between them. Returns the containers.
fn by_hand(cluster: &Cluster) -> (PathBuf, PathBuf) {
    let container = |host: u8| {
        let owner = &cluster.hosts[usize::from(host) - 1];
        let path = &owner.path;
        let sandbox = inside(path, || {
            owner.sandboxes.ensure(&ContainerId::new(format!("hand{host}"))).unwrap()
        });
        let on_host = |words: &str| {
            command(path, "ip", &words.split_whitespace().collect::<Vec<_>>());
        };
        let (own, peer) = (underlay(host), underlay(3 - host));
        on_host("link add hand type bridge");
        on_host(&format!("link add hand9 type vxlan id 9 local {own} remote {peer} dstport 8472"));
        on_host("link set hand9 master hand up");
        on_host(&format!("link add hand0 type veth peer name eth0 netns {}", sandbox.display()));
        on_host("link set hand0 master hand up");
        on_host("link set hand up");
        command(&sandbox, "ip", &["addr", "add", &format!("10.99.0.{host}/24"), "dev", "eth0"]);
        command(&sandbox, "ip", &["link", "set", "eth0", "mtu", "1450", "up"]);
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
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let len = stream.read(&mut buffer)?;
        match (len, kind) {
            (0, _) => return Ok(()),
            (_, [ECHO]) => stream.write_all(&buffer[..len])?,
            _ => {}
        }
    }
}

fn open(to: SocketAddr, kind: u8) -> TcpStream {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(30)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&[kind]).unwrap();
    stream
}

/// The median of one byte's way there and back.
fn trip(to: SocketAddr) -> f64 {
    let mut stream = open(to, ECHO);
    let (mut took, begun) = (Vec::new(), Instant::now());
    let mut byte = [7];
    while begun.elapsed() < ROUND {
        let sent = Instant::now();
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        took.push(sent.elapsed().as_secs_f64() * 1e6);
    }
    median(&mut took)
}

fn rate(to: SocketAddr) -> f64 {
    let mut stream = open(to, SINK);
    let (block, begun, mut bytes) = (vec![7; 256 * 1024], Instant::now(), 0);
    while begun.elapsed() < ROUND {
        stream.write_all(&block).unwrap();
        bytes += block.len();
    }
    bytes as f64 * 8.0 / begun.elapsed().as_secs_f64() / 1e9
}

fn least(of: &[f64]) -> f64 {
    of.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

fn median(of: &mut [f64]) -> f64 {
    of.sort_unstable_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}
