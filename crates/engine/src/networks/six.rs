//! IPv6 of networks that have it (`EnableIPv6`): the subnet, each endpoint's address, and the plan for the kernel.
//!
//! An endpoint's address is its IPv4 address's place in the other subnet (`172.18.0.7` in a /16 is `…::7`), unless the user
//! names one: nothing has to be counted, and an address comes back as the IPv4 one does.

use super::member::{Member, Place};
use super::{Known, Networks, State};
use crate::{Error, Result};
use netplan::{SixBridge, SixEndpoint, SixPlan, SixPort};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use types::network::{EndpointSettings, IpamConfig, Network};
use types::six::SixSubnet;
use types::{ContainerId, NetworkId};

/// An IPv6 subnet and the bridge's address in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SixSpace {
    network: u128,
    pub(super) prefix_len: u8,
    pub(super) gateway: Ipv6Addr,
}

impl SixSpace {
    /// Reads a checked entry.
    fn of(entry: &IpamConfig) -> Option<Self> {
        let (network, prefix_len) = parse(&entry.subnet)?;
        let gateway = entry.gateway.parse().unwrap_or_else(|_| Ipv6Addr::from(network | 1));
        Some(SixSpace { network, prefix_len, gateway })
    }

    pub(super) fn subnet(&self) -> SixSubnet {
        SixSubnet::new(Ipv6Addr::from(self.network), self.prefix_len)
    }

    pub(super) fn contains(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.prefix_len) == self.network
    }
}

/// Network and prefix length of `fd00::/64`.
fn parse(text: &str) -> Option<(u128, u8)> {
    let (address, prefix_len) = text.split_once('/')?;
    let (address, prefix_len): (Ipv6Addr, u8) = (address.parse().ok()?, prefix_len.parse().ok()?);
    (prefix_len <= 126).then(|| (u128::from(address) & mask(prefix_len), prefix_len))
}

fn mask(prefix_len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0)
}

/// The space of a network's record; `None` without IPv6.
pub(super) fn space(record: &Network) -> Option<SixSpace> {
    let entries = record.ipam.config.iter().flatten();
    entries.filter(|_| record.enable_ipv6).find_map(SixSpace::of)
}

/// Checks the user's IPv6 entries, or chooses a subnet; shows the gateway. `taken`: the other networks'.
pub(super) fn settle(record: &mut Network, seed: &str, taken: &[SixSpace]) -> Result<()> {
    if !record.enable_ipv6 {
        return Ok(());
    }
    let entries = record.ipam.config.get_or_insert_default();
    let overlaps = |network: u128, prefix_len: u8| {
        taken.iter().any(|other| {
            let mask = mask(other.prefix_len.min(prefix_len));
            other.network & mask == network & mask
        })
    };
    if !entries.iter().any(|entry| entry.subnet.contains(':')) {
        let free = (0..=u16::MAX).map(|number| local(seed, number)).find(|it| !overlaps(*it, 64));
        let network = free.ok_or_else(|| Error::forbidden("all IPv6 subnets are taken"))?;
        let subnet = format!("{}/64", Ipv6Addr::from(network));
        entries.push(IpamConfig { subnet, ..IpamConfig::default() });
    }
    for entry in entries.iter_mut().filter(|entry| entry.subnet.contains(':')) {
        let invalid = |why: &str| Error::invalid(format!("invalid network config:\n{why}"));
        let (network, prefix_len) = parse(&entry.subnet).ok_or_else(|| {
            invalid(&format!("invalid subnet {}: invalid CIDR block notation", entry.subnet))
        })?;
        if overlaps(network, prefix_len) {
            return Err(Error::from_lower(allocator::AllocError::PoolOverlaps));
        }
        let space = SixSpace::of(entry).ok_or_else(|| invalid("invalid subnet"))?;
        let named = entry.gateway.parse::<Ipv6Addr>();
        if !entry.gateway.is_empty() && !named.is_ok_and(|gateway| space.contains(gateway)) {
            return Err(invalid(&format!(
                "invalid gateway {}: parent subnet {} doesn't contain this address",
                entry.gateway, entry.subnet
            )));
        }
        entry.gateway = space.gateway.to_string();
    }
    Ok(())
}

