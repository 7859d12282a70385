//! Asks the servers that know the rest of the world.

use names::ResolvConf;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// The resolver library gives up on us after 5 s: three servers fit.
const SERVER_TIMEOUT: Duration = Duration::from_millis(1500);
/// As many as the resolver library itself asks.
const MAX_SERVERS: usize = 3;
/// A DNS message over UDP with EDNS has at most this.
const MAX_DATAGRAM: usize = 65_535;

const RCODE_MASK: u8 = 0x0f;
const SERVFAIL: u8 = 2;
const REFUSED: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The host's `resolv.conf`. When it names only a stub on the loopback, the servers behind that stub
/// (systemd-resolved writes them down) come after it.
pub fn host_resolv_conf() -> ResolvConf {
    let read = |path| ResolvConf::parse(&std::fs::read_to_string(path).unwrap_or_default());
    let mut conf = read("/etc/resolv.conf");
    if conf.is_local_only() {
        conf.nameservers.extend(read("/run/systemd/resolve/resolv.conf").nameservers);
    }
    conf
}

/// The first useful reply to `query`, asked over the transport that the client used, so that a truncated
/// reply makes it come back over TCP. `None` when no server gave one.
pub(crate) async fn ask(
    servers: &[SocketAddr],
    query: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let mut poor = None;
    for server in servers.iter().take(MAX_SERVERS) {
        let asked = async {
            match transport {
                Transport::Udp => ask_udp(*server, query).await,
                Transport::Tcp => ask_tcp(*server, query).await,
            }
        };
        match timeout(SERVER_TIMEOUT, asked).await {
            Ok(Ok(reply)) => match reply.get(3).map(|flags| flags & RCODE_MASK) {
                Some(SERVFAIL | REFUSED) => poor = Some(reply),
                _ => return Some(reply),
            },
            Ok(Err(err)) => tracing::debug!(%server, error = %err, "an upstream DNS server failed"),
            Err(_elapsed) => tracing::debug!(%server, "an upstream DNS server did not answer"),
        }
    }
    poor
}

/// A fresh socket, hence a random port, for each query: RFC 5452.
async fn ask_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let got = socket.recv(&mut buffer).await?;
        if answers(&buffer[..got], query) {
            buffer.truncate(got);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_framed(&mut stream, query).await?;
    let reply = read_framed(&mut stream).await?;
    match answers(&reply, query) {
        true => Ok(reply),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is to another query")),
    }
}

/// The same id, and a response.
fn answers(reply: &[u8], query: &[u8]) -> bool {
    reply.len() >= 12 && reply.get(..2) == query.get(..2) && reply[2] & 0x80 != 0
}

/// One message with the length that TCP puts before it (RFC 1035, 4.2.2).
pub(crate) async fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

pub(crate) async fn write_framed(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let too_long = |_| io::Error::new(io::ErrorKind::InvalidData, "the message is too long");
    let len = u16::try_from(message.len()).map_err(too_long)?;
    stream.write_all(&[&len.to_be_bytes()[..], message].concat()).await
}
