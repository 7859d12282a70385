//! A machine in network namespaces: a host, somebody outside, containers. The machine the tests run on
//! sees nothing of it.

#![allow(dead_code, reason = "each test file uses a part")]

use netdev::{NetDev, Sandboxes, run_in};
use netplan::{Endpoint, NetPlan, Network, Published, Table, plan};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use types::port::Protocol;
use types::subnet::Subnet;
use types::{ContainerId, EndpointId, NetworkId};

/// How long a packet that is dropped is waited for.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long one that arrives may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

pub struct World {
    pub dir: tempfile::TempDir,
    machines: Sandboxes,
    pub host: PathBuf,
    pub outside: PathBuf,
    pub netdev: NetDev,
    pub table: Table,
}

impl World {
    /// A host with an uplink to `outside`, and no network yet.
    pub fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let machines = Sandboxes::open(&dir.path().join("machines")).unwrap();
        let host = machines.ensure(&ContainerId::new("smp-host")).unwrap();
        let outside = machines.ensure(&ContainerId::new("smp-outside")).unwrap();
        let netdev = inside(&host, || NetDev::open(dir.path()).unwrap());
        let instance = "0badcafe".to_owned();
        let world = World {
            machines,
            host,
            outside,
            netdev,
            table: Table { instance, ..Table::default() },
            dir,
        };
        let peer = world.outside.display().to_string();
        world.on_host(
            "ip",
            &["link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", &peer],
        );
        world.on_host("ip", &["addr", "add", "192.0.2.1/24", "dev", "up0"]);
        world.on_host("ip", &["link", "set", "up0", "up"]);
        command(&world.outside, "ip", &["addr", "add", "192.0.2.2/24", "dev", "up0"]);
        command(&world.outside, "ip", &["link", "set", "up0", "up"]);
        world
    }

    pub fn on_host(&self, program: &str, arguments: &[&str]) -> String {
        command(&self.host, program, arguments)
    }

    /// Adds `br-NAME` with 10.THIRD.0.0/16.
    pub fn network(&mut self, name: &str, second: u8) -> &mut Network {
        let network = Network {
            name: name.to_owned(),
            bridge: format!("br-{name}"),
            subnet: Subnet::new(Ipv4Addr::new(10, second, 0, 0), 16),
            gateway: Ipv4Addr::new(10, second, 0, 1),
            internal: false,
            icc: true,
            masquerade: true,
            mtu: 1500,
        };
        self.table.networks.entry(NetworkId::new(name)).or_insert(network)
    }

    /// Makes the sandbox of `container` when it is missing and puts it on `network`.
    pub fn connect(&mut self, container: &str, network: &str, last: u8) -> PathBuf {
        let id = ContainerId::new(container);
        let path = inside(&self.host, || self.netdev.sandboxes().ensure(&id).unwrap());
        let [a, b, ..] = self.table.networks[network].subnet.network().octets();
        let used: Vec<String> =
            self.table.endpoints_of(&id).map(|(_, e)| e.interface.clone()).collect();
        let endpoint = Endpoint {
            network: NetworkId::new(network),
            sandbox: id.clone(),
            address: Ipv4Addr::new(a, b, 0, last),
            mac: [2, 0x42, a, b, 0, last],
            interface: netplan::free_interface("eth", used.iter().map(String::as_str)),
            gw_priority: 0,
        };
        self.table.endpoints.insert(endpoint_id(container, network), endpoint);
        self.table.sandboxes.entry(id).or_default();
        path
    }

    pub fn disconnect(&mut self, container: &str, network: &str) {
        self.table.endpoints.remove(&endpoint_id(container, network));
    }

    pub fn publish(
        &mut self,
        container: &str,
        protocol: Protocol,
        host_ip: [u8; 4],
        host_port: u16,
        container_port: u16,
    ) {
        let port = Published { protocol, host_ip: host_ip.into(), host_port, container_port };
        self.table.sandboxes.get_mut(container).unwrap().ports.push(port);
    }

    pub fn plan(&self) -> NetPlan {
        plan(&self.table)
    }

    pub fn apply(&mut self) {
        let plan = self.plan();
        inside(&self.host, || self.netdev.apply(&plan)).unwrap();
    }

    pub fn audit(&mut self) -> Vec<netdev::Note> {
        let plan = self.plan();
        inside(&self.host, || self.netdev.audit(&plan)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for sandboxes in [self.netdev.sandboxes(), &self.machines] {
            for id in sandboxes.list().unwrap() {
                sandboxes.remove(&id).unwrap();
            }
        }
    }
}

fn endpoint_id(container: &str, network: &str) -> EndpointId {
    EndpointId::new(format!("{network}{container}0123456789a"))
}

pub fn inside<T: Send>(namespace: &Path, work: impl FnOnce() -> T + Send) -> T {
    run_in(namespace, || Ok(work())).unwrap()
}

pub fn command(namespace: &Path, program: &str, arguments: &[&str]) -> String {
    let output = inside(namespace, || Command::new(program).args(arguments).output().unwrap());
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The names of all links; their states change by themselves.
pub fn links(namespace: &Path) -> Vec<String> {
    let listing = command(namespace, "ip", &["-o", "link"]);
    let name = |line: &str| line.split(": ").nth(1).map(str::to_owned);
    listing.lines().filter_map(name).collect()
}

/// A TCP server, of both families, that says to each client which address it came from.
pub fn tcp_server(namespace: &Path, port: u16) {
    let listener = inside(namespace, || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Ok(peer) = stream.peer_addr() else { continue };
            let peer = peer.ip().to_canonical().to_string();
            if stream.write_all(peer.as_bytes()).is_err() {
                return;
            }
        }
    });
}

/// Connects and returns what the server said; `None` when nobody answers.
pub fn tcp(namespace: &Path, address: impl Into<IpAddr>, port: u16) -> Option<String> {
    talk(namespace, address.into(), port, LIMIT)
}

/// For what must not get through.
pub fn tcp_refused(namespace: &Path, address: impl Into<IpAddr>, port: u16) -> bool {
    talk(namespace, address.into(), port, PATIENCE).is_none()
}

fn talk(namespace: &Path, address: IpAddr, port: u16, patience: Duration) -> Option<String> {
    let connect = || TcpStream::connect_timeout(&SocketAddr::from((address, port)), patience).ok();
    let mut stream = inside(namespace, connect)?;
    let mut said = String::new();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
}

/// A UDP server that answers `NAME ADDRESS-OF-CLIENT`.
pub fn udp_server(namespace: &Path, port: u16, name: &'static str) {
    let socket = inside(namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            if socket.send_to(format!("{name} {}", client.ip()).as_bytes(), client).is_err() {
                return;
            }
        }
    });
}

pub fn udp_client(namespace: &Path) -> UdpSocket {
    inside(namespace, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap())
}

pub fn udp(client: &UdpSocket, address: Ipv4Addr, port: u16) -> Option<String> {
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.send_to(b"?", (address, port)).ok()?;
    let mut buffer = [0; 64];
    let got = client.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..got]).into_owned())
}
