//! How large a packet passes to another node, by asking: ICMP echoes that nobody on the way may cut into pieces.

use crate::link::Route;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// An answer that takes longer is none. Several are lost only by a path that loses them all.
const ANSWER: Duration = Duration::from_millis(700);
const TRIES: u32 = 3;
/// Every path carries so much (RFC 791).
const LEAST: u32 = 68;
/// The largest that passes is told to within so many bytes.
const EXACT: u32 = 4;

const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// The IPv4 header's flag against pieces.
const WHOLE: [u8; 2] = [0x40, 0];

/// What passes to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passes {
    /// As much as the interface takes.
    All,
    /// Packets of so many bytes, and none that are much larger.
    UpTo(u32),
    /// It answers no echo, not even a small one: nothing is known.
    Silent,
}

/// Asks how large packets pass from the calling thread's namespace to `peer`, up to `mtu` bytes, with the IPv4 header.
/// Takes some seconds when not all do.
pub fn probe_path(peer: Ipv4Addr, mtu: u32) -> io::Result<Passes> {
    let mut echoes = Echoes::open(peer)?;
    if echoes.pass(mtu)? {
        return Ok(Passes::All);
    }
    if !echoes.pass(LEAST)? {
        return Ok(Passes::Silent);
    }
    // Once more: it may have been gone for a moment.
    if echoes.pass(mtu)? {
        return Ok(Passes::All);
    }
    let (mut passes, mut too_large) = (LEAST, mtu);
    while too_large - passes > EXACT {
        let middle = u32::midpoint(passes, too_large);
        match echoes.pass(middle)? {
            true => passes = middle,
            false => too_large = middle,
        }
    }
    Ok(Passes::UpTo(passes))
}

/// What the link of that name takes in the calling thread's namespace; `None` when there is none. What `/sys` says may be of the namespace that it was
/// mounted in.
pub fn link_mtu(name: &str) -> io::Result<Option<u32>> {
    Ok(Route::open()?.link(name)?.map(|link| link.mtu))
}

struct Echoes {
    peer: Ipv4Addr,
    /// Packets with a header of our own.
    out: OwnedFd,
    /// ICMP of everybody.
    back: OwnedFd,
    /// Tells our echoes from others'.
    number: u16,
    sequence: u16,
}

impl Echoes {
    fn open(peer: Ipv4Addr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let raw = |protocol| socket(AddressFamily::Inet, SockType::Raw, flags, protocol);
        let (out, back) = (raw(SockProtocol::Raw)?, raw(SockProtocol::Icmp)?);
        let patience = TimeVal::milliseconds(i64::try_from(ANSWER.as_millis()).unwrap_or(1));
        setsockopt(&back, sockopt::ReceiveTimeout, &patience)?;
        let number = (back.as_raw_fd() as u16) ^ (std::process::id() as u16).rotate_left(5);
        Ok(Echoes { peer, out, back, number, sequence: 0 })
    }

    /// Whether an echo of that size comes back.
    fn pass(&mut self, size: u32) -> io::Result<bool> {
        for _ in 0..TRIES {
            self.sequence = self.sequence.wrapping_add(1);
            let to = SockaddrIn::from(SocketAddrV4::new(self.peer, 0));
            match sendto(self.out.as_raw_fd(), &self.packet(size), &to, MsgFlags::empty()) {
                Ok(_) => {}
                // The interface or a known path is smaller; or the node is not to be reached now.
                Err(Errno::EMSGSIZE) => return Ok(false),
                Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EPERM) => return Ok(false),
                Err(err) => return Err(err.into()),
            }
            if self.is_answered()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_answered(&self) -> io::Result<bool> {
        let until = Instant::now() + ANSWER;
        let mut buffer = [0; 256];
        while Instant::now() < until {
            match recv(self.back.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(len) if self.is_ours(&buffer[..len]) => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(err) => return Err(err.into()),
            }
        }
        Ok(false)
    }

    fn is_ours(&self, packet: &[u8]) -> bool {
        let header = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
        let Some(icmp) = packet.get(header..).and_then(|icmp| icmp.first_chunk::<ICMP_HEADER>())
        else {
            return false;
        };
        let [kind, _, _, _, n0, n1, s0, s1] = *icmp;
        packet.get(12..16) == Some(&self.peer.octets())
            && kind == ECHO_REPLY
            && u16::from_be_bytes([n0, n1]) == self.number
            && u16::from_be_bytes([s0, s1]) == self.sequence
    }

    /// The kernel fills in length, checksum and source of the IPv4 header.
    fn packet(&self, size: u32) -> Vec<u8> {
        let mut packet = vec![0; (size as usize).max(IP_HEADER + ICMP_HEADER)];
        packet[0] = 0x45;
        packet[6..8].copy_from_slice(&WHOLE);
        packet[8] = 64;
        packet[9] = libc::IPPROTO_ICMP as u8;
        packet[16..20].copy_from_slice(&self.peer.octets());
        packet[20] = ECHO;
        packet[24..26].copy_from_slice(&self.number.to_be_bytes());
        packet[26..28].copy_from_slice(&self.sequence.to_be_bytes());
        let checksum = checksum(&packet[IP_HEADER..]);
        packet[22..24].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u32::from(u16::from_be_bytes([high, low])),
        [high] => u32::from(high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.fold(0, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_with_its_checksum_sums_up_to_nothing() {
        // RFC 1071's own example, and one of odd length.
        assert_eq!(checksum(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        let mut bytes = vec![8, 0, 0, 0, 1, 2, 3];
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&bytes), 0);
    }
}
