//! Published ports: from the user's port map to sockets that hold them, and back to what inspect shows.

use super::member::Port;
use crate::{Error, Result};
use netdev::{PortError, PortRange, Reservation, reserve};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use types::container::Empty;
use types::port::{PortBinding, PortMap, Protocol, parse_port};

/// Ports of the kernel's choice that are tried before one is refused that is taken in the other family.
const ATTEMPTS: u32 = 50;

/// What a container asks to have published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishing<'a> {
    pub(crate) bindings: &'a PortMap,
    pub(crate) exposed: Option<&'a BTreeMap<String, Empty>>,
    /// `-P`: every exposed port, wherever there is room.
    pub(crate) all: bool,
}

/// Ports that are held by sockets.
#[derive(Default)]
pub(super) struct Published {
    pub(super) ports: Vec<Port>,
    /// For the shim, under names that say what they hold.
    pub(super) sockets: Vec<(String, OwnedFd)>,
}

impl Publishing<'_> {
    /// Binds all of them, or none. `host_binding`: where those go that name no address; with `six` IPv6 addresses lead to the
    /// container, and ports that name none at all go to every one of them too. `taken`: whether another container of ours has that port, for which Docker
    /// has words of its own.
    pub(super) fn reserve(
        &self,
        host_binding: Ipv4Addr,
        six: bool,
        taken: impl Fn(Protocol, IpAddr, u16) -> bool,
    ) -> Result<Published> {
        let mut published = Published::default();
        for (key, binding) in self.wanted() {
            let (container_port, protocol) = parse_port(&key)
                .ok_or_else(|| Error::invalid(format!("invalid port specification: \"{key}\"")))?;
            let range = host_range(&binding.host_port)?;
            let addresses = host_addresses(&binding.host_ip, host_binding, six)?;
            for host_ip in &addresses {
                if range.first != 0
                    && (range.first..=range.last).all(|port| taken(protocol, *host_ip, port))
                {
                    let at = std::net::SocketAddr::new(*host_ip, range.first);
                    return Err(Error::system(format!(
                        "Bind for {at} failed: port is already allocated"
                    )));
                }
            }
            for (host_ip, reservation) in
                reserve_at(protocol, &addresses, range).map_err(Error::from_lower)?
            {
                let port =
                    Port { protocol, host_ip, host_port: reservation.host_port, container_port };
                let named = reservation.socket.map(|socket| (port.socket_name(), socket));
                published.sockets.extend(named);
                published.ports.push(port);
            }
        }
        Ok(published)
    }

    /// A binding each; explicit ports before those that may lie anywhere, so that the latter do not take
    /// one of the former.
    fn wanted(&self) -> Vec<(String, PortBinding)> {
        let explicit = self.bindings.iter().flat_map(|(key, bindings)| {
            bindings.iter().flatten().map(move |binding| (key.clone(), binding.clone()))
        });
        let exposed = self.exposed.into_iter().flat_map(BTreeMap::keys).filter(|key| {
            self.all && self.bindings.get(*key).and_then(Option::as_ref).is_none_or(Vec::is_empty)
        });
        let mut wanted: Vec<_> =
            explicit.chain(exposed.map(|key| (key.clone(), PortBinding::default()))).collect();
        wanted.sort_by_key(|(_, binding)| matches!(binding.host_port.as_str(), "" | "0"));
        let mut seen = BTreeSet::new();
        wanted.retain(|(key, binding)| {
            matches!(binding.host_port.as_str(), "" | "0")
                || seen.insert((key.clone(), binding.clone()))
        });
        wanted
    }

    /// `NetworkSettings.Ports` of a container on a bridge: every exposed port, with where it is published.
    pub(super) fn shown(&self, ports: &[Port]) -> PortMap {
        let exposed = self.exposed.into_iter().flat_map(BTreeMap::keys);
        let mut shown: PortMap =
            exposed.chain(self.bindings.keys()).map(|key| (key_of(key), None)).collect();
        for port in ports {
            let key = format!("{}/{}", port.container_port, port.protocol.as_str());
            let binding = PortBinding {
                host_ip: port.host_ip.to_string(),
                host_port: port.host_port.to_string(),
            };
            shown.entry(key).or_default().get_or_insert_default().push(binding);
        }
        shown
    }
}

/// One port of `range` that is free at all addresses. A host without IPv6 does without it where an IPv4 address is there.
fn reserve_at(
    protocol: Protocol,
    addresses: &[IpAddr],
    range: PortRange,
) -> Result<Vec<(IpAddr, Reservation)>, PortError> {
    let Some((first, others)) = addresses.split_first() else { return Ok(Vec::new()) };
    let mut from = range.first;
    let mut attempts = ATTEMPTS;
    'port: loop {
        attempts -= 1;
        let reserved = reserve(protocol, *first, PortRange { first: from, last: range.last })?;
        let host_port = reserved.host_port;
        let mut all = vec![(*first, reserved)];
        for address in others {
            match reserve(protocol, *address, PortRange { first: host_port, last: host_port }) {
                Ok(reserved) => all.push((*address, reserved)),
                Err(err) if err.is_unknown_family() => {}
                Err(err) if err.is_in_use() && range == PortRange::ANY && attempts > 0 => {
                    continue 'port;
                }
                Err(err) if err.is_in_use() && host_port < range.last => {
                    from = host_port + 1;
                    continue 'port;
                }
                Err(err) => return Err(err),
            }
        }
        return Ok(all);
    }
}

/// `80` is `80/tcp`.
fn key_of(key: &str) -> String {
    parse_port(key)
        .map_or_else(|| key.to_owned(), |(port, protocol)| format!("{port}/{}", protocol.as_str()))
}

