//! Networks of the cluster as this node knows them: those that its containers are on, under the cluster's id, name
//! and subnet. Links, rules and names follow from the endpoint table (`follow`).

use super::bridge::subnet;
use super::{Known, Networks};
use crate::{Engine, Error, Result};
use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::Instant;
use types::network::{Ipam, IpamConfig, Network};
use types::subnet::{Cidr, Subnet};
use types::swarm::network::ClusterNetwork;
use types::{NetworkId, TaskId};

/// The driver by which a network of the cluster is known.
pub(super) const DRIVER: &str = "overlay";

/// How long containers of a network that is gone may take to end: a grace period is seconds.
const ENDING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    /// Makes the cluster's network known on this node unless it is. Its addresses may have been those of one that was
    /// removed a moment ago, and whose last containers here have not ended yet: these are waited for.
    pub async fn ensure_cluster_network(&self, network: &ClusterNetwork) -> Result<()> {
        self.ensure_cluster_network_for(network, None).await
    }

    /// As [`Engine::ensure_cluster_network`]; for `place` the network stays known until it is given back.
    pub(super) async fn ensure_cluster_network_for(
        &self,
        network: &ClusterNetwork,
        place: Option<&TaskId>,
    ) -> Result<()> {
        let until = Instant::now() + ENDING;
        while Instant::now() < until && self.0.networks.is_held_by_another(network).await {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = self.0.closing.cancelled() => break,
            }
        }
        let Some(made) = self.0.networks.ensure_cluster(network, place).await? else {
            return Ok(());
        };
        self.network_event("create", &made, None);
        Ok(())
    }

    /// The cluster's networks that this node's tasks are given, from now on: they stay known. Said before any of
    /// these tasks is made.
    pub fn assign_cluster_networks(&self, assigned: BTreeSet<NetworkId>) {
        self.0.networks.assign_cluster(assigned);
    }

    /// Forgets the cluster's networks that no task is given and no container uses or is about to use.
    pub async fn sweep_cluster_networks(&self) {
        match self.0.networks.sweep_cluster().await {
            Ok(swept) => {
                for network in &swept {
                    self.network_event("destroy", network, None);
                }
            }
            Err(err) => tracing::debug!(error = %err, "unused networks are not removed yet"),
        }
    }
}

impl Networks {
    /// Whether containers here are still on another network of the cluster that had these addresses.
    async fn is_held_by_another(&self, network: &ClusterNetwork) -> bool {
        let Ok(cidr) = network.subnet.parse::<Cidr>() else { return false };
        let state = self.state.lock().await;
        let mut others = state.networks.values().filter(|other| *other.id() != network.id);
        let holds = |other: &Known| {
            other.overlay.is_some_and(|subnet| subnet.overlaps(cidr.subnet()))
                && state.is_used(other.id())
        };
        others.any(holds)
    }

    pub(super) fn assign_cluster(&self, assigned: BTreeSet<NetworkId>) {
        *self.assigned.lock().unwrap_or_else(PoisonError::into_inner) = assigned;
    }

    /// What is wanted is decided in the moment of removal: whoever asks meanwhile keeps the network.
    pub(super) async fn sweep_cluster(&self) -> Result<Vec<Network>> {
        let mut state = self.state.lock().await;
        let unwanted: Vec<Network> = {
            let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
            let known = state.networks.values().filter(|known| known.overlay.is_some());
            known
                .filter(|known| !assigned.contains(known.id()) && !state.is_used(known.id()))
                .map(|known| known.record.clone())
                .collect()
        };
        if unwanted.is_empty() {
            return Ok(unwanted);
        }
        self.settle_locked(&mut state).await?;
        for network in &unwanted {
            state.networks.remove(&network.id);
            self.remove_file(network);
        }
        self.apply(&mut state).await?;
        Ok(unwanted)
    }

    /// The network if it was made known now.
    pub(super) async fn ensure_cluster(
        &self,
        network: &ClusterNetwork,
        place: Option<&TaskId>,
    ) -> Result<Option<Network>> {
        let mut state = self.state.lock().await;
        if state.networks.contains_key(&network.id) {
            state.asked.extend(place.map(|place| (place.clone(), network.id.clone())));
            return Ok(None);
        }
        let known = Known::new(record_of(network))?;
        let record = known.record.clone();
        let overlaps = |other: &Known| {
            other.subnet().zip(known.subnet()).is_some_and(|(other, ours)| other.overlaps(ours))
        };
        let is_another = |other: &Known| overlaps(other) || other.record.name == record.name;
        // What the cluster has given up, and whose name or addresses it gave to another network since.
        let stale = state.networks.values().filter(|other| other.overlay.is_some());
        let stale: Vec<Network> = stale
            .filter(|other| is_another(other) && !state.is_used(other.id()))
            .map(|other| other.record.clone())
            .collect();
        for other in stale {
            state.networks.remove(&other.id);
            self.remove_file(&other);
        }
        if state.networks.values().any(overlaps) {
            return Err(Error::from_lower(allocator::AllocError::PoolOverlaps));
        }
        self.save(&record)?;
        state.asked.extend(place.map(|place| (place.clone(), network.id.clone())));
        state.networks.insert(record.id.clone(), known);
        Ok(Some(record))
    }
}

pub(super) fn subnet_of(record: &Network) -> Result<Subnet> {
    let text = record.ipam.config.iter().flatten().next().map(|entry| entry.subnet.as_str());
    let text = text.unwrap_or_default();
    subnet(text).ok_or_else(|| Error::invalid(format!("network {} has no subnet", record.name)))
}

fn record_of(network: &ClusterNetwork) -> Network {
    let spec = &network.spec;
    let entry = IpamConfig {
        subnet: network.subnet.clone(),
        gateway: network.gateway.clone(),
        ..IpamConfig::default()
    };
    let six = network.six.map(|six| IpamConfig {
        subnet: six.to_string(),
        gateway: six.gateway().to_string(),
        ..IpamConfig::default()
    });
    let has_six = six.is_some();
    let config = Some([entry].into_iter().chain(six).collect());
    Network {
        name: spec.name.clone(),
        id: network.id.clone(),
        created: network.meta.created_at,
        scope: "swarm".to_owned(),
        driver: DRIVER.to_owned(),
        enable_ipv4: true,
        enable_ipv6: has_six,
        ipam: Ipam { driver: "default".to_owned(), config, ..Ipam::default() },
        internal: spec.internal,
        attachable: spec.attachable,
        ingress: spec.ingress,
        options: spec.options.clone().unwrap_or_default(),
        labels: spec.labels.clone().unwrap_or_default(),
        ..Network::default()
    }
}
