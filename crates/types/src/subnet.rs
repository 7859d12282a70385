//! IPv4 subnets, as networks and address pools are made of.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 block whose host bits are zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    network: Ipv4Addr,
    prefix_len: u8,
}

/// An address with the length of its network's prefix, `172.17.0.1/16`: host bits are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    pub address: Ipv4Addr,
    /// At most 32.
    pub prefix_len: u8,
}

/// The text is no IPv4 address with a prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotCidr;

impl Subnet {
    /// The block of `prefix_len` bits around `address`; longer prefixes than 32 count as 32.
    pub const fn new(address: Ipv4Addr, prefix_len: u8) -> Self {
        let prefix_len = if prefix_len > 32 { 32 } else { prefix_len };
        let network = Ipv4Addr::from_bits(address.to_bits() & mask(prefix_len));
        Subnet { network, prefix_len }
    }
    /// Its first address.
    pub const fn network(self) -> Ipv4Addr {
        self.network
    }
    pub const fn prefix_len(self) -> u8 {
        self.prefix_len
    }
    /// Its last address.
    pub const fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | !mask(self.prefix_len))
    }
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.prefix_len) == self.network.to_bits()
    }
    /// Whether the two share an address.
    pub const fn overlaps(self, other: Subnet) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }
    /// `address` written with this subnet's prefix length.
    pub const fn with(self, address: Ipv4Addr) -> Cidr {
        Cidr { address, prefix_len: self.prefix_len }
    }
}

impl Cidr {
    /// The subnet it lies in.
    pub const fn subnet(self) -> Subnet {
        Subnet::new(self.address, self.prefix_len)
    }
}

const fn mask(prefix_len: u8) -> u32 {
    match prefix_len {
        0 => 0,
        bits => u32::MAX << (32 - bits),
    }
}

impl FromStr for Cidr {
    type Err = NotCidr;
    fn from_str(text: &str) -> Result<Self, NotCidr> {
        let (address, prefix_len) = text.split_once('/').ok_or(NotCidr)?;
        let address = address.parse().map_err(|_| NotCidr)?;
        // As Go reads it: digits only, no sign, no leading zero.
        let plain = prefix_len.bytes().all(|byte| byte.is_ascii_digit())
            && (prefix_len.len() == 1 || !prefix_len.starts_with('0'));
        match prefix_len.parse() {
            Ok(prefix_len) if plain && prefix_len <= 32 => Ok(Cidr { address, prefix_len }),
            _ => Err(NotCidr),
        }
    }
}

impl fmt::Display for NotCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid CIDR block notation")
    }
}

impl std::error::Error for NotCidr {}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix_len)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Subnet {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse::<Cidr>().map(Cidr::subnet).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse::<Cidr>().unwrap().subnet()
    }

    #[test]
    fn a_subnet_knows_its_ends_and_its_neighbours() {
        let net = subnet("192.168.16.9/20");
        assert_eq!(net.to_string(), "192.168.16.0/20");
        assert_eq!(net.broadcast(), Ipv4Addr::new(192, 168, 31, 255));
        assert!(net.overlaps(subnet("192.168.0.0/16")) && subnet("192.168.0.0/16").overlaps(net));
        assert!(!net.overlaps(subnet("192.168.32.0/20")));
        assert!(subnet("0.0.0.0/0").contains(Ipv4Addr::BROADCAST));
    }

    #[test]
    fn only_an_address_with_a_length_is_a_cidr() {
        for text in ["10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/08", "10.0.0.0/+8", "/8", ""]
        {
            assert_eq!(text.parse::<Cidr>(), Err(NotCidr), "{text}");
        }
    }
}
