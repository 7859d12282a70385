//! Three hosts and a client on one bridge, all in network namespaces.

use crate::world::{command, inside};
use netdev::{Note, Overlay, Sandboxes};
use netplan::overlay::{Here, Me, OverlayPlan, TUNNEL_PORT, plan};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use types::six::SixSubnet;
use types::subnet::Subnet;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, PeerRow, ServiceRow, Vip,
};
use types::swarm::network::{Mode, NodeBlock};
use types::swarm::service::PortConfig;
use types::{ContainerId, NetworkId, NodeId, ServiceId, TaskId};

pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
/// Networks, by the second byte of their addresses.
pub const FRONT: u8 = 50;
pub const INGRESS: u8 = 51;
pub const BACK: u8 = 52;
/// Of `front`, if it has IPv6.
const SIX: Ipv6Addr = Ipv6Addr::new(0xfd50, 0, 0, 0, 0, 0, 0, 0);
/// The last byte of every VIP.
pub const VIP: u8 = 2;
pub const PUBLISHED: u16 = 8080;

pub struct Cluster {
    _dir: tempfile::TempDir,
    machines: Sandboxes,
    pub hosts: Vec<Host>,
    pub client: PathBuf,
    pub table: EndpointTable,
}

pub struct Host {
    number: u8,
    pub path: PathBuf,
    pub sandboxes: Sandboxes,
    overlay: Overlay,
    pub places: Vec<Here>,
}

pub fn ip(network: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, network, 0, last)
}

pub fn underlay(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

pub fn underlay_six(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd09, 0, 0, 0, 0, 0, 0, host.into())
}

/// In `front`.
pub fn task_six(host: u8, task: u8) -> Ipv6Addr {
    six(8 * host + task)
}

pub fn six(last: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(SIX.to_bits() | u128::from(last))
}

/// Hosts have a block of eight addresses in each network.
pub fn task_ip(network: u8, host: u8, task: u8) -> Ipv4Addr {
    ip(network, 8 * host + task)
}

impl Cluster {
    /// Networks without endpoints; a service `web` in `front` and `ingress`, published, and `db` in `back`.
    pub fn new() -> Cluster {
        let dir = tempfile::tempdir().unwrap();
        let machines = Sandboxes::open(&dir.path().join("machines")).unwrap();
        let machine = |name: &str| machines.ensure(&ContainerId::new(name)).unwrap();
        let lan = machine("smp-lan");
        command(&lan, "ip", &["link", "add", "lan", "type", "bridge"]);
        command(&lan, "ip", &["link", "set", "lan", "up"]);
        let plug = |path: &PathBuf, last: u8| {
            let (port, peer) = (format!("p{last}"), path.display().to_string());
            command(
                &lan,
                "ip",
                &["link", "add", &port, "type", "veth", "peer", "name", "up0", "netns", &peer],
            );
            command(&lan, "ip", &["link", "set", &port, "master", "lan", "up"]);
            command(path, "ip", &["addr", "add", &format!("192.0.2.{last}/24"), "dev", "up0"]);
            command(path, "ip", &["link", "set", "up0", "up"]);
        };
        let client = machine("smp-client");
        plug(&client, 9);
        let host = |number: u8| {
            let path = machine(&format!("smp-host{number}"));
            plug(&path, number);
            let sandboxes = Sandboxes::open(&dir.path().join(format!("host{number}"))).unwrap();
            let open = || Overlay::open("0badcafe", sandboxes.clone()).unwrap();
            let overlay = inside(&path, open);
            Host { number, path, sandboxes, overlay, places: Vec::new() }
        };
        let hosts = (1..=3).map(host).collect();
        Cluster { client, hosts, table: table(), machines, _dir: dir }
    }

    /// A task on `host` in `networks`, the first one's interface `eth0`. Returns its sandbox.
    pub fn task(&mut self, service: &str, host: u8, task: u8, networks: &[(&str, u8)]) -> PathBuf {
        let id = TaskId::new(format!("{service}{host}{task}"));
        let owner = &mut self.hosts[usize::from(host) - 1];
        let sandbox =
            inside(&owner.path, || owner.sandboxes.ensure(&ContainerId::new(id.as_str())).unwrap());
        for (position, (name, network)) in networks.iter().enumerate() {
            owner.places.push(Here {
                container: ContainerId::new(id.as_str()),
                network: NetworkId::new(*name),
                address: task_ip(*network, host, task),
                interface: format!("eth{position}"),
                leads_out: position == 0,
                leads_out_six: position == 0,
                published: BTreeSet::new(),
            });
            self.table.endpoints.push(EndpointRow {
                task: id.clone(),
                network: NetworkId::new(*name),
                node: node(host),
                address: task_ip(*network, host, task),
                state: EndpointState::Healthy,
                weight: 1,
                service: Some(ServiceId::new(service)),
                slot: u64::from(task),
                name: id.to_string(),
                aliases: Vec::new(),
            });
        }
        sandbox
    }

