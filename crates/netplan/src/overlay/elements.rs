//! Elements of sets and maps and choices among endpoints, as values: the text for `nft` and the bytes for netlink follow
//! from the same.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr};
use types::port::Protocol;

/// One value of a set's or map's type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// `ifname`, whole.
    Interface(String),
    /// `ipv4_addr` or `ipv6_addr`.
    Address(IpAddr),
    /// All addresses that begin with these bits; in sets of intervals.
    Block(IpAddr, u8),
    /// `ether_addr`
    Mac([u8; 6]),
    /// `inet_proto`
    Protocol(Protocol),
    /// `inet_service`
    Port(u16),
    Mark(u32),
    /// A verdict: on to that chain.
    Goto(Chain),
}

/// What tells an element: one value, or several side by side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub Vec<Datum>);

/// Of one set: in a map with what the key leads to.
pub type Elements = std::collections::BTreeMap<Key, Option<Datum>>;

/// A chain that holds one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chain {
    /// By the VIP; that of IPv4 names the one of IPv6, too.
    Vip(Ipv4Addr),
    /// By the published port.
    Port(Protocol, u16),
}

/// To which endpoint a new connection is led: one at random.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Of these packets alone, to that port; `None`: of all, and their ports stay.
    pub port: Option<(Protocol, u16)>,
    /// Addresses, in order, and each one's share. Never empty, and all of one family.
    pub to: Vec<(IpAddr, u32)>,
}

impl Choice {
    /// The sum of all shares: what the random number is below.
    pub fn whole(&self) -> u32 {
        self.to.iter().map(|(_, share)| share).sum()
    }

    /// Endpoints with the numbers that lead to them, first and last.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32, IpAddr)> {
        let mut from = 0;
        self.to.iter().map(move |(address, share)| {
            let first = from;
            from += share;
            (first, from - 1, *address)
        })
    }

    /// Whether some have more shares than others: then numbers are looked up as intervals.
    pub fn is_weighted(&self) -> bool {
        self.to.iter().any(|(_, share)| *share != 1)
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Interface(name) => write!(f, "\"{name}\""),
            Datum::Address(address) => write!(f, "{address}"),
            Datum::Block(address, prefix_len) => write!(f, "{address}/{prefix_len}"),
            Datum::Mac(mac) => write!(f, "{}", mac.map(|byte| format!("{byte:02x}")).join(":")),
            Datum::Protocol(protocol) => write!(f, "{}", protocol.as_str()),
            Datum::Port(port) => write!(f, "{port}"),
            Datum::Mark(mark) => write!(f, "{mark:#010x}"),
            Datum::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, part) in self.0.iter().enumerate() {
            let between = if position > 0 { " . " } else { "" };
            write!(f, "{between}{part}")?;
        }
        Ok(())
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Chain::Vip(vip) => write!(f, "vip_{:08x}", vip.to_bits()),
            Chain::Port(protocol, port) => write!(f, "port_{}_{port}", protocol.as_str()),
        }
    }
}

/// The rule, as `nft` reads it.
impl Display for Choice {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_four = self.to.first().is_none_or(|(address, _)| address.is_ipv4());
        if let Some((protocol, _)) = self.port {
            write!(f, "meta l4proto {} ", protocol.as_str())?;
        }
        write!(f, "dnat {} to ", if is_four { "ip" } else { "ip6" })?;
        if let [(address, _)] = self.to.as_slice() {
            return match self.port {
                Some((_, port)) => write!(f, "{}", std::net::SocketAddr::new(*address, port)),
                None => write!(f, "{address}"),
            };
        }
        write!(f, "numgen random mod {} map {{ ", self.whole())?;
        for (first, last, address) in self.ranges() {
            let between = if first > 0 { ", " } else { "" };
            match first == last {
                true => write!(f, "{between}{first} : {address}")?,
                false => write!(f, "{between}{first}-{last} : {address}")?,
            }
            if let Some((_, port)) = self.port {
                write!(f, " . {port}")?;
            }
        }
        write!(f, " }}")
    }
}
