//! Published ports at the host's IPv6 addresses that no rule leads to a container: those of a network with IPv4 only, and
//! `::1`, which the kernel routes nowhere. What arrives is passed on from here to the container's IPv4 address, as
//! dockerd's proxy does; the container sees the host as its client.
//!
//! The sockets listen from the moment they are bound and are the shim's, too: while no daemon is there, connections wait.

use super::member::{Member, Port};
use super::{Networks, State};
use crate::{Error, Result};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use types::ContainerId;
use types::port::Protocol;

/// Connections, or clients of a UDP port, at a time; of connections the next ones wait.
const MOST: usize = 1024;

/// A UDP client that was not answered for so long is forgotten, as by dockerd's proxy.
const IDLE: Duration = Duration::from_secs(90);

/// Until the next attempt when the kernel has no descriptor or no memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// A datagram's largest size.
const LARGEST: usize = 65_536;

/// A container's relayed ports; dropped, all ends.
pub(super) struct Relay {
    to: watch::Sender<Option<Ipv4Addr>>,
    _tasks: JoinSet<()>,
}

/// Where a port leads: the container may leave a network and join another one.
#[derive(Clone)]
struct Target {
    address: watch::Receiver<Option<Ipv4Addr>>,
    port: u16,
}

impl Target {
    fn now(&self) -> Option<SocketAddr> {
        Some(SocketAddr::from(((*self.address.borrow())?, self.port)))
    }
}

impl Relay {
    fn start(held: Vec<(Port, OwnedFd)>, to: Option<Ipv4Addr>) -> io::Result<Self> {
        let to = watch::Sender::new(to);
        let mut tasks = JoinSet::new();
        for (port, socket) in held {
            let target = Target { address: to.subscribe(), port: port.container_port };
            match port.protocol {
                Protocol::Tcp => {
                    let listener = std::net::TcpListener::from(socket);
                    listener.set_nonblocking(true)?;
                    tasks.spawn(pass_connections(TcpListener::from_std(listener)?, target));
                }
                Protocol::Udp => {
                    let socket = std::net::UdpSocket::from(socket);
                    socket.set_nonblocking(true)?;
                    tasks.spawn(pass_datagrams(UdpSocket::from_std(socket)?, target));
                }
                Protocol::Sctp => {}
            }
        }
        Ok(Relay { to, _tasks: tasks })
    }
}

impl Networks {
    /// The names under which the shim of a container that runs keeps the sockets that are relayed.
    pub(crate) fn relayed(&self, id: &ContainerId) -> Vec<String> {
        let member = self.load_member(id);
        member.iter().flat_map(Member::relayed).map(Port::socket_name).collect()
    }
}

impl State {
    /// Begins to pass on what arrives at those of `sockets` that are to be relayed.
    pub(super) fn relay<'a>(
        &mut self,
        id: &ContainerId,
        sockets: impl IntoIterator<Item = &'a (String, OwnedFd)>,
    ) -> Result<()> {
        let Some(member) = self.members.get(id) else { return Ok(()) };
        let ports: HashMap<String, Port> =
            member.relayed().map(|port| (port.socket_name(), *port)).collect();
        if ports.is_empty() {
            return Ok(());
        }
        let failed = |err| Error::caused("failed to relay a port", err);
        let mut held = Vec::new();
        for (name, socket) in sockets {
            if let Some(port) = ports.get(name) {
                held.push((*port, socket.try_clone().map_err(failed)?));
            }
        }
        let relay = Relay::start(held, self.relayed_to(member)).map_err(failed)?;
        self.relays.insert(id.clone(), relay);
        Ok(())
    }

    /// After containers joined and left networks.
    pub(super) fn turn_relays(&self) {
        for (id, relay) in &self.relays {
            let to = self.members.get(id).and_then(|member| self.relayed_to(member));
            relay.to.send_if_modified(|now| std::mem::replace(now, to) != to);
        }
    }

    /// The address on the bridge that has the container's default route.
    fn relayed_to(&self, member: &Member) -> Option<Ipv4Addr> {
        let gateway = self.gateway_of(member)?;
        let is_bridge = self.networks.get(&gateway.network)?.bridge.is_some();
        is_bridge.then_some(gateway.address)
    }
}

async fn pass_connections(listener: TcpListener, target: Target) {
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if passing.len() < MOST => match accepted {
                Ok((client, _)) => drop(passing.spawn(pass(client, target.now()))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            Some(_ended) = passing.join_next() => {}
        }
    }
}

/// Each side's end is told to the other; who cannot be reached closes the connection.
async fn pass(mut client: TcpStream, to: Option<SocketAddr>) {
    let Some(to) = to else { return };
    let Ok(mut server) = TcpStream::connect(to).await else { return };
    let _ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

/// Each client gets a socket of its own towards the container, so that answers find back.
async fn pass_datagrams(socket: UdpSocket, target: Target) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut answering = JoinSet::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        tokio::select! {
            got = socket.recv_from(&mut buffer) => {
                let Ok((length, client)) = got else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let server = match clients.get(&client) {
                    Some(server) => server.clone(),
                    None if clients.len() >= MOST => continue,
                    None => {
                        let Some(server) = towards(&target).await else { continue };
                        clients.insert(client, server.clone());
                        answering.spawn(answer(socket.clone(), server.clone(), client));
                        server
                    }
                };
                // As on any way of a datagram, it may be lost.
                let _sent = server.send(buffer.get(..length).unwrap_or_default()).await;
            }
            Some(ended) = answering.join_next() => {
                clients.retain(|client, _| ended.as_ref().ok() != Some(client));
            }
        }
    }
}

async fn towards(target: &Target) -> Option<Arc<UdpSocket>> {
    let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?;
    server.connect(target.now()?).await.ok()?;
    Some(Arc::new(server))
}

/// Returns the client when nothing comes for it any more.
async fn answer(socket: Arc<UdpSocket>, server: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut buffer = vec![0; LARGEST];
    while let Ok(Ok(length)) = tokio::time::timeout(IDLE, server.recv(&mut buffer)).await {
        let _sent = socket.send_to(buffer.get(..length).unwrap_or_default(), client).await;
    }
    client
}