/// One of this node's unique local subnets (RFC 4193): `fd`, forty bits of the node's own, the number.
fn local(seed: &str, number: u16) -> u128 {
    use sha2::{Digest, Sha256};
    let hash = Sha256::digest(seed.as_bytes());
    let own = hash.iter().take(5).fold(0xfd_u128, |bits, byte| bits << 8 | u128::from(*byte));
    (own << 16 | u128::from(number)) << 64
}

impl Networks {
    /// Brings the kernel to the state's IPv6 plan; `again`: also what was done before.
    pub(super) async fn apply_six(&self, state: &State, again: bool) -> Result<()> {
        let plan = state.six_plan(&self.settings.instance);
        let six = self.six.clone();
        let work = move || {
            let mut six = six.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            six.apply(&plan, again)
        };
        let done = tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
        done.map_err(|err| Error::caused("failed to set up IPv6", err))
    }
}

impl State {
    /// The address that a new place gets beside its IPv4 one.
    pub(super) fn take_six(
        &self,
        place: &Place,
        settings: &EndpointSettings,
    ) -> Result<Option<Ipv6Addr>> {
        let Some(known) = self.networks.get(&place.network) else { return Ok(None) };
        let Some(space) = space(&known.record) else { return Ok(None) };
        if let Some(subnet) = known.overlay {
            // The whole cluster finds it there.
            return Ok(Some(space.subnet().place(subnet, place.address)));
        }
        let taken = |address: Ipv6Addr| {
            address == space.gateway
                || self.members.values().any(|it| it.six.get(&place.network) == Some(&address))
        };
        let wished = settings.ipam_config.as_ref().map(|ipam| ipam.ipv6_address.as_str());
        if let Some(text) = wished.filter(|text| !text.is_empty()) {
            let wrong = || Error::invalid(format!("invalid IPv6 address: {text}"));
            let address: Ipv6Addr = text.parse().map_err(|_| wrong())?;
            if !space.contains(address) {
                return Err(Error::invalid(format!(
                    "no configured subnet contains IP address {address}"
                )));
            }
            if taken(address) {
                return Err(Error::forbidden("Address already in use"));
            }
            return Ok(Some(address));
        }
        let base = known.subnet().map_or(Ipv4Addr::UNSPECIFIED, |subnet| subnet.network());
        let offset = u128::from(u32::from(place.address).wrapping_sub(u32::from(base)));
        // Past those that users named, as far as the subnet goes.
        let candidates = (0..=256_u128).map(|turn| space.network | (offset + (turn << 32)));
        let free = candidates
            .map(Ipv6Addr::from)
            .find(|address| space.contains(*address) && !taken(*address));
        let full = || Error::forbidden("no available IPv6 addresses on this pool");
        free.ok_or_else(full).map(Some)
    }

    fn six_plan(&self, instance: &str) -> SixPlan {
        let mut plan = SixPlan { instance: instance.to_owned(), ..SixPlan::default() };
        for known in self.networks.values() {
            if let (Some(space), Some(bridge)) = (space(&known.record), &known.bridge) {
                let half = SixBridge {
                    gateway: space.gateway,
                    prefix_len: space.prefix_len,
                    internal: known.record.internal,
                    icc: bridge.icc,
                    masquerade: bridge.masquerade,
                };
                plan.bridges.insert(bridge.interface.clone(), half);
            }
        }
        if plan.is_empty() {
            return plan;
        }
        let table = self.table(instance);
        for (id, member) in &self.members {
            let outside = table.gateway_of(id).map(|(_, endpoint)| &endpoint.network);
            for place in &member.places {
                plan.endpoints.extend(self.six_endpoint(id, member, place, outside));
            }
            let address = outside.and_then(|network| member.six.get(network));
            for port in &member.ports {
                if let (IpAddr::V6(host_ip), Some(address)) = (port.host_ip, address) {
                    plan.ports.push(SixPort {
                        protocol: port.protocol,
                        host_ip,
                        host_port: port.host_port,
                        container: *address,
                        container_port: port.container_port,
                    });
                }
            }
        }
        plan
    }

