//! A client, and a server that it reaches by another address, in namespaces of their own.

use super::*;
use crate::sandbox::{Sandboxes, run_in};
use nix::sys::socket::SockProtocol;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;
use types::ContainerId;

const PATIENCE: Duration = Duration::from_secs(60);

fn run(words: &str) -> io::Result<()> {
    let mut words = words.split(' ');
    let status = Command::new(words.next().unwrap_or_default()).args(words).status()?;
    status.success().then_some(()).ok_or_else(|| io::Error::other("it failed"))
}

/// The flows of the client's namespace that nothing answered.
fn unanswered() -> io::Result<Vec<Vec<u8>>> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    find_flows(&mut netlink, FOUR, |flow| !flow.answered)
}

fn prepare(client: &Path, server: &Path) -> TcpListener {
    let there = server.display();
    run_in(client, || {
        run("ip link set lo up")?;
        run(&format!("ip link add c0 type veth peer name s0 netns {there}"))?;
        run("ip addr add 192.0.2.1/24 dev c0")?;
        run("ip link set c0 up")?;
        run("ip route add 198.51.100.1 via 192.0.2.2")?;
        run("nft add table ip t")?;
        run("nft add chain ip t o { type nat hook output priority -100 ; }")?;
        run("nft add rule ip t o ip daddr 198.51.100.1 dnat to 192.0.2.2")
    })
    .unwrap();
    run_in(server, || {
        run("ip addr add 192.0.2.2/24 dev s0")?;
        run("ip link set s0 up")?;
        run("nft add table ip deaf")?;
        run("nft add chain ip deaf i { type filter hook input priority 0 ; policy drop ; }")?;
        TcpListener::bind("192.0.2.2:80")
    })
    .unwrap()
}

#[test]
fn a_flow_that_was_answered_after_it_was_looked_at_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let sandboxes = Sandboxes::open(dir.path()).unwrap();
    let ids = ["a", "b"].map(|digit| ContainerId::new(digit.repeat(64)));
    let [client, server] = ids.each_ref().map(|id| sandboxes.ensure(id).unwrap());
    let listener = prepare(&client, &server);
    let connect = std::thread::spawn({
        let (client, target) = (client.clone(), "198.51.100.1:80".parse().unwrap());
        move || run_in(&client, || TcpStream::connect_timeout(&target, PATIENCE)).unwrap()
    });
    let until = Instant::now() + PATIENCE;
    let found = loop {
        let found = run_in(&client, unanswered).unwrap();
        if !found.is_empty() {
            break found;
        }
        assert!(Instant::now() < until, "no flow");
        std::thread::yield_now();
    };
    run_in(&server, || run("nft delete table ip deaf")).unwrap();
    let mut stream = connect.join().unwrap();

    let forget = || {
        let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
        forget_unanswered(&mut netlink, FOUR, found)
    };
    run_in(&client, forget).unwrap();
    let (mut answer, _) = listener.accept().unwrap();
    answer.write_all(b"here").unwrap();
    let mut said = [0; 4];
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"here");
    for id in &ids {
        sandboxes.remove(id).unwrap();
    }
}
