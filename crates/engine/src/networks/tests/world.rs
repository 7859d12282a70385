//! A host in a namespace with an engine's networks, and what a container would do.

use crate::networks::attach::{Attached, Publishing};
use crate::networks::endpoint::Asker;
use crate::networks::member::Place;
use crate::networks::{Joining, Networks};
use crate::{EngineConfig, Result};
use netdev::{Sandboxes, run_in};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;
use types::ContainerId;
use types::network::{CreateRequest, EndpointSettings, Ipam, IpamConfig, Network};
use types::port::{PortBinding, PortMap};

const RESOLVER: (Ipv4Addr, u16) = (names::EMBEDDED, 53);
/// As a program's first thread has it.
const STACK_BYTES: usize = 8 << 20;
const LIMIT: Duration = Duration::from_secs(60);

pub(super) struct World {
    config: EngineConfig,
    networks: Option<Networks>,
    dir: tempfile::TempDir,
}

/// A container that starts.
#[derive(Clone)]
pub(super) struct Container {
    name: String,
    networks: BTreeMap<String, EndpointSettings>,
    ports: PortMap,
    pub(super) dns: Vec<String>,
}

pub(super) fn container(name: &str, networks: &[(&str, EndpointSettings)]) -> Container {
    let networks = networks.iter().map(|(name, wish)| ((*name).to_owned(), wish.clone())).collect();
    Container { name: name.to_owned(), networks, ports: PortMap::new(), dns: Vec::new() }
}

pub(super) fn on(name: &str, network: &str) -> Container {
    container(name, &[(network, EndpointSettings::default())])
}

impl Container {
    /// 0 is any host port.
    pub(super) fn publish(&mut self, key: &str, host_port: u16) {
        let host_port = if host_port == 0 { String::new() } else { host_port.to_string() };
        let binding = PortBinding { host_ip: String::new(), host_port };
        self.ports.insert(key.to_owned(), Some(vec![binding]));
    }
}

pub(super) fn with_alias(alias: &str) -> EndpointSettings {
    EndpointSettings { aliases: Some(vec![alias.to_owned()]), ..EndpointSettings::default() }
}

pub(super) fn ipam(subnet: &str, gateway: &str) -> Ipam {
    let config = IpamConfig {
        subnet: subnet.to_owned(),
        gateway: gateway.to_owned(),
        ..IpamConfig::default()
    };
    Ipam { config: Some(vec![config]), ..Ipam::default() }
}

pub(super) fn id(name: &str) -> ContainerId {
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    ContainerId::new(format!("{digits:0<64}"))
}

