//! IPv6 beside IPv4: a network's second subnet, in which each of its IPv4 addresses has a place.
//!
//! An endpoint's IPv6 address is its IPv4 address's place in the other subnet (`10.0.1.7` in `10.0.1.0/24` is `…::7`), and
//! so is a node's block and a VIP. Nothing has to be given out, written down or told beside the subnet.

use crate::subnet::Subnet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv6 block whose host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SixSubnet {
    network: Ipv6Addr,
    prefix_len: u8,
}

/// The text is no IPv6 address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSixSubnet;

impl SixSubnet {
    /// The block of `prefix_len` bits around `address`; longer prefixes than 128 count as 128.
    pub const fn new(address: Ipv6Addr, prefix_len: u8) -> Self {
        let prefix_len = if prefix_len > 128 { 128 } else { prefix_len };
        let network = Ipv6Addr::from_bits(address.to_bits() & mask(prefix_len));
        SixSubnet { network, prefix_len }
    }
    /// Its first address.
    pub const fn network(self) -> Ipv6Addr {
        self.network
    }
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }
    /// Docker's: the first address after the subnet's own.
    pub const fn gateway(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | 1)
    }
    pub const fn contains(self, address: Ipv6Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.network.to_bits()
    }
    /// Whether the two share an address.
    pub const fn overlaps(self, other: SixSubnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
    /// Whether every address of `subnet` has a place here.
    pub const fn has_room_for(self, subnet: Subnet) -> bool {
        128 - self.prefix_len >= 32 - subnet.prefix_len()
    }
    /// The place of `address`, which is one of `subnet`.
    pub const fn place(self, subnet: Subnet, address: Ipv4Addr) -> Ipv6Addr {
        let offset = address.to_bits().wrapping_sub(subnet.network().to_bits());
        Ipv6Addr::from_bits(self.network.to_bits() | offset as u128)
    }
    /// The address of `subnet` that has its place at `address`; `None` if none has.
    pub fn holder(self, subnet: Subnet, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let offset = address.to_bits().checked_sub(self.network.to_bits())?;
        let offset = u32::try_from(offset).ok()?;
        let holder = subnet.network().to_bits().checked_add(offset).map(Ipv4Addr::from_bits)?;
        subnet.contains(holder).then_some(holder)
    }
    /// The places of `block`, which is part of `subnet`.
    pub const fn block(self, subnet: Subnet, block: Subnet) -> SixSubnet {
        SixSubnet::new(self.place(subnet, block.network()), 96 + block.prefix_len())
    }
}

const fn mask(prefix_len: u8) -> u128 {
    match prefix_len {
        0 => 0,
        bits => u128::MAX << (128 - bits),
    }
}

impl FromStr for SixSubnet {
    type Err = NotSixSubnet;
    fn from_str(text: &str) -> Result<Self, NotSixSubnet> {
        let (address, prefix_len) = text.split_once('/').ok_or(NotSixSubnet)?;
        let address = address.parse().map_err(|_| NotSixSubnet)?;
        let plain = prefix_len.bytes().all(|byte| byte.is_ascii_digit());
        match prefix_len.parse() {
            Ok(prefix_len) if plain && prefix_len <= 128 => Ok(SixSubnet::new(address, prefix_len)),
            _ => Err(NotSixSubnet),
        }
    }
}

impl fmt::Display for NotSixSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid CIDR block notation")
    }
}

impl std::error::Error for NotSixSubnet {}

impl fmt::Display for SixSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl fmt::Debug for SixSubnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SixSubnet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SixSubnet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_block_have_their_places_and_lead_back() {
        let four = Subnet::new(Ipv4Addr::new(10, 0, 1, 0), 24);
        let six: SixSubnet = "fd00:1::/64".parse().unwrap();
        let address = Ipv4Addr::new(10, 0, 1, 77);
        assert_eq!(six.place(four, address).to_string(), "fd00:1::4d");
        assert_eq!(six.holder(four, six.place(four, address)), Some(address));
        assert_eq!(six.holder(four, "fd00:1::1:0".parse().unwrap()), None);
        assert_eq!(six.holder(four, "fd00::1".parse().unwrap()), None);
        let block = Subnet::new(Ipv4Addr::new(10, 0, 1, 64), 26);
        assert_eq!(six.block(four, block).to_string(), "fd00:1::40/122");
        assert!(six.block(four, block).contains(six.place(four, address)));
        assert_eq!(six.gateway().to_string(), "fd00:1::1");
    }

    #[test]
    fn a_subnet_needs_room_for_the_other_ones_addresses() {
        let four = Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 16);
        let room = |text: &str| text.parse::<SixSubnet>().unwrap().has_room_for(four);
        assert!(room("fd00::/64") && room("fd00::/112") && !room("fd00::/120"));
        let six = |text: &str| text.parse::<SixSubnet>();
        assert!(six("fd00::/48").unwrap().overlaps(six("fd00::/64").unwrap()));
        for text in ["fd00::", "fd00::/129", "10.0.0.0/8", "fd00::/+8"] {
            assert_eq!(six(text), Err(NotSixSubnet), "{text}");
        }
    }
}
