//! The names of one network, shared by all sandboxes on it. They follow from the endpoint table alone: what was said for rows that are gone
//! is taken back (`said`), which comes to the same as saying the rest anew.

use crate::said::{Change, Said};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The container's name first, then aliases and its short id.
    pub names: &'a [String],
    pub address: Ipv4Addr,
    pub six: Option<Ipv6Addr>,
}

/// Names (lower case, no trailing dot) to addresses, and back. Every name is also known with `.network` behind it; endpoints that share a
/// name are all answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// `.network`, lower case; empty for names of no network.
    suffix: String,
    names: Said<Arc<str>, Ipv4Addr>,
    /// Of those names the ones whose endpoints have IPv6.
    six: Said<Arc<str>, Ipv6Addr>,
    /// With the network's name behind them.
    pointers: Said<IpAddr, Arc<str>>,
    /// By `_port._protocol.service`.
    places: Said<Arc<str>, Place>,
}

/// What an SRV record says: a name of the zone and a port there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub target: Arc<str>,
    pub port: u16,
}

impl Zone {
    pub fn new<'a>(network: &str, entries: impl IntoIterator<Item = Entry<'a>>) -> Self {
        let mut zone = Zone::of(network);
        for Entry { names, address, six } in entries {
            for name in names {
                zone.call(Change::Say, name, address);
                if let Some(six) = six {
                    zone.call_six(Change::Say, name, six);
                }
            }
            if let Some(first) = names.first() {
                let first = format!("{first}.{network}");
                zone.point(Change::Say, &first, address);
                if let Some(six) = six {
                    zone.point(Change::Say, &first, six);
                }
            }
        }
        zone
    }

    /// Without names.
    pub(crate) fn of(network: &str) -> Self {
        Zone { suffix: format!(".{network}").to_ascii_lowercase(), ..Zone::default() }
    }

    /// A name that is known even while nobody has it: its answer is empty, never NXDOMAIN.
    pub(crate) fn keep(&mut self, change: Change, name: &str) {
        self.names.change(change, name.to_ascii_lowercase().into(), None);
    }

    /// The name leads to the address.
    pub(crate) fn call(&mut self, change: Change, name: &str, address: Ipv4Addr) {
        self.names.change(change, name.to_ascii_lowercase().into(), Some(address));
    }

    pub(crate) fn call_six(&mut self, change: Change, name: &str, address: Ipv6Addr) {
        self.six.change(change, name.to_ascii_lowercase().into(), Some(address));
    }

    /// The address's own name, with the network's behind it.
    pub(crate) fn point(&mut self, change: Change, name: &str, address: impl Into<IpAddr>) {
        self.pointers.change(change, address.into(), Some(name.into()));
    }

    /// The name is found at `place`.
    pub(crate) fn place(&mut self, change: Change, name: &str, place: &Place) {
        self.places.change(change, name.to_ascii_lowercase().into(), Some(place.clone()));
    }

    /// Where the port of a service is; `None` when nobody has that name. As with [`Zone::addresses`].
    pub fn places(&self, name: &str) -> Option<&[Place]> {
        self.find(&self.places, name)
    }

    /// `None` when nobody has that name. `name` is in lower case without trailing dot.
    pub fn addresses(&self, name: &str) -> Option<&[Ipv4Addr]> {
        self.find(&self.names, name)
    }

    /// The IPv6 addresses of a name that is known; often none.
    pub fn six_addresses(&self, name: &str) -> &[Ipv6Addr] {
        self.find(&self.six, name).unwrap_or_default()
    }

    /// What one container calls others: `links` are their names here and its own names for them. A link to
    /// nobody is left out; addresses keep their names.
    pub fn linked<'a>(&self, links: impl IntoIterator<Item = (&'a str, &'a str)>) -> Zone {
        let mut zone = Zone::default();
        for (target, alias) in links {
            let found = self.addresses(&target.to_ascii_lowercase());
            for address in found.unwrap_or_default() {
                zone.call(Change::Say, alias, *address);
            }
            for address in self.six_addresses(&target.to_ascii_lowercase()) {
                zone.call_six(Change::Say, alias, *address);
            }
        }
        zone
    }

    /// `container.network` of an address.
    pub fn pointer(&self, address: IpAddr) -> Option<&str> {
        self.pointers.get(&address)?.first().map(|name| &**name)
    }

    /// By the name as it is, or without the network's behind it.
    fn find<'a, V: Ord + Clone>(&self, said: &'a Said<Arc<str>, V>, name: &str) -> Option<&'a [V]> {
        said.get(name).or_else(|| said.get(name.strip_suffix(self.suffix.as_str())?))
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
