//! The `bridge` driver's options, read from a network's record, and the network's addresses.

use crate::{Error, Result};
use allocator::AddressSpace;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use types::network::{IpamConfig, Network};
use types::subnet::{Cidr, Subnet};

const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// Ethernet's; what Docker takes when nobody says otherwise.
const DEFAULT_MTU: u32 = 1500;

/// What a network of this driver is made of.
pub(super) struct Bridge {
    /// The interface's name.
    pub(super) interface: String,
    pub(super) icc: bool,
    pub(super) masquerade: bool,
    /// Where ports are published that name no address.
    pub(super) host_binding: Ipv4Addr,
    pub(super) mtu: u32,
    /// What interfaces inside sandboxes are called, with a number after it.
    pub(super) prefix: String,
    pub(super) space: AddressSpace,
}

impl Bridge {
    /// Reads a record whose first IPAM entry has a subnet.
    pub(super) fn new(record: &Network) -> Result<Self> {
        let option = |name: &str| {
            record.options.get(name).map(String::as_str).filter(|value| !value.is_empty())
        };
        let ipam = record.ipam.config.iter().flatten().find(|entry| is_v4(entry));
        let ipam = ipam.cloned().unwrap_or_default();
        let interface =
            option(NAME).map_or_else(|| format!("br-{}", record.id.short()), str::to_owned);
        if interface.len() > 15 || interface.contains(['/', ' ']) {
            return Err(Error::invalid(format!(
                "invalid interface name \"{interface}\" in {NAME}"
            )));
        }
        Ok(Bridge {
            interface,
            icc: flag(ICC, option(ICC))?,
            masquerade: flag(MASQUERADE, option(MASQUERADE))?,
            host_binding: parsed(HOST_BINDING, option(HOST_BINDING), Ipv4Addr::UNSPECIFIED)?,
            mtu: parsed(MTU, option(MTU), DEFAULT_MTU)?,
            prefix: option(PREFIX).unwrap_or("eth").to_owned(),
            space: space(&ipam)?,
        })
    }

    pub(super) fn to_plan(&self, record: &Network) -> netplan::Network {
        netplan::Network {
            name: record.name.clone(),
            bridge: self.interface.clone(),
            subnet: self.space.subnet(),
            gateway: self.space.gateway(),
            internal: record.internal,
            icc: self.icc,
            masquerade: self.masquerade,
            mtu: self.mtu,
        }
    }

    /// A network without a user's gateway gets the first address of its range.
    pub(super) fn fill_gateway(&self, ipam: &mut [IpamConfig]) {
        let first = ipam.iter_mut().find(|entry| is_v4(entry));
        if let Some(first) = first.filter(|first| first.gateway.is_empty()) {
            first.gateway = self.space.gateway().to_string();
        }
    }
}

fn is_v4(entry: &IpamConfig) -> bool {
    !entry.subnet.contains(':')
}

/// The addresses of a checked IPAM entry.
fn space(ipam: &IpamConfig) -> Result<AddressSpace> {
    let subnet = subnet(&ipam.subnet).ok_or_else(|| {
        Error::invalid(format!("invalid subnet {}: invalid CIDR block notation", ipam.subnet))
    })?;
    let auxiliary: BTreeMap<String, Ipv4Addr> = ipam
        .auxiliary_addresses
        .iter()
        .flatten()
        .filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?)))
        .collect();
    AddressSpace::new(subnet, self::subnet(&ipam.ip_range), ipam.gateway.parse().ok(), &auxiliary)
        .map_err(Error::from_lower)
}

pub(super) fn subnet(text: &str) -> Option<Subnet> {
    text.parse::<Cidr>().ok().map(Cidr::subnet)
}

/// Both driver switches are on unless the user says otherwise. Go's `ParseBool`.
fn flag(label: &str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(unreadable(label, value)),
    }
}

fn parsed<T: std::str::FromStr>(label: &str, value: Option<&str>, default: T) -> Result<T> {
    value.map_or(Ok(default), |text| text.parse().map_err(|_| unreadable(label, text)))
}

fn unreadable(label: &str, value: &str) -> Error {
    Error::invalid(format!("failed to parse {label} value: \"{value}\" (invalid syntax)"))
}

/// The options that inspect shows for the default bridge.
pub(super) fn default_options(interface: &str, mtu: Option<u32>) -> BTreeMap<String, String> {
    let mtu = mtu.unwrap_or(DEFAULT_MTU).to_string();
    [
        ("com.docker.network.bridge.default_bridge", "true"),
        (ICC, "true"),
        (MASQUERADE, "true"),
        (HOST_BINDING, "0.0.0.0"),
        (NAME, interface),
        (MTU, &mtu),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}
