//! The names of one network. Derived anew from the endpoint table at every change, never patched, and
//! shared by all sandboxes on that network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The container's name first, then aliases and its short id.
    pub names: &'a [String],
    pub address: Ipv4Addr,
    pub six: Option<Ipv6Addr>,
}

/// Names (lower case, no trailing dot) to addresses, and back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Of those names the ones whose endpoints have IPv6.
    six: BTreeMap<String, Vec<Ipv6Addr>>,
    pointers: BTreeMap<IpAddr, String>,
    /// By `_port._protocol.service`.
    places: BTreeMap<String, Vec<Place>>,
}

/// What an SRV record says: a name of the zone and a port there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub target: String,
    pub port: u16,
}

impl Zone {
    /// Every name is also known as `name.network`; endpoints that share a name are all answered.
    pub fn new<'a>(network: &str, entries: impl IntoIterator<Item = Entry<'a>>) -> Self {
        let mut zone = Zone::default();
        for Entry { names, address, six } in entries {
            for name in names {
                zone.call(network, name, address);
                if let Some(six) = six {
                    zone.call_six(network, name, six);
                }
            }
            if let Some(first) = names.first() {
                zone.point(network, first, address);
                if let Some(six) = six {
                    zone.point(network, first, six);
                }
            }
        }
        zone
    }

    fn add(&mut self, name: String, address: Ipv4Addr) {
        add(&mut self.names, name, address);
    }

    /// A name that is known even while nobody has it: its answer is empty, never NXDOMAIN.
    pub(crate) fn keep(&mut self, network: &str, name: &str) {
        self.names.entry(name.to_ascii_lowercase()).or_default();
        self.names.entry(format!("{name}.{network}").to_ascii_lowercase()).or_default();
    }

    /// `name` and `name.network` lead to the address.
    pub(crate) fn call(&mut self, network: &str, name: &str, address: Ipv4Addr) {
        self.add(name.to_ascii_lowercase(), address);
        self.add(format!("{name}.{network}").to_ascii_lowercase(), address);
    }

    pub(crate) fn call_six(&mut self, network: &str, name: &str, address: Ipv6Addr) {
        add(&mut self.six, name.to_ascii_lowercase(), address);
        add(&mut self.six, format!("{name}.{network}").to_ascii_lowercase(), address);
    }

    /// The address's own name, unless it has one.
    pub(crate) fn point(&mut self, network: &str, name: &str, address: impl Into<IpAddr>) {
        self.pointers.entry(address.into()).or_insert_with(|| format!("{name}.{network}"));
    }

    /// `name` and `name.network` are found at `place`.
    pub(crate) fn place(&mut self, network: &str, name: &str, place: &Place) {
        for name in [name.to_ascii_lowercase(), format!("{name}.{network}").to_ascii_lowercase()] {
            let places = self.places.entry(name).or_default();
            if !places.contains(place) {
                places.push(place.clone());
            }
        }
    }

    /// Where the port of a service is; `None` when nobody has that name. As with [`Zone::addresses`].
    pub fn places(&self, name: &str) -> Option<&[Place]> {
        self.places.get(name).map(Vec::as_slice)
    }

    /// `None` when nobody has that name. `name` is in lower case without trailing dot.
    pub fn addresses(&self, name: &str) -> Option<&[Ipv4Addr]> {
        self.names.get(name).map(Vec::as_slice)
    }

    /// The IPv6 addresses of a name that is known; often none.
    pub fn six_addresses(&self, name: &str) -> &[Ipv6Addr] {
        self.six.get(name).map_or(&[], Vec::as_slice)
    }

    /// What one container calls others: `links` are their names here and its own names for them. A link to
    /// nobody is left out; addresses keep their names.
    pub fn linked<'a>(&self, links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Zone {
        let mut zone = Zone::default();
        for (target, alias) in links {
            let found = self.addresses(&target.to_ascii_lowercase());
            for address in found.unwrap_or_default() {
                zone.add(alias.to_ascii_lowercase(), *address);
            }
            for address in self.six_addresses(&target.to_ascii_lowercase()) {
                add(&mut zone.six, alias.to_ascii_lowercase(), *address);
            }
        }
        zone
    }

    /// `container.network` of an address.
    pub fn pointer(&self, address: IpAddr) -> Option<&str> {
        self.pointers.get(&address).map(String::as_str)
    }
}

/// Each address once, in the order in which they came.
fn add<A: PartialEq>(names: &mut BTreeMap<String, Vec<A>>, name: String, address: A) {
    let addresses = names.entry(name).or_default();
    if !addresses.contains(&address) {
        addresses.push(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_further_name_of_who_is_there_and_none_of_who_is_not() {
        let (names, address) = (["db".to_owned()], Ipv4Addr::new(172, 18, 0, 2));
        let six = Ipv6Addr::LOCALHOST;
        let zone = Zone::new("net", [Entry { names: &names, address, six: Some(six) }]);
        let linked = zone.linked([("DB", "Store"), ("gone", "other")]);
        assert_eq!(linked.addresses("store"), Some(&[address][..]));
        assert_eq!(linked.six_addresses("store"), [six]);
        assert_eq!(linked.addresses("other"), None);
        assert_eq!(linked.pointer(address.into()), None);
    }
}
