//! How long the cluster's networks take on one node: `cargo run --release -p netdev --example overlay [SERVICES]`, as
//! root. Ten endpoints to a service, on ten nodes; everything happens in a namespace of its own.

use netdev::{Overlay, Sandboxes, run_in};
use netplan::overlay::{Here, Me, Planner, TUNNEL_PORT};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};
use types::subnet::Subnet;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow, ServiceRow, Vip,
};
use types::swarm::network::NodeBlock;
use types::{ContainerId, NetworkId, NodeId, ServiceId, TaskId};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const NODES: u16 = 10;
const TIMES: u16 = 50;

fn main() -> Outcome<()> {
    let services: u16 = std::env::args().nth(1).map_or(Ok(1000), |text| text.parse())?;
    let dir = tempfile::tempdir()?;
    let hosts = Sandboxes::open(&dir.path().join("host"))?;
    let host_id = ContainerId::new("smp-host");
    let host = hosts.ensure(&host_id)?;
    let outcome = run_in(&host, || {
        // The address that others reach this node by.
        let up = "link add up0 type bridge; addr add 192.0.2.1/24 dev up0; link set up0 up";
        for words in up.split("; ") {
            Command::new("ip").args(words.split(' ')).status()?;
        }
        measure(dir.path(), services).map_err(std::io::Error::other)
    });
    hosts.remove(&host_id)?;
    Ok(outcome?)
}

fn measure(dir: &std::path::Path, services: u16) -> Outcome<()> {
    let sandboxes = Sandboxes::open(dir)?;
    let mut overlay = Overlay::open("0badcafe", sandboxes.clone())?;
    let me = Me {
        node: node(0),
        instance: "0badcafe".to_owned(),
        underlay_mtu: 1500,
        tunnel_port: TUNNEL_PORT,
    };
    let mut table = table(services);
    let mut places = Vec::new();
    let begun = Instant::now();
    let mut planner = Planner::default();
    let whole = planner.plan(&table, &me, &places);
    println!("plan of {services} services: {:?}", begun.elapsed());
    let begun = Instant::now();
    overlay.apply(&whole)?;
    println!("applied at first: {:?}", begun.elapsed());
    let [mut planned, mut changed, mut same, mut joined, mut plugged] = [const { Vec::new() }; 5];
    for turn in 0..TIMES {
        let state = match turn % 2 {
            0 => EndpointState::Draining,
            _ => EndpointState::Healthy,
        };
        table.endpoints[usize::from(turn / 2)].state = state;
        let begun = Instant::now();
        let next = planner.plan(&table, &me, &places);
        planned.push(begun.elapsed());
        overlay.apply(&next)?;
        changed.push(begun.elapsed());
        let begun = Instant::now();
        overlay.apply(&next)?;
        same.push(begun.elapsed());
    }
    for turn in 0..TIMES {
        let container = ContainerId::new(format!("{turn:064x}"));
        sandboxes.ensure(&container)?;
        places.push(Here {
            container,
            network: NetworkId::new("net"),
            address: Ipv4Addr::from_bits(address(0, 0).to_bits() + 50_000 + u32::from(turn)),
            interface: "eth0".to_owned(),
            leads_out: true,
            leads_out_six: false,
            published: BTreeSet::new(),
        });
        let begun = Instant::now();
        let next = planner.plan(&table, &me, &places);
        joined.push(begun.elapsed());
        overlay.apply(&next)?;
        plugged.push(begun.elapsed());
    }
    say("one change, planning alone", planned);
    say("one change, planned and applied", changed);
    say("nothing to do", same);
    say("one container more, planning alone", joined);
    say("one container more, planned and applied", plugged);
    overlay.remove_all()?;
    for container in sandboxes.list()? {
        sandboxes.remove(&container)?;
    }
    Ok(())
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("{what}: p50 {:?}, p90 {:?}", at(50), at(90));
}

fn node(number: u16) -> NodeId {
    NodeId::new(format!("n{number}"))
}

fn address(service: u16, endpoint: u16) -> Ipv4Addr {
    let number = u32::from(service) * 16 + u32::from(endpoint);
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number)
}

fn table(services: u16) -> EndpointTable {
    let network = NetworkId::new("net");
    let id = |service: u16| ServiceId::new(format!("s{service:05}"));
    let service = |number: u16| ServiceRow {
        id: id(number),
        name: format!("service{number}"),
        vips: vec![Vip { network: network.clone(), address: address(number, 15) }],
        ports: Vec::new(),
        check: None,
    };
    let endpoint = |service: u16, number: u16| EndpointRow {
        task: TaskId::new(format!("t{service:05}{number}")),
        network: network.clone(),
        node: node(number),
        address: address(service, number),
        state: EndpointState::Healthy,
        weight: 1,
        service: Some(id(service)),
        slot: u64::from(number),
        name: format!("service{service}.{number}"),
        aliases: Vec::new(),
    };
    let peer = |number: u16| PeerRow {
        node: node(number),
        underlay: Ipv4Addr::from_bits(Ipv4Addr::new(192, 0, 2, 1).to_bits() + u32::from(number)),
        wire_key: String::new(),
    };
    let block = |number: u16| NodeBlock {
        block: Subnet::new(Ipv4Addr::new(10, 65, u8::try_from(number).unwrap_or(0), 0), 24),
        node: node(number),
    };
    EndpointTable {
        version: 1,
        networks: vec![NetworkRow {
            id: network.clone(),
            name: "net".to_owned(),
            subnet: Subnet::new(Ipv4Addr::new(10, 64, 0, 0), 12),
            gateway: Ipv4Addr::new(10, 79, 255, 254),
            six: None,
            mode: Default::default(),
            internal: false,
            ingress: false,
            policy: Vec::new(),
            blocks: (0..NODES).map(block).collect(),
        }]
        .into(),
        peers: (0..NODES).map(peer).collect(),
        services: (0..services).map(service).collect(),
        endpoints: (0..services)
            .flat_map(|service| (0..10).map(move |number| (service, number)))
            .map(|(service, number)| endpoint(service, number))
            .collect(),
        ..EndpointTable::default()
    }
}
