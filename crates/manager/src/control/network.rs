//! Networks of the whole cluster. Their subnets and VNIs are the leader's to give.

use super::error::{Code, invalid};
use super::{Error, find, from_spec};
use std::collections::BTreeMap;
use std::net::IpAddr;
use store::{Change, Kind, Snapshot};
use types::NetworkId;
use types::network::{CreateRequest, Ipam, IpamConfig, Network};
use types::swarm::network::ClusterNetwork;

/// The driver of networks that have none named.
pub const DRIVER: &str = "overlay";
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";
const PREDEFINED: &[&str] = &["bridge", "host", "none", "default"];

/// `POST /networks/create` with the overlay driver or the swarm's scope.
pub fn create(state: &Snapshot, id: NetworkId, spec: &CreateRequest) -> Result<Vec<Change>, Error> {
    if PREDEFINED.contains(&spec.name.as_str()) {
        let message = format!("{} is a pre-defined network and cannot be created", spec.name);
        return Err(Error::Daemon { kind: errdefs::ErrorKind::Forbidden, message });
    }
    if spec.attachable && spec.ingress {
        return Err(invalid("ingress network cannot be attachable"));
    }
    store::validate::check_service_name(&spec.name).map_err(from_spec)?;
    if !matches!(spec.driver.as_str(), "" | DRIVER) {
        return Err(invalid(format!("network driver {:?} is not supported", spec.driver)));
    }
    check_ipam(spec.ipam.as_ref())?;
    if spec.ingress
        && let Some(there) = state.networks().iter().find(|network| network.spec.ingress)
    {
        return Err(Error::Refused {
            code: Code::AlreadyExists,
            desc: format!("ingress network ({}) is already present", there.id),
        });
    }
    let mut spec = spec.clone();
    spec.driver = DRIVER.to_owned();
    let network = ClusterNetwork { id, spec, ..ClusterNetwork::default() };
    Ok(vec![Change::Create(network.into())])
}

pub fn remove(state: &Snapshot, key: &str) -> Result<Vec<Change>, Error> {
    let network = find::network(state, key)?;
    if network.spec.ingress {
        let published = state.services().iter().find(|service| {
            let ports = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
            ports.into_iter().any(|port| port.publish_mode != "host")
        });
        if let Some(service) = published {
            return Err(super::error::precondition(format!(
                "ingress network cannot be removed because service {} depends on it",
                service.id
            )));
        }
    }
    Ok(vec![Change::Remove { kind: Kind::Network, id: network.id.to_string(), version: None }])
}

/// As `GET /networks` answers it; the containers on it are each node's to tell.
pub fn answer(network: &ClusterNetwork) -> Network {
    let spec = &network.spec;
    let mut options = spec.options.clone().unwrap_or_default();
    if network.vni != 0 {
        options.insert(VXLAN_OPTION.to_owned(), network.vni.to_string());
    }
    let pools = match network.subnet.is_empty() {
        true => spec.ipam.as_ref().and_then(|ipam| ipam.config.clone()).unwrap_or_default(),
        false => vec![IpamConfig {
            subnet: network.subnet.clone(),
            gateway: network.gateway.clone(),
            ..IpamConfig::default()
        }],
    };
    let asked = spec.ipam.clone().unwrap_or_default();
    let driver = if asked.driver.is_empty() { "default".to_owned() } else { asked.driver };
    Network {
        name: spec.name.clone(),
        id: network.id.clone(),
        created: network.meta.created_at,
        scope: "swarm".to_owned(),
        driver: if spec.driver.is_empty() { DRIVER.to_owned() } else { spec.driver.clone() },
        enable_ipv4: true,
        enable_ipv6: spec.enable_ipv6.unwrap_or(false),
        ipam: Ipam { driver, options: asked.options, config: Some(pools) },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options,
        labels: spec.labels.clone().unwrap_or_default(),
        containers: BTreeMap::new(),
        ..Network::default()
    }
}

fn check_ipam(ipam: Option<&Ipam>) -> Result<(), Error> {
    let pools = ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    for pool in pools {
        let Some(subnet) = prefix(&pool.subnet) else {
            return Err(wrong(format!("invalid subnet {}", pool.subnet)));
        };
        if !pool.ip_range.is_empty() {
            let Some((range, _)) = prefix(&pool.ip_range) else {
                return Err(wrong(format!("invalid range {}", pool.ip_range)));
            };
            if !contains(subnet, range) {
                let (subnet, range) = (&pool.subnet, &pool.ip_range);
                return Err(wrong(format!("subnet {subnet} does not contain range {range}")));
            }
        }
        if !pool.gateway.is_empty() {
            let Ok(gateway) = pool.gateway.parse() else {
                return Err(wrong(format!("invalid gateway {}", pool.gateway)));
            };
            if !contains(subnet, gateway) {
                let (subnet, gateway) = (&pool.subnet, &pool.gateway);
                return Err(wrong(format!("subnet {subnet} does not contain gateway {gateway}")));
            }
        }
    }
    Ok(())
}

fn wrong(what: String) -> Error {
    invalid(format!("ipam configuration: {what}"))
}

fn prefix(text: &str) -> Option<(IpAddr, u32)> {
    let (base, bits) = text.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    (bits <= if base.is_ipv4() { 32 } else { 128 }).then_some((base, bits))
}

fn contains((base, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(base) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(base) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}
