//! How long sandboxes and endpoints take: `cargo run --release -p netdev --example timing [COUNT]`, as
//! root. Everything happens in a namespace of its own.

use netdev::{NetDev, Sandboxes, run_in};
use netplan::{Endpoint, Network, Published, Sandbox, Table, plan};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use types::port::Protocol;
use types::subnet::Subnet;
use types::{ContainerId, EndpointId, NetworkId};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let count: u16 = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let hosts = Sandboxes::open(&dir.path().join("host"))?;
    let host_id = ContainerId::new("smp-host");
    let host = hosts.ensure(&host_id)?;
    let outcome = run_in(&host, || measure(dir.path(), count).map_err(std::io::Error::other));
    hosts.remove(&host_id)?;
    Ok(outcome?)
}

fn measure(dir: &std::path::Path, count: u16) -> Outcome<()> {
    let mut device = NetDev::open(dir)?;
    let mut table = Table { instance: "0badcafe".to_owned(), ..Table::default() };
    table.networks.insert(NetworkId::new("net"), network());
    device.apply(&plan(&table))?;
    let [mut made, mut connected, mut published, mut left, mut removed] = [const { Vec::new() }; 5];
    for number in 0..count {
        let id = ContainerId::new(format!("{number:064x}"));
        timed(&mut made, || device.sandboxes().ensure(&id))?;
        table.endpoints.insert(EndpointId::new(format!("{number:011x}")), endpoint(&id, number));
        table.sandboxes.insert(id.clone(), Sandbox::default());
        timed(&mut connected, || device.apply(&plan(&table)))?;
    }
    for number in 0..count.min(50) {
        let port = Published {
            protocol: Protocol::Tcp,
            host_ip: Ipv4Addr::UNSPECIFIED,
            host_port: 20_000 + number,
            container_port: 80,
        };
        table.sandboxes.insert(
            ContainerId::new(format!("{number:064x}")),
            Sandbox { ports: vec![port], outside: None },
        );
        timed(&mut published, || device.apply(&plan(&table)))?;
    }
    let unchanged = Instant::now();
    device.apply(&plan(&table))?;
    let unchanged = unchanged.elapsed();
    let audit = Instant::now();
    device.audit(&plan(&table))?;
    let audit = audit.elapsed();
    for number in 0..count {
        let id = ContainerId::new(format!("{number:064x}"));
        table.endpoints.remove(&EndpointId::new(format!("{number:011x}")));
        table.sandboxes.remove(&id);
        timed(&mut removed, || device.sandboxes().remove(&id))?;
        timed(&mut left, || device.apply(&plan(&table)))?;
    }
    for (what, times) in [
        ("make a sandbox", made),
        ("connect an endpoint", connected),
        ("publish a port", published),
        ("remove a sandbox", removed),
        ("take it off its network", left),
    ] {
        report(what, times);
    }
    println!("apply unchanged {unchanged:?}, audit {audit:?} ({count} endpoints)");
    device.remove_all(&table.instance)?;
    Ok(())
}

fn network() -> Network {
    Network {
        name: "net".to_owned(),
        bridge: "br-net".to_owned(),
        subnet: Subnet::new(Ipv4Addr::new(10, 1, 0, 0), 16),
        gateway: Ipv4Addr::new(10, 1, 0, 1),
        internal: false,
        icc: true,
        masquerade: true,
        mtu: 1500,
    }
}

fn endpoint(sandbox: &ContainerId, number: u16) -> Endpoint {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 2).to_bits() + u32::from(number));
    Endpoint {
        network: NetworkId::new("net"),
        sandbox: sandbox.clone(),
        address,
        mac: netplan::mac_of(address),
        interface: "eth0".to_owned(),
        gw_priority: 0,
    }
}

fn timed<T, E>(times: &mut Vec<Duration>, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    let outcome = work();
    times.push(start.elapsed());
    outcome
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let last = times.len().saturating_sub(1);
    let at = |percent: usize| times.get(last * percent / 100).copied().unwrap_or_default();
    println!("{what:24} p50 {:?} p95 {:?} max {:?}", at(50), at(95), at(100));
}
