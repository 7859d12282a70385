//! The machine's network interfaces.

use crate::address::Interface;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// All of them, by name. `is_own` tells which were made by this engine.
pub(crate) fn interfaces(is_own: impl Fn(&str) -> bool) -> std::io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in getifaddrs()? {
        let flags = entry.flags;
        let usable =
            flags.contains(InterfaceFlags::IFF_UP) && !flags.contains(InterfaceFlags::IFF_LOOPBACK);
        let interface = found.entry(entry.interface_name.clone()).or_insert_with(|| Interface {
            own: is_own(&entry.interface_name),
            usable,
            name: entry.interface_name.clone(),
            addresses: Vec::new(),
        });
        let address = entry.address.as_ref();
        let v4 = address.and_then(|a| a.as_sockaddr_in()).map(|a| IpAddr::V4(a.ip()));
        let v6 = address.and_then(|a| a.as_sockaddr_in6()).map(|a| IpAddr::V6(a.ip()));
        interface.addresses.extend(v4.or(v6));
    }
    Ok(found.into_values().collect())
}
