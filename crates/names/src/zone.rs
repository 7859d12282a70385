//! The names of one network. Derived anew from the endpoint table at every change, never patched, and
//! shared by all sandboxes on that network.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The container's name first, then aliases and its short id.
    pub names: &'a [String],
    pub address: Ipv4Addr,
}

/// Names (lower case, no trailing dot) to addresses, and back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    names: BTreeMap<String, Vec<Ipv4Addr>>,
    pointers: BTreeMap<Ipv4Addr, String>,
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
        for Entry { names, address } in entries {
            for name in names {
                zone.add(name.to_ascii_lowercase(), address);
                zone.add(format!("{name}.{network}").to_ascii_lowercase(), address);
            }
            if let Some(first) = names.first() {
                zone.pointers.entry(address).or_insert_with(|| format!("{first}.{network}"));
            }
        }
        zone
    }

    fn add(&mut self, name: String, address: Ipv4Addr) {
        let addresses = self.names.entry(name).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
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

    /// The address's own name, unless it has one.
    pub(crate) fn point(&mut self, network: &str, name: &str, address: Ipv4Addr) {
        self.pointers.entry(address).or_insert_with(|| format!("{name}.{network}"));
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

    /// What one container calls others: `links` are their names here and its own names for them. A link to
    /// nobody is left out; addresses keep their names.
    pub fn linked<'a>(&self, links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Zone {
        let mut zone = Zone::default();
        for (target, alias) in links {
            let found = self.addresses(&target.to_ascii_lowercase());
            for address in found.unwrap_or_default() {
                zone.add(alias.to_ascii_lowercase(), *address);
            }
        }
        zone
    }

    /// `container.network` of an address.
    pub fn pointer(&self, address: Ipv4Addr) -> Option<&str> {
        self.pointers.get(&address).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_further_name_of_who_is_there_and_none_of_who_is_not() {
        let (names, address) = (["db".to_owned()], Ipv4Addr::new(172, 18, 0, 2));
        let zone = Zone::new("net", [Entry { names: &names, address }]);
        let linked = zone.linked([("DB", "Store"), ("gone", "other")]);
        assert_eq!(linked.addresses("store"), Some(&[address][..]));
        assert_eq!(linked.addresses("other"), None);
        assert_eq!(linked.pointer(address), None);
    }
}