    fn six_endpoint(
        &self,
        id: &ContainerId,
        member: &Member,
        place: &Place,
        outside: Option<&NetworkId>,
    ) -> Option<SixEndpoint> {
        let known = self.networks.get(&place.network).filter(|known| known.overlay.is_none())?;
        let space = space(&known.record)?;
        Some(SixEndpoint {
            sandbox: id.clone(),
            interface: place.interface.clone(),
            address: *member.six.get(&place.network)?,
            prefix_len: space.prefix_len,
            gateway: (outside == Some(&place.network)).then_some(space.gateway),
        })
    }

    /// Whether ports at this endpoint are published for IPv6 as well.
    pub(super) fn publishes_six(&self, network: &NetworkId, id: &ContainerId) -> bool {
        self.members.get(id).is_some_and(|member| member.six.contains_key(network))
    }
}

impl Known {
    pub(super) fn six(&self) -> Option<SixSpace> {
        space(&self.record)
    }
}

impl Member {
    /// In the order of its interfaces.
    pub(super) fn six_addresses(&self) -> Vec<Ipv6Addr> {
        self.places.iter().filter_map(|place| self.six.get(&place.network)).copied().collect()
    }

    /// What inspect shows of an endpoint's IPv6.
    pub(super) fn fill_six(
        &self,
        network: &NetworkId,
        settings: &mut EndpointSettings,
        state: &State,
    ) {
        let space = state.networks.get(network).and_then(Known::six);
        let (Some(space), Some(address)) = (space, self.six.get(network)) else { return };
        settings.global_ipv6_address = address.to_string();
        settings.global_ipv6_prefix_len = space.prefix_len;
        let none = |known: &Known| known.record.internal || known.overlay.is_some();
        let internal = state.networks.get(network).is_some_and(none);
        settings.ipv6_gateway = if internal { String::new() } else { space.gateway.to_string() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(subnets: &[(&str, &str)]) -> Network {
        let entry = |(subnet, gateway): &(&str, &str)| IpamConfig {
            subnet: (*subnet).to_owned(),
            gateway: (*gateway).to_owned(),
            ..IpamConfig::default()
        };
        let mut record = Network { enable_ipv6: true, ..Network::default() };
        record.ipam.config = Some(subnets.iter().map(entry).collect());
        record
    }

    #[test]
    fn a_network_without_a_subnet_of_its_own_gets_the_nodes_next_one() {
        let mut first = network(&[("172.18.0.0/16", "")]);
        settle(&mut first, "node", &[]).unwrap();
        let taken = space(&first).unwrap();
        assert_eq!(taken.prefix_len, 64);
        assert_eq!(taken.gateway.octets()[0], 0xfd);
        let mut second = network(&[]);
        settle(&mut second, "node", &[taken]).unwrap();
        assert_eq!(space(&second).unwrap().network, taken.network + (1 << 64));
    }

    #[test]
    fn a_subnet_that_overlaps_or_is_none_is_refused() {
        let mut record = network(&[("fd00:1::/64", "")]);
        settle(&mut record, "node", &[]).unwrap();
        let taken = [space(&record).unwrap()];
        assert_eq!(taken[0].gateway.to_string(), "fd00:1::1");
        for (subnet, gateway) in
            [("fd00:1::/48", ""), ("fd00:2::", ""), ("fd00:2::/64", "fd00:3::1")]
        {
            let mut record = network(&[(subnet, gateway)]);
            assert!(settle(&mut record, "node", &taken).is_err(), "{subnet} {gateway}");
        }
    }
}