pub(super) fn addresses(texts: &[&str]) -> Vec<Ipv4Addr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl World {
    /// Runs `test` on a host of its own: every thread of its runtime is born in that namespace.
    pub(super) fn run(test: impl AsyncFnOnce(&mut World) + Send) {
        let dir = tempfile::tempdir().unwrap();
        let hosts = Sandboxes::open(&dir.path().join("hosts")).unwrap();
        let host_id = ContainerId::new("smp-host");
        let host = hosts.ensure(&host_id).unwrap();
        let host_thread = || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let config = EngineConfig {
                    data_root: dir.path().join("data"),
                    exec_root: dir.path().join("exec"),
                    ..EngineConfig::default()
                };
                let mut world = World { config, networks: None, dir };
                world.start_daemon().await;
                world.networks().settle().await.unwrap();
                test(&mut world).await;
            });
            Ok(())
        };
        // A sandbox's thread has no stack to speak of; threads that it makes are in its namespace.
        let run = || {
            std::thread::scope(|scope| {
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
                let died = |died| std::panic::resume_unwind(died);
                thread.spawn_scoped(scope, host_thread)?.join().unwrap_or_else(died)
            })
        };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run_in(&host, run)));
        hosts.remove(&host_id).unwrap();
        outcome.unwrap().unwrap();
    }

    pub(super) fn networks(&self) -> &Networks {
        self.networks.as_ref().unwrap()
    }

    pub(super) async fn start_daemon(&mut self) {
        self.networks = Some(Networks::open(&self.config, "0badcafe-0000").await.unwrap());
    }

    /// As a kill would: nothing is taken back.
    pub(super) async fn stop_daemon(&mut self) {
        self.networks = None;
        // The resolvers' tasks end when the runtime comes round to them.
        tokio::task::yield_now().await;
    }

    pub(super) async fn create(
        &self,
        name: &str,
        change: impl FnOnce(&mut CreateRequest),
    ) -> Result<Network> {
        let mut request = CreateRequest { name: name.to_owned(), ..CreateRequest::default() };
        change(&mut request);
        self.networks().create(request).await
    }

    pub(super) async fn attach(&self, container: Container) -> Result<Attached> {
        let id = id(&container.name);
        let joining = Joining {
            id: &id,
            name: &container.name,
            hostname: id.short(),
            mode: container.networks.keys().next().unwrap(),
            networks: &container.networks,
            publishing: Publishing { bindings: &container.ports, exposed: None, all: false },
            dns: &container.dns,
            granted: &BTreeMap::new(),
        };
        self.networks().attach(joining).await
    }

    pub(super) async fn connect(
        &self,
        name: &str,
        network: &str,
        wish: EndpointSettings,
    ) -> Result<EndpointSettings> {
        let network = self.networks().inspect(network).await?;
        let asker = Asker { id: &id(name), name, hostname: "" };
        Ok(self.networks().connect(&network, wish, &asker, &BTreeMap::new()).await?.0)
    }

    pub(super) async fn disconnect(&self, name: &str, network: &str) -> Result<Option<Place>> {
        let network = self.networks().inspect(network).await?;
        let left = self.networks().disconnect(&network.id, &id(name)).await?;
        Ok(left.map(|(place, _)| place))
    }

    pub(super) async fn names(&self) -> Vec<String> {
        let state = self.networks().state.lock().await;
        let mut names: Vec<_> =
            state.networks.values().map(|known| known.record.name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn sandboxes(&self) -> Vec<ContainerId> {
        self.networks().sandboxes.list().unwrap()
    }

    /// What of containers is on the host and on the disk.
    fn leftovers(&self) -> Vec<String> {
        let links = self.links();
        let veths = links.lines().filter(|line| line.contains("veth")).map(str::to_owned);
        let members = std::fs::read_dir(self.dir.path().join("exec/networks")).unwrap();
        let members =
            members.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let sandboxes = self.sandboxes().into_iter().map(|id| id.to_string());
        veths.chain(members).chain(sandboxes).collect()
    }

    /// Waits for the kernel to free the last pair.
    pub(super) async fn nothing_is_left(&self) {
        let deadline = std::time::Instant::now() + LIMIT;
        while !self.leftovers().is_empty() {
            assert!(std::time::Instant::now() < deadline, "left: {:?}", self.leftovers());
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn links(&self) -> String {
        run("ip", &["-o", "link"])
    }

    pub(super) fn ip(&self, netns: &Path, arguments: &[&str]) -> String {
        run_in(netns, || Ok(run("ip", arguments))).unwrap()
    }

    /// The endpoint's id out of a refusal.
    pub(super) fn endpoint_in(&self, refused: &Result<Attached>) -> String {
        let text = refused.as_ref().unwrap_err().to_string();
        text.split_once("endpoint web (").unwrap().1.split(')').next().unwrap().to_owned()
    }

    /// A DNS server on the host that knows one answer to everything. Returns where it listens.
    pub(super) fn upstream(&self, answer: Ipv4Addr) -> Ipv4Addr {
        let address = Ipv4Addr::new(127, 0, 0, 99);
        let socket = UdpSocket::bind((address, 53)).unwrap();
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((got, client)) = socket.recv_from(&mut query) {
                let mut reply = query[..got].to_vec();
                reply[2] |= 0x80;
                reply[7] = 1;
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                reply.extend(answer.octets());
                if socket.send_to(&reply, client).is_err() {
                    return;
                }
            }
        });
        address
    }

    pub(super) fn tcp_server(&self, netns: &Path, port: u16) {
        let listener = run_in(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(drop));
    }

    /// Says hello to everybody.
    pub(super) fn greeter(&self, netns: &Path, port: u16) {
        let listener = run_in(netns, || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let _said = client.write_all(b"hello");
            }
        });
    }

    /// Sends datagrams back.
    pub(super) fn echo(&self, netns: &Path, port: u16) {
        let socket = run_in(netns, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap();
        std::thread::spawn(move || {
            let mut datagram = [0; 512];
            while let Ok((got, client)) = socket.recv_from(&mut datagram) {
                let _sent = socket.send_to(&datagram[..got], client);
            }
        });
    }

    /// Whether the host's own 127.0.0.1 leads to somebody.
    pub(super) fn reaches(&self, port: u16) -> bool {
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT).is_ok()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(networks) = &self.networks {
            for id in networks.sandboxes.list().unwrap_or_default() {
                networks.sandboxes.remove(&id).unwrap();
            }
        }
    }
}

/// What is said at the host's `::1`.
pub(super) async fn greeting(port: u16) -> String {
    let ask = move || {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::from((Ipv6Addr::LOCALHOST, port)), LIMIT)
                .unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

pub(super) async fn echoed(port: u16) -> String {
    let ask = move || {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.send_to(b"ping", (Ipv6Addr::LOCALHOST, port)).unwrap();
        let mut datagram = [0; 512];
        let got = socket.recv(&mut datagram).unwrap();
        String::from_utf8_lossy(&datagram[..got]).into_owned()
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// Once the tasks that listened have ended.
pub(super) async fn is_refused(port: u16) -> bool {
    let deadline = std::time::Instant::now() + LIMIT;
    while TcpStream::connect((Ipv6Addr::LOCALHOST, port)).is_ok() {
        if std::time::Instant::now() > deadline {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// An `A` query.
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len().try_into().unwrap());
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// The addresses of a reply whose answers all have a compressed name.
fn answers(reply: &[u8], query: &[u8]) -> Vec<Ipv4Addr> {
    assert_eq!(reply[3] & 0x0f, 0, "the answer is an error");
    let record = |bytes: &[u8]| Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[12..16]).unwrap());
    reply[query.len()..].chunks_exact(16).map(record).collect()
}

pub(super) fn send_query(netns: &Path, name: &str) -> (UdpSocket, Vec<u8>) {
    let query = query(name);
    let socket = run_in(netns, || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.send_to(&query, RESOLVER).unwrap();
    (socket, query)
}

pub(super) async fn receive((socket, query): (UdpSocket, Vec<u8>)) -> Vec<Ipv4Addr> {
    let receive = move || {
        let mut reply = [0; 512];
        let got = socket.recv(&mut reply).unwrap();
        answers(&reply[..got], &query)
    };
    tokio::task::spawn_blocking(receive).await.unwrap()
}

pub(super) async fn ask_udp(netns: &Path, name: &str) -> Vec<Ipv4Addr> {
    receive(send_query(netns, name)).await
}

pub(super) async fn ask_tcp(netns: &Path, name: &str) -> Vec<Ipv4Addr> {
    let (netns, query) = (netns.to_owned(), query(name));
    let ask = move || {
        let mut stream = run_in(&netns, || TcpStream::connect(RESOLVER)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let len = u16::try_from(query.len()).unwrap();
        stream.write_all(&[&len.to_be_bytes()[..], &query].concat()).unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut reply = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut reply).unwrap();
        answers(&reply, &query)
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}
