//! The two sockets of one sandbox.

use names::EMBEDDED;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where the sockets are at 127.0.0.11; rules lead there from port 53 (`netdev::lead_to_resolver`), which so stays free for
/// programs of the container that bind it on all addresses. Above the ports that the kernel gives out.
pub const OWN_PORT: u16 = 61_053;

/// 127.0.0.11, UDP and TCP, bound in one sandbox.
#[derive(Debug)]
pub struct Sockets {
    pub udp: OwnedFd,
    pub tcp: OwnedFd,
}

impl Sockets {
    /// Binds in the namespace of the calling thread, whose loopback is up.
    pub fn open() -> io::Result<Self> {
        Sockets::open_at(SocketAddrV4::new(EMBEDDED, OWN_PORT))
    }

    /// The same elsewhere.
    pub fn open_at(address: SocketAddrV4) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let address = SockaddrIn::from(address);
        let udp = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        bind(udp.as_raw_fd(), &address)?;
        let tcp = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        // A restarted container's old connections linger.
        setsockopt(&tcp, sockopt::ReuseAddr, &true)?;
        bind(tcp.as_raw_fd(), &address)?;
        listen(&tcp, Backlog::new(64)?)?;
        Ok(Sockets { udp, tcp })
    }

    /// A second pair of descriptors of the same sockets, for the shim to keep.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Sockets { udp: self.udp.try_clone()?, tcp: self.tcp.try_clone()? })
    }
}
