//! The addresses of one network.
//!
//! Addresses are handed out in order, from after the last one given and round again, so that a freed one
//! rests as long as possible: whoever still talks to the old holder must not reach the new one.

use crate::AllocError;
use crate::error::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::subnet::Subnet;

/// What a network may give, and what it has given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSpace {
    subnet: Subnet,
    gateway: Ipv4Addr,
    /// Where addresses come from when nobody asks for a certain one.
    range: Subnet,
    taken: BTreeSet<Ipv4Addr>,
    /// The last address given from `range`.
    last: Option<Ipv4Addr>,
}

impl AddressSpace {
    /// A network's space with its gateway (the range's first address when `None`) and the `auxiliary`
    /// addresses that its user keeps for himself.
    pub fn new(
        subnet: Subnet,
        range: Option<Subnet>,
        gateway: Option<Ipv4Addr>,
        auxiliary: &BTreeMap<String, Ipv4Addr>,
    ) -> Result<Self, AllocError> {
        let range = range.unwrap_or(subnet);
        let mut space = AddressSpace {
            subnet,
            gateway: subnet.network(),
            range,
            taken: BTreeSet::new(),
            last: None,
        };
        if let Some(address) = gateway {
            let reserved = |source| AllocError::Reserved {
                role: Role::Gateway(address),
                source: Box::new(source),
            };
            space.claim(address).map_err(reserved)?;
            space.gateway = address;
        }
        for (name, address) in auxiliary {
            let role = Role::Auxiliary(name.clone(), *address);
            space
                .claim(*address)
                .map_err(|source| AllocError::Reserved { role, source: Box::new(source) })?;
        }
        if gateway.is_none() {
            space.gateway = space.take_next().ok_or(AllocError::OutOfRange)?;
        }
        Ok(space)
    }

