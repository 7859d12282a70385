//! Which addresses a node listens on and tells the others: dockerd's choices and words.

use engine::Error;
use std::net::{IpAddr, SocketAddr};

/// The cluster's port when none is named.
pub const DEFAULT_PORT: u16 = 2377;

/// One network interface of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    /// It is up and not the loopback.
    pub usable: bool,
    /// Made by this engine: its addresses are nobody else's business.
    pub own: bool,
    pub addresses: Vec<IpAddr>,
}

/// `0.0.0.0:2377`, `eth0`, `eth0:4789`, `10.0.0.1` to the address to bind.
pub fn listen(wanted: &str, interfaces: &[Interface]) -> Result<SocketAddr, Error> {
    if wanted.is_empty() {
        return Err(Error::invalid("invalid ListenAddr \"\": invalid empty address"));
    }
    let (host, port) = split(wanted, DEFAULT_PORT)?;
    if let Some(address) = of_interface(host, interfaces)? {
        return Ok(SocketAddr::new(address, port));
    }
    let address = host.parse().map_err(|_| {
        Error::system(
            "listen address must be an IP address or network interface (with optional port number)",
        )
    })?;
    Ok(SocketAddr::new(address, port))
}

/// The address that other nodes are told: the wanted one, or the only one that the machine has.
pub fn advertise(
    wanted: &str,
    listen: SocketAddr,
    interfaces: &[Interface],
) -> Result<SocketAddr, Error> {
    if wanted.is_empty() {
        if !listen.ip().is_unspecified() {
            return Ok(listen);
        }
        return Ok(SocketAddr::new(of_system(interfaces)?, listen.port()));
    }
    let (host, port) = split(wanted, listen.port())?;
    if let Some(address) = of_interface(host, interfaces)? {
        return Ok(SocketAddr::new(address, port));
    }
    match host.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() => Ok(SocketAddr::new(address, port)),
        _ => Err(Error::system(
            "advertise address must be a non-zero IP address or network interface (with optional port number)",
        )),
    }
}

/// `host:port`, `[v6]:port`, `host`, or a bare IPv6 address.
pub fn split(wanted: &str, default_port: u16) -> Result<(&str, u16), Error> {
    let bad = || Error::invalid(format!("could not parse address {wanted}"));
    if wanted.parse::<IpAddr>().is_ok() {
        return Ok((wanted, default_port));
    }
    let (host, port) = match wanted.rsplit_once(':') {
        None => (wanted, default_port),
        Some((host, "")) => (host, default_port),
        Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(bad()) } else { Ok((host, port)) }
}

/// The address of the interface called `name`; [`None`] when there is no such interface.
fn of_interface(name: &str, interfaces: &[Interface]) -> Result<Option<IpAddr>, Error> {
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        return Ok(None);
    };
    let of = |v4: bool| {
        interface.addresses.iter().filter(move |ip| ip.is_ipv4() == v4).collect::<Vec<_>>()
    };
    for (family, word) in [(of(true), "IPv4"), (of(false), "IPv6")] {
        match family.as_slice() {
            [] => {}
            [address] => return Ok(Some(**address)),
            [one, two, ..] => {
                return Err(Error::system(format!(
                    "interface {name} has more than one {word} address ({one} and {two})"
                )));
            }
        }
    }
    Err(Error::system(format!("interface {name} has no usable IPv4 or IPv6 address")))
}

/// The only address of the machine that others can use.
fn of_system(interfaces: &[Interface]) -> Result<IpAddr, Error> {
    let mut found: Option<(&str, IpAddr)> = None;
    for interface in interfaces.iter().filter(|interface| interface.usable && !interface.own) {
        let global: Vec<IpAddr> =
            interface.addresses.iter().copied().filter(|address| is_global(*address)).collect();
        let family_of = |v4: bool| global.iter().copied().filter(move |ip| ip.is_ipv4() == v4);
        for v4 in [true, false] {
            if let (Some(one), Some(two)) = (family_of(v4).next(), family_of(v4).nth(1)) {
                return Err(several(&interface.name, one, &interface.name, two));
            }
        }
        let Some(address) = family_of(true).next().or_else(|| family_of(false).next()) else {
            continue;
        };
        if let Some((name, other)) = found {
            return Err(several(name, other, &interface.name, address));
        }
        found = Some((&interface.name, address));
    }
    found
        .map(|(_, address)| address)
        .ok_or_else(|| Error::system("could not find the system's IP address"))
}

fn several(one: &str, first: IpAddr, other: &str, second: IpAddr) -> Error {
    let which = if one == other {
        format!("interface {one} ({first} and {second})")
    } else {
        format!("different interfaces ({first} on {one} and {second} on {other})")
    };
    Error::invalid(format!(
        "could not choose an IP address to advertise since this system has multiple addresses on {which}"
    ))
}

fn is_global(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Interface { name: name.to_owned(), usable: true, own: false, addresses }
    }
    fn any() -> SocketAddr {
        "0.0.0.0:2377".parse().unwrap()
    }
    fn chosen(wanted: &str, interfaces: &[Interface]) -> Result<String, String> {
        advertise(wanted, any(), interfaces).map(|a| a.to_string()).map_err(|err| err.to_string())
    }

    #[test]
    fn the_only_address_is_advertised() {
        let machine = [interface("eth0", &["10.0.0.1", "fe80::1"])];
        assert_eq!(chosen("", &machine).unwrap(), "10.0.0.1:2377");
    }

    #[test]
    fn our_own_bridges_do_not_count() {
        let bridge = Interface { own: true, ..interface("docker0", &["172.17.0.1"]) };
        assert_eq!(
            chosen("", &[bridge, interface("eth0", &["10.0.0.1"])]).unwrap(),
            "10.0.0.1:2377"
        );
    }

    #[test]
    fn several_addresses_must_be_chosen_from() {
        let machine = [interface("eth0", &["10.0.2.15"]), interface("eth1", &["192.168.99.100"])];
        assert_eq!(
            chosen("", &machine).unwrap_err(),
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces (10.0.2.15 on eth0 and 192.168.99.100 on eth1)"
        );
        let machine = [interface("eth0", &["10.0.2.15", "10.0.2.16"])];
        assert_eq!(
            chosen("", &machine).unwrap_err(),
            "could not choose an IP address to advertise since this system has multiple addresses on interface \
             eth0 (10.0.2.15 and 10.0.2.16)"
        );
        assert_eq!(chosen("eth0:7", &[interface("eth0", &["10.0.0.9"])]).unwrap(), "10.0.0.9:7");
        assert_eq!(chosen("10.0.0.5", &machine).unwrap(), "10.0.0.5:2377");
        assert_eq!(chosen("fd00::5", &machine).unwrap(), "[fd00::5]:2377");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(
            chosen("0.0.0.0", &[]).unwrap_err().starts_with("advertise address must be a non-zero")
        );
        assert!(
            chosen("nonsense", &[])
                .unwrap_err()
                .starts_with("advertise address must be a non-zero")
        );
        assert!(
            listen("nonsense", &[]).unwrap_err().to_string().starts_with("listen address must be")
        );
        assert!(listen("", &[]).unwrap_err().to_string().contains("invalid empty address"));
        assert_eq!(chosen("", &[]).unwrap_err(), "could not find the system's IP address");
        assert_eq!(listen("0.0.0.0:2377", &[]).unwrap(), any());
        assert_eq!(listen("127.0.0.1", &[]).unwrap().to_string(), "127.0.0.1:2377");
    }
}
