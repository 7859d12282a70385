//! A running container's places in its networks, as kept on disk while it runs.

use super::{Networks, State};
use crate::container::write_atomically;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use types::network::EndpointSettings;
use types::port::Protocol;
use types::subnet::Subnet;
use types::{ContainerId, EndpointId, NetworkId, TaskId};

/// One container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Member {
    /// Without the leading slash.
    pub(super) name: String,
    pub(super) places: Vec<Place>,
    /// Its addresses on the networks that have IPv6.
    pub(super) six: BTreeMap<NetworkId, Ipv6Addr>,
    pub(super) ports: Vec<Port>,
    /// The servers that its resolver asks, when the user named some.
    pub(super) dns: Vec<String>,
}

/// One endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Place {
    pub(super) network: NetworkId,
    pub(super) endpoint: EndpointId,
    pub(super) address: Ipv4Addr,
    pub(super) mac: [u8; 6],
    pub(super) interface: String,
    pub(super) gw_priority: i64,
    /// What others on the network call it: its name first; none on the default bridge.
    pub(super) names: Vec<String>,
    /// The cluster's name for the place, if the container joined by itself; tasks have theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<TaskId>,
    /// What the container itself calls others there: their names and its own for them.
    #[serde(default)]
    pub(super) links: Vec<(String, String)>,
}

/// One published port, held by a socket in the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) host_ip: IpAddr,
    pub(super) host_port: u16,
    pub(super) container_port: u16,
}

impl Port {
    /// Under which the shim keeps its socket.
    pub(super) fn socket_name(&self) -> String {
        format!("port-{}-{}-{}", self.protocol.as_str(), self.host_ip, self.host_port)
    }
}

impl Member {
    /// The ports whose sockets listen; see [`super::relay`].
    pub(super) fn relayed(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(|port| port.host_ip.is_ipv6())
    }

    pub(super) fn on(&self, network: &NetworkId) -> Option<&Place> {
        self.places.iter().find(|place| place.network == *network)
    }

    /// `outside`: its address on the cluster's network that has its default route.
    pub(super) fn to_sandbox(&self, outside: Option<Ipv4Addr>) -> netplan::Sandbox {
        let published = |port: &Port| {
            let IpAddr::V4(host_ip) = port.host_ip else { return None };
            Some(netplan::Published {
                protocol: port.protocol,
                host_ip,
                host_port: port.host_port,
                container_port: port.container_port,
            })
        };
        netplan::Sandbox { ports: self.ports.iter().filter_map(published).collect(), outside }
    }

    pub(super) fn to_endpoints(&self, id: &ContainerId) -> Vec<(EndpointId, netplan::Endpoint)> {
        let endpoint = |place: &Place| {
            let endpoint = netplan::Endpoint {
                network: place.network.clone(),
                sandbox: id.clone(),
                address: place.address,
                mac: place.mac,
                interface: place.interface.clone(),
                gw_priority: place.gw_priority,
            };
            (place.endpoint.clone(), endpoint)
        };
        self.places.iter().map(endpoint).collect()
    }
}

impl Place {
    /// What inspect shows of the endpoint beside the user's wishes, which `settings` has already.
    pub(super) fn fill(&self, settings: &mut EndpointSettings, state: &State) {
        settings.network_id = self.network.to_string();
        settings.endpoint_id = self.endpoint.to_string();
        settings.mac_address = mac_text(self.mac);
        settings.ip_address = self.address.to_string();
        settings.dns_names = (!self.names.is_empty()).then(|| self.names.clone());
        let Some(known) = state.networks.get(&self.network) else { return };
        settings.ip_prefix_len = known.subnet().map_or(0, Subnet::prefix_len);
        let bridge = known.bridge.as_ref().filter(|_| !known.record.internal);
        settings.gateway = bridge.map_or_else(String::new, |it| it.space.gateway().to_string());
    }
}

pub(super) fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// `02:42:ac:11:00:02`, also with dashes.
pub(super) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let byte = |part: &str| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2);
    let bytes: Vec<u8> = text.split([':', '-']).map(byte).collect::<Option<_>>()?;
    bytes.try_into().ok()
}

impl Networks {
    /// Before the container's process is there, so that whoever finds it running finds this too.
    pub(super) fn save_member(&self, id: &ContainerId, member: &Member) -> Result<()> {
        let text = serde_json::to_vec(member)
            .map_err(|err| Error::caused("failed to encode endpoints", err))?;
        write_atomically(&self.members_dir.join(format!("{id}.json")), &text).map_err(|err| {
            Error::caused(format!("failed to save the endpoints of {}", id.short()), err)
        })
    }

    /// `None` when the container has none or the file is not readable, which is logged.
    pub(super) fn load_member(&self, id: &ContainerId) -> Option<Member> {
        let text = std::fs::read(self.members_dir.join(format!("{id}.json"))).ok()?;
        let read = serde_json::from_slice(&text);
        read.map_err(
            |err| tracing::error!(container = id.short(), error = %err, "unreadable endpoints"),
        )
        .ok()
    }

    pub(super) fn remove_member_file(&self, id: &ContainerId) {
        match std::fs::remove_file(self.members_dir.join(format!("{id}.json"))) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(container = id.short(), error = %err, "failed to remove the endpoints' file");
            }
            _ => {}
        }
    }
}
