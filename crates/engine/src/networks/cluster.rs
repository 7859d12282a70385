//! Networks of the cluster on this node, and the ports that its services publish here.
//!
//! For now a cluster's network is a bridge of this node alone, under the cluster's id, name and subnet:
//! tasks on one node reach each other, tasks on two do not. The overlay takes the place of this file.

use super::member::Port;
use super::{Known, Networks};
use crate::{Engine, Error, Result};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use types::NetworkId;
use types::network::{Ipam, IpamConfig, Network};
use types::port::Protocol;
use types::swarm::network::ClusterNetwork;

/// The driver by which a network of the cluster is known.
pub(super) const DRIVER: &str = "overlay";

/// A port of every node that leads to the containers of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngressPort {
    pub protocol: Protocol,
    pub published: u16,
    pub target: u16,
}

impl Engine {
    /// Makes the cluster's network on this node unless it is there.
    pub async fn ensure_cluster_network(&self, network: &ClusterNetwork) -> Result<()> {
        let Some(made) = self.0.networks.ensure_cluster(network).await? else { return Ok(()) };
        self.network_event("create", &made, None);
        Ok(())
    }

    /// Removes the cluster's networks that are neither in `keep` nor used by a container.
    pub async fn sweep_cluster_networks(&self, keep: &BTreeSet<NetworkId>) {
        let unused: Vec<NetworkId> = {
            let state = self.0.networks.state.lock().await;
            let known = state.networks.values().map(|known| &known.record);
            known
                .filter(|record| record.driver == DRIVER && !keep.contains(&record.id))
                .filter(|record| !state.is_used(&record.id))
                .map(|record| record.id.clone())
                .collect()
        };
        for id in unused {
            if let Err(err) = self.network_remove(id.as_str()).await {
                tracing::debug!(network = id.short(), error = %err, "not removed yet");
            }
        }
    }

    /// Lets the node's `ports` lead to a running container, until it ends. Several containers may have one
    /// port: one of them gets what comes in, and the next one when that ends.
    pub async fn publish_ingress(&self, container: &str, ports: &[IngressPort]) -> Result<()> {
        let container = self.0.containers.find(container)?;
        self.0.networks.publish_ingress(&container.id, ports).await
    }
}

impl Networks {
    /// The network if it was made now.
    async fn ensure_cluster(&self, network: &ClusterNetwork) -> Result<Option<Network>> {
        let mut state = self.state.lock().await;
        if state.networks.contains_key(&network.id) {
            return Ok(None);
        }
        self.settle_locked(&mut state).await?;
        let mut record = record_of(network);
        self.settle_subnet(&mut record, &state).await?;
        let mut known = Known::new(record)?;
        if let (Some(bridge), Some(entries)) = (&known.bridge, &mut known.record.ipam.config) {
            bridge.fill_gateway(entries);
        }
        let record = known.record.clone();
        self.save(&record)?;
        state.networks.insert(record.id.clone(), known);
        self.apply(&state).await?;
        Ok(Some(record))
    }

    async fn publish_ingress(&self, id: &types::ContainerId, ports: &[IngressPort]) -> Result<()> {
        let mut state = self.state.lock().await;
        let Some(member) = state.members.get_mut(id) else {
            // It ended, or has no network of its own.
            return Ok(());
        };
        let before = member.ports.len();
        for port in ports {
            let port = Port {
                protocol: port.protocol,
                host_ip: Ipv4Addr::UNSPECIFIED,
                host_port: port.published,
                container_port: port.target,
            };
            if !member.ports.contains(&port) {
                member.ports.push(port);
            }
        }
        if member.ports.len() == before {
            return Ok(());
        }
        let member = member.clone();
        self.save_member(id, &member)?;
        self.apply(&state).await.map_err(|err: Error| err.context("failed to publish ports"))
    }
}

fn record_of(network: &ClusterNetwork) -> Network {
    let spec = &network.spec;
    let entry = IpamConfig {
        subnet: network.subnet.clone(),
        gateway: network.gateway.clone(),
        ..IpamConfig::default()
    };
    Network {
        name: spec.name.clone(),
        id: network.id.clone(),
        created: network.meta.created_at,
        scope: "swarm".to_owned(),
        driver: DRIVER.to_owned(),
        enable_ipv4: true,
        ipam: Ipam { driver: "default".to_owned(), config: Some(vec![entry]), ..Ipam::default() },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: spec.options.clone().unwrap_or_default(),
        labels: spec.labels.clone().unwrap_or_default(),
        ..Network::default()
    }
}