/// Where a binding goes; nowhere for an IPv6 wildcard without `six`.
fn host_addresses(text: &str, default: Ipv4Addr, six: bool) -> Result<Vec<IpAddr>> {
    let wildcard = six.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    match text.trim_matches(['[', ']']) {
        "" if default.is_unspecified() => {
            Ok([IpAddr::V4(default)].into_iter().chain(wildcard).collect())
        }
        "" => Ok(vec![IpAddr::V4(default)]),
        "::" => Ok(wildcard.into_iter().collect()),
        text => match text.parse() {
            Ok(IpAddr::V6(address)) if !six => Err(Error::invalid(format!(
                "cannot publish on {address}: the cluster's networks have no IPv6"
            ))),
            Ok(address) => Ok(vec![address]),
            Err(_) => Err(Error::invalid(format!("invalid host IP address: {text}"))),
        },
    }
}

/// Empty, a port, or `FIRST-LAST`.
fn host_range(text: &str) -> Result<PortRange> {
    let bad = || Error::invalid(format!("invalid port specification: \"{text}\""));
    let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
    match text.split_once('-') {
        None if text.is_empty() => Ok(PortRange::ANY),
        None => port(text).map(|port| PortRange { first: port, last: port }),
        Some((first, last)) => match (port(first)?, port(last)?) {
            (first, last) if 0 < first && first <= last => Ok(PortRange { first, last }),
            _ => Err(bad()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn bindings(entries: &[(&str, &str, &str)]) -> PortMap {
        let mut map = PortMap::new();
        for (key, host_ip, host_port) in entries {
            let binding =
                PortBinding { host_ip: (*host_ip).to_owned(), host_port: (*host_port).to_owned() };
            map.entry((*key).to_owned()).or_default().get_or_insert_default().push(binding);
        }
        map
    }

    fn publish(map: &PortMap) -> Result<Published> {
        Publishing { bindings: map, exposed: None, all: false }.reserve(
            Ipv4Addr::LOCALHOST,
            false,
            |_, _, _| false,
        )
    }

    #[test]
    fn a_port_in_use_is_refused_and_the_others_are_let_go() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        let in_use =
            |port| format!("failed to bind host port 127.0.0.1:{port}/tcp: address already in use");
        // Who asks for any port may get the free one meanwhile: again with another one.
        let is_let_go = (0..5).any(|_| {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let map =
                bindings(&[("1/tcp", "", &free.to_string()), ("2/tcp", "", &taken.to_string())]);
            let err = publish(&map).err().unwrap().to_string();
            assert!(err == in_use(taken) || err == in_use(free), "{err}");
            err == in_use(taken) && TcpListener::bind(("127.0.0.1", free)).is_ok()
        });
        assert!(is_let_go);
    }

    #[test]
    fn a_port_that_names_no_address_is_taken_in_both_families_and_a_range_goes_on_for_both() {
        let holder = TcpListener::bind("[::1]:0").unwrap();
        let taken = holder.local_addr().unwrap().port();
        let next = taken.checked_add(1).unwrap();
        let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let only = PortRange { first: taken, last: taken };
        assert!(reserve_at(Protocol::Tcp, &addresses, only).err().unwrap().is_in_use());
        let more = PortRange { first: taken, last: next.saturating_add(50) };
        let both = reserve_at(Protocol::Tcp, &addresses, more).unwrap();
        let ports: BTreeSet<u16> = both.iter().map(|(_, it)| it.host_port).collect();
        assert_eq!((both.len(), ports.len()), (2, 1));
        assert!(ports.iter().all(|port| *port > taken));
        drop(both);
        let map = bindings(&[("80/tcp", "", "")]);
        let some = Publishing { bindings: &map, exposed: None, all: false };
        let published = some.reserve(Ipv4Addr::UNSPECIFIED, true, |_, _, _| false).unwrap();
        let shown = some.shown(&published.ports);
        let shown: Vec<_> =
            shown["80/tcp"].iter().flatten().map(|binding| binding.host_ip.as_str()).collect();
        assert_eq!(shown, ["0.0.0.0", "::"]);
    }

    #[test]
    fn every_exposed_port_is_shown_and_dash_p_publishes_them() {
        let exposed: BTreeMap<String, Empty> =
            [("80/tcp".to_owned(), Empty {}), ("53/udp".to_owned(), Empty {})].into();
        let map = bindings(&[("80/tcp", "127.0.0.1", "")]);
        let some = Publishing { bindings: &map, exposed: Some(&exposed), all: false };
        let published = some.reserve(Ipv4Addr::LOCALHOST, false, |_, _, _| false).unwrap();
        let shown = some.shown(&published.ports);
        assert_eq!(shown["53/udp"], None);
        assert_eq!(shown["80/tcp"].as_ref().unwrap()[0].host_ip, "127.0.0.1");
        let all = Publishing { all: true, ..some }
            .reserve(Ipv4Addr::LOCALHOST, false, |_, _, _| false)
            .unwrap();
        assert_eq!(all.ports.len(), 2);
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_bound() {
        for (key, host_ip, host_port) in [
            ("x/tcp", "", ""),
            ("80/tcp", "", "90000"),
            ("80/tcp", "", "9-8"),
            ("80/tcp", "host", ""),
        ] {
            assert!(
                publish(&bindings(&[(key, host_ip, host_port)])).is_err(),
                "{key} {host_ip} {host_port}"
            );
        }
        assert_eq!(publish(&bindings(&[("80/tcp", "::", "")])).unwrap().ports, []);
    }
}