    /// `front` has IPv6 from now on, and so have the machines' own addresses.
    pub fn with_six(&mut self) {
        for network in self.table.networks.iter_mut().filter(|row| row.name == "front") {
            network.six = Some(SixSubnet::new(SIX, 64));
        }
        let machines = self.hosts.iter().map(|host| (&host.path, host.number));
        for (path, last) in machines.chain([(&self.client, 9)]) {
            command(path, "sh", &["-c", "echo 0 > /proc/sys/net/ipv6/conf/up0/disable_ipv6"]);
            let address = format!("{}/64", underlay_six(last));
            command(path, "ip", &["addr", "add", &address, "dev", "up0", "nodad"]);
        }
    }

    pub fn mode(&mut self, network: &str, mode: Mode) {
        let of = self.table.networks.iter_mut().filter(|row| row.name == network);
        of.for_each(|row| row.mode = mode);
    }

    pub fn apply(&mut self) {
        let table = &self.table;
        for host in &mut self.hosts {
            let plan = host.plan(table);
            inside(&host.path, || host.overlay.apply(&plan)).unwrap();
        }
    }

    /// One host hears of it, the others do not yet.
    pub fn apply_on(&mut self, host: u8) {
        let host = &mut self.hosts[usize::from(host) - 1];
        let plan = host.plan(&self.table);
        inside(&host.path, || host.overlay.apply(&plan)).unwrap();
    }

    pub fn policy_drops(&self, host: u8) -> std::collections::BTreeMap<Ipv4Addr, u64> {
        let host = &self.hosts[usize::from(host) - 1];
        inside(&host.path, || host.overlay.policy_drops()).unwrap()
    }

    pub fn audit(&mut self, host: u8) -> Vec<Note> {
        let host = &mut self.hosts[usize::from(host) - 1];
        let plan = host.plan(&self.table);
        inside(&host.path, || host.overlay.audit(&plan)).unwrap()
    }

    /// What an apply that fails says.
    pub fn refused(&mut self, host: u8) -> String {
        let host = &mut self.hosts[usize::from(host) - 1];
        let plan = host.plan(&self.table);
        let outcome = inside(&host.path, || host.overlay.apply(&plan));
        outcome.unwrap_err().to_string()
    }

    pub fn on_host(&self, host: u8, program: &str, arguments: &[&str]) -> String {
        command(&self.hosts[usize::from(host) - 1].path, program, arguments)
    }

    pub fn empty(&mut self, host: u8) {
        let host = &mut self.hosts[usize::from(host) - 1];
        let plan = OverlayPlan::default();
        inside(&host.path, || host.overlay.apply(&plan)).unwrap();
    }
}

impl Host {
    fn plan(&self, table: &EndpointTable) -> OverlayPlan {
        let me = Me {
            node: node(self.number),
            instance: "0badcafe".to_owned(),
            underlay_mtu: 1500,
            tunnel_port: TUNNEL_PORT,
        };
        plan(table, &me, &self.places)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let own = self.hosts.iter().map(|host| &host.sandboxes);
        for sandboxes in own.chain([&self.machines]) {
            for id in sandboxes.list().unwrap() {
                sandboxes.remove(&id).unwrap();
            }
        }
    }
}

fn node(host: u8) -> NodeId {
    NodeId::new(format!("n{host}"))
}

fn table() -> EndpointTable {
    let network = |name: &str, second: u8| NetworkRow {
        id: NetworkId::new(name),
        name: name.to_owned(),
        subnet: Subnet::new(ip(second, 0), 24),
        gateway: ip(second, 1),
        six: None,
        mode: Default::default(),
        internal: false,
        ingress: name == "ingress",
        policy: Vec::new(),
        blocks: (1..=3)
            .map(|host| NodeBlock {
                block: Subnet::new(ip(second, 8 * host), 29),
                node: node(host),
            })
            .collect(),
    };
    let vip = |name: &str, second| Vip { network: NetworkId::new(name), address: ip(second, VIP) };
    let port = PortConfig {
        protocol: "tcp".to_owned(),
        published_port: PUBLISHED,
        target_port: 80,
        ..PortConfig::default()
    };
    let service = |name: &str, vips, ports| ServiceRow {
        id: ServiceId::new(name),
        name: name.to_owned(),
        vips,
        ports,
        check: None,
    };
    EndpointTable {
        version: 1,
        tunnel_port: 0,
        networks: vec![network("back", BACK), network("front", FRONT), network("ingress", INGRESS)]
            .into(),
        peers: (1..=3)
            .map(|host| PeerRow {
                node: node(host),
                underlay: underlay(host),
                wire_key: String::new(),
            })
            .collect(),
        services: vec![
            service("db", vec![vip("back", BACK)], vec![]),
            service("web", vec![vip("front", FRONT), vip("ingress", INGRESS)], vec![port]),
        ]
        .into(),
        endpoints: Default::default(),
    }
}