    pub fn subnet(&self) -> Subnet {
        self.subnet
    }
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }
    /// How many addresses are in use, gateway and auxiliary ones included.
    pub fn in_use(&self) -> usize {
        self.taken.len()
    }

    /// Takes exactly `address`, which may lie outside the range but not outside the subnet.
    pub fn claim(&mut self, address: Ipv4Addr) -> Result<(), AllocError> {
        if !self.is_host(address) {
            return Err(AllocError::OutOfRange);
        }
        match self.taken.insert(address) {
            true => Ok(()),
            false => Err(AllocError::InUse),
        }
    }

    /// Takes `preferred` if it is free (a container keeps its address over a restart), else the next.
    /// `name` and `id` are the network's, for the refusal.
    pub fn allocate(
        &mut self,
        preferred: Option<Ipv4Addr>,
        name: &str,
        id: &str,
    ) -> Result<Ipv4Addr, AllocError> {
        if let Some(address) = preferred
            && self.range.contains(address)
            && self.claim(address).is_ok()
        {
            return Ok(address);
        }
        self.take_next().ok_or_else(|| AllocError::AddressesExhausted {
            name: name.to_owned(),
            id: id.to_owned(),
        })
    }

    /// Gives `address` back. The gateway stays taken.
    pub fn release(&mut self, address: Ipv4Addr) {
        if address != self.gateway {
            self.taken.remove(&address);
        }
    }

    fn take_next(&mut self) -> Option<Ipv4Addr> {
        let first = self.range.network().to_bits();
        let last = self.range.broadcast().to_bits();
        let after = self.last.map_or(first, |last| last.to_bits().saturating_add(1));
        let address = (after..=last)
            .chain(first..after.min(last.saturating_add(1)))
            .map(Ipv4Addr::from_bits)
            .find(|address| self.is_host(*address) && !self.taken.contains(address))?;
        self.taken.insert(address);
        self.last = Some(address);
        Some(address)
    }

    /// Neither the subnet's own address nor its broadcast; RFC 3021 pairs have neither.
    fn is_host(&self, address: Ipv4Addr) -> bool {
        let edge = self.subnet.prefix_len() < 31
            && (address == self.subnet.network() || address == self.subnet.broadcast());
        self.subnet.contains(address) && !edge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};
    use types::subnet::Cidr;

    fn net(text: &str) -> Subnet {
        text.parse::<Cidr>().unwrap().subnet()
    }
    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }
    fn space(subnet: &str) -> AddressSpace {
        AddressSpace::new(net(subnet), None, None, &BTreeMap::new()).unwrap()
    }
    fn next(space: &mut AddressSpace) -> Result<Ipv4Addr, AllocError> {
        space.allocate(None, "web", "f00d")
    }

    #[test]
    fn the_gateway_comes_first_and_a_freed_address_rests() {
        let mut space = space("172.18.0.0/16");
        assert_eq!(space.gateway(), ip("172.18.0.1"));
        assert_eq!(next(&mut space), Ok(ip("172.18.0.2")));
        space.release(ip("172.18.0.2"));
        assert_eq!(next(&mut space), Ok(ip("172.18.0.3")));
        assert_eq!(space.allocate(Some(ip("172.18.0.2")), "web", "f00d"), Ok(ip("172.18.0.2")));
        assert_eq!(space.allocate(Some(ip("172.18.0.2")), "web", "f00d"), Ok(ip("172.18.0.4")));
    }

    #[test]
    fn a_full_network_is_named_and_begins_again_where_something_is_freed() {
        let mut space = space("10.0.0.0/29");
        let given: Vec<_> = (0..5).map(|_| next(&mut space).unwrap()).collect();
        assert_eq!(given.last(), Some(&ip("10.0.0.6")));
        let full = next(&mut space).unwrap_err().to_string();
        assert_eq!(full, "no available IPv4 addresses on this network's address pools: web (f00d)");
        space.release(ip("10.0.0.3"));
        assert_eq!(next(&mut space), Ok(ip("10.0.0.3")));
    }

    #[test]
    fn range_gateway_and_auxiliary_addresses_are_kept_apart() {
        let auxiliary = BTreeMap::from([("router".to_owned(), ip("10.1.5.1"))]);
        let mut space = AddressSpace::new(
            net("10.1.0.0/16"),
            Some(net("10.1.5.0/24")),
            Some(ip("10.1.0.254")),
            &auxiliary,
        )
        .unwrap();
        assert_eq!(next(&mut space), Ok(ip("10.1.5.0")));
        assert_eq!(next(&mut space), Ok(ip("10.1.5.2")));
        assert_eq!(space.claim(ip("10.1.5.1")), Err(AllocError::InUse));
        assert_eq!(space.claim(ip("10.1.77.7")), Ok(()));
        assert_eq!(space.claim(ip("10.2.0.1")), Err(AllocError::OutOfRange));
        assert_eq!(space.claim(ip("10.1.255.255")), Err(AllocError::OutOfRange));
    }

    #[test]
    fn an_auxiliary_address_on_the_gateway_is_refused_with_its_name() {
        let auxiliary = BTreeMap::from([("printer".to_owned(), ip("10.1.0.1"))]);
        let err = AddressSpace::new(net("10.1.0.0/16"), None, Some(ip("10.1.0.1")), &auxiliary)
            .unwrap_err();
        assert_eq!(
            err.to_string(),
            "failed to allocate secondary ip address (printer:10.1.0.1): Address already in use"
        );
    }

    proptest! {
        /// Whatever is asked and given back, no address is ever held twice and none leaves the subnet.
        #[test]
        fn no_address_is_given_twice(steps in prop::collection::vec((any::<bool>(), 0usize..14), 0..200)) {
            let mut space = space("10.0.0.0/28");
            let mut held = BTreeSet::new();
            for (take, which) in steps {
                if take {
                    match next(&mut space) {
                        Ok(address) => {
                            prop_assert!(held.insert(address) && space.subnet().contains(address));
                            prop_assert!(address != space.gateway());
                        }
                        Err(_) => prop_assert_eq!(held.len(), 13),
                    }
                } else if let Some(address) = held.iter().nth(which).copied() {
                    held.remove(&address);
                    space.release(address);
                }
            }
            prop_assert_eq!(space.in_use(), held.len() + 1);
        }
    }
}
