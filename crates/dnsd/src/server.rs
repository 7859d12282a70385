//! The loops that serve one sandbox.

use crate::Sockets;
use crate::upstream::{Transport, ask, read_framed, write_framed};
use hickory_proto::op::{Message, ResponseCode};
use names::{Reply, Zone, answer, refuse};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Queries under way upstream for one sandbox; one more is answered SERVFAIL at once.
pub const MAX_FORWARDS: usize = 128;
/// TCP connections of one sandbox; further ones wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 32;
/// A TCP client that asks nothing is let go (RFC 7766 asks for seconds).
const IDLE: Duration = Duration::from_secs(10);
/// Queries are small: a larger datagram is nonsense.
const MAX_QUERY: usize = 4096;

/// What a sandbox may know. Replaced as a whole when the endpoint table or the host's servers change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// In the order in which they count.
    pub zones: Vec<Arc<Zone>>,
    pub upstream: Vec<SocketAddr>,
}

/// One sandbox being served; ends when dropped.
#[derive(Debug)]
pub struct Server {
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

struct Shared {
    view: watch::Receiver<Arc<View>>,
    turn: AtomicUsize,
    forwards: Semaphore,
}

/// Serves `sockets`, fresh or adopted, with the latest of `view`. Called inside a tokio runtime.
pub fn serve(sockets: Sockets, view: watch::Receiver<Arc<View>>) -> io::Result<Server> {
    let udp = std::net::UdpSocket::from(sockets.udp);
    udp.set_nonblocking(true)?;
    let tcp = std::net::TcpListener::from(sockets.tcp);
    tcp.set_nonblocking(true)?;
    let (udp, tcp) = (Arc::new(UdpSocket::from_std(udp)?), TcpListener::from_std(tcp)?);
    let shared = Arc::new(Shared {
        view,
        turn: AtomicUsize::new(0),
        forwards: Semaphore::new(MAX_FORWARDS),
    });
    let tasks =
        vec![tokio::spawn(serve_udp(udp, shared.clone())), tokio::spawn(serve_tcp(tcp, shared))];
    Ok(Server { tasks })
}

/// What to send back, or nothing yet.
enum Handled {
    Reply(Vec<u8>),
    Forward(Message),
    /// Not a DNS query: answering would make us a mirror for nonsense.
    Ignore,
}

impl Shared {
    fn handle(&self, query: &[u8]) -> Handled {
        let Ok(message) = Message::from_vec(query) else { return Handled::Ignore };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let view = self.view.borrow().clone();
        match answer(&view.zones, &message, turn) {
            Reply::Answer(reply) => encode(&reply),
            Reply::Forward => Handled::Forward(message),
        }
    }

    async fn forward(
        &self,
        message: &Message,
        query: &[u8],
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let servers = self.view.borrow().upstream.clone();
        if let Ok(_permit) = self.forwards.try_acquire()
            && let Some(reply) = ask(&servers, query, transport).await
        {
            return Some(reply);
        }
        refuse(message, ResponseCode::ServFail).to_vec().ok()
    }
}

fn encode(reply: &Message) -> Handled {
    reply.to_vec().map_or(Handled::Ignore, Handled::Reply)
}

async fn serve_udp(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut buffer = [0; MAX_QUERY];
    let mut forwards = tokio::task::JoinSet::new();
    loop {
        let (got, client) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                Err(err) => {
                    // A client that closed its socket makes the next call fail; nothing else is expected.
                    tracing::debug!(error = %err, "failed to receive a DNS query");
                    tokio::task::yield_now().await;
                    continue;
                }
            },
            Some(_done) = forwards.join_next() => continue,
        };
        match shared.handle(&buffer[..got]) {
            Handled::Ignore => {}
            Handled::Reply(reply) => send(&socket, &reply, client).await,
            Handled::Forward(message) => {
                let (socket, shared) = (socket.clone(), shared.clone());
                let query = buffer[..got].to_vec();
                forwards.spawn(async move {
                    if let Some(reply) = shared.forward(&message, &query, Transport::Udp).await {
                        send(&socket, &reply, client).await;
                    }
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], client: SocketAddr) {
    if let Err(err) = socket.send_to(reply, client).await {
        tracing::debug!(error = %err, "failed to send a DNS answer");
    }
}

async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        if let Err(err) = serve_connection(stream, &shared).await {
                            tracing::debug!(error = %err, "a DNS connection failed");
                        }
                    });
                }
                Err(err) => {
                    // Out of descriptors: give those that are served the time to end.
                    tracing::warn!(error = %err, "failed to accept a DNS connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_done) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let query = match timeout(IDLE, read_framed(&mut stream)).await {
            Err(_idle) => return Ok(()),
            Ok(Err(err)) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(query) => query?,
        };
        let reply = match shared.handle(&query) {
            Handled::Ignore => return Ok(()),
            Handled::Reply(reply) => Some(reply),
            Handled::Forward(message) => shared.forward(&message, &query, Transport::Tcp).await,
        };
        if let Some(reply) = reply {
            write_framed(&mut stream, &reply).await?;
        }
    }
}
