//! Ports of the host that are published.
//!
//! A bound socket holds each: packets are translated before they would reach it, and whoever else wants the port gets
//! `address already in use`, as with any server. TCP sockets of IPv6 listen, for not everything is translated there.

use crate::PortError;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, bind, getsockname,
    listen, setsockopt, socket, sockopt,
};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use types::port::Protocol;

/// Host ports that would do, first to last; 0 to 0 is whichever the kernel finds free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub const ANY: PortRange = PortRange { first: 0, last: 0 };
}

/// A port that is ours as long as the socket is open, here or in the shim it was handed to.
#[derive(Debug)]
pub struct Reservation {
    pub host_port: u16,
    /// `None` for SCTP, which the kernel may not have: such a port is translated but not held.
    pub socket: Option<OwnedFd>,
}

/// Takes the first free port of `range` at `address` in the calling thread's namespace.
pub fn reserve(
    protocol: Protocol,
    address: IpAddr,
    range: PortRange,
) -> Result<Reservation, PortError> {
    let failed = |port, errno| PortError { address, port, protocol, errno };
    let (kind, protocol_number) = match protocol {
        Protocol::Tcp => (SockType::Stream, SockProtocol::Tcp),
        Protocol::Udp => (SockType::Datagram, SockProtocol::Udp),
        Protocol::Sctp if range == PortRange::ANY => return Err(failed(0, Errno::EPROTONOSUPPORT)),
        Protocol::Sctp => return Ok(Reservation { host_port: range.first, socket: None }),
    };
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let mut refused = Errno::EADDRINUSE;
    for port in range.first..=range.last {
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, protocol_number)
            .map_err(|errno| failed(port, errno))?;
        if address.is_ipv6() {
            // The IPv4 half of `::` is a reservation of its own.
            setsockopt(&socket, sockopt::Ipv6V6Only, &true).map_err(|errno| failed(port, errno))?;
        }
        let listens = address.is_ipv6() && protocol == Protocol::Tcp;
        if listens {
            // The last run's connections that still wait for their end are in nobody's way.
            setsockopt(&socket, sockopt::ReuseAddr, &true).map_err(|errno| failed(port, errno))?;
        }
        let at = SockaddrStorage::from(SocketAddr::new(address, port));
        let bound = bind(socket.as_raw_fd(), &at).and_then(|()| match listens {
            true => listen(&socket, Backlog::MAXCONN),
            false => Ok(()),
        });
        match bound {
            Ok(()) => {
                let bound: SockaddrStorage =
                    getsockname(socket.as_raw_fd()).map_err(|errno| failed(port, errno))?;
                let bound = bound
                    .as_sockaddr_in()
                    .map(|it| it.port())
                    .or_else(|| bound.as_sockaddr_in6().map(|it| it.port()));
                let host_port = bound.unwrap_or(port);
                return Ok(Reservation { host_port, socket: Some(socket) });
            }
            Err(errno) => refused = errno,
        }
    }
    Err(failed(range.last, refused))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_taken_port_is_refused_in_dockers_words_and_a_range_goes_on() {
        let holder = TcpListener::bind((HERE, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let only = PortRange { first: port, last: port };
        let err = reserve(Protocol::Tcp, HERE, only).unwrap_err();
        assert_eq!(
            err.to_string(),
            format!("failed to bind host port 127.0.0.1:{port}/tcp: address already in use")
        );
        let range = PortRange { first: port, last: port.saturating_add(50) };
        let next = reserve(Protocol::Tcp, HERE, range).unwrap();
        assert!(next.host_port > port);
    }

    #[test]
    fn a_reserved_port_is_refused_to_others_until_it_is_given_back() {
        // Who asks for any port may get the one that was given back: again with another one.
        let is_free_again = (0..5).any(|_| {
            let held = reserve(Protocol::Udp, HERE, PortRange::ANY).unwrap();
            assert!(UdpSocket::bind((HERE, held.host_port)).is_err());
            let port = held.host_port;
            drop(held);
            UdpSocket::bind((HERE, port)).is_ok()
        });
        assert!(is_free_again);
    }

    #[test]
    fn an_address_that_is_not_ours_is_refused() {
        let err =
            reserve(Protocol::Tcp, IpAddr::from([192, 0, 2, 1]), PortRange { first: 80, last: 80 });
        assert_eq!(
            err.unwrap_err().to_string(),
            "failed to bind host port 192.0.2.1:80/tcp: cannot assign requested address"
        );
    }
}
