//! The host itself in the cluster's networks: a machine that runs programs of its own, outside of containers, reaches what
//! is there and is reached by a name, as a container is.
//!
//! A place of its own (an address on the loopback device) says who it is; rules translate what it sends there
//! (`netplan::overlay`). At that address, port 53, a resolver answers the names of the network. It stays over restarts and
//! reboots, until it is taken back or the node leaves the cluster.

use super::follow::cluster_networks;
use super::serve::{DNS_PORT, Serving};
use super::{Networks, State};
use crate::container::write_atomically;
use crate::{Engine, Error, Result};
use dnsd::{Sockets, View};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;
use types::network::{EndpointIpamConfig, EndpointSettings, HostRequest};
use types::{ContainerId, NetworkId, TaskId};

/// Below the networks' directory; without the ending of networks' records.
const FILE: &str = "hosts";

/// The host's place in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostPlace {
    /// What managers know it by.
    pub(super) task: TaskId,
    pub(super) address: Ipv4Addr,
    pub(super) name: String,
}

pub(super) type HostPlaces = BTreeMap<NetworkId, HostPlace>;

impl Engine {
    /// Puts this host into a network of the cluster; answers its address there.
    ///
    /// # Errors
    /// Those of a container that joins, and when the host is there already.
    pub async fn attach_host(&self, network: &str, request: HostRequest) -> Result<Ipv4Addr> {
        let name = match request.name.as_str() {
            "" => crate::system::hostname(),
            name => name.to_owned(),
        };
        for name in request.aliases.iter().chain([&name]) {
            check_name(name)?;
        }
        let address = Some(request.address).filter(|address| !address.is_empty());
        if let Some(address) = &address
            && address.parse::<Ipv4Addr>().is_err()
        {
            return Err(Error::invalid(format!("invalid IPv4 address: {address}")));
        }
        let Some(found) = self.find_in_cluster(network).await? else {
            return Err(not_of_cluster(network));
        };
        let id = found.network.clone();
        let refuse_twice = |state: &State| match state.hosts.get(&id) {
            Some(place) => Err(Error::conflict(format!(
                "this host is in network {network} already, as {}",
                place.address
            ))),
            None => Ok(()),
        };
        let refused = refuse_twice(&*self.0.networks.state.lock().await);
        if let Err(err) = refused {
            self.0.networks.let_go(&found.place).await;
            return Err(err);
        }
        let wish = EndpointSettings {
            aliases: Some(request.aliases),
            ipam_config: address.map(|ipv4_address| EndpointIpamConfig {
                ipv4_address,
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        let (task, container) = (found.place.clone(), ContainerId::new(""));
        let (_, grant) = self.ask_place(found, network, &wish, &container, &name).await?;
        let address = grant.address;
        let place = HostPlace { task: task.clone(), address, name };
        let mut state = self.0.networks.state.lock().await;
        let kept = refuse_twice(&state).and_then(|()| {
            state.hosts.insert(id.clone(), place);
            self.0.networks.save_hosts(&state.hosts)
        });
        state.asked.remove(&task);
        let kept = match kept {
            Ok(()) => self.0.networks.follow_hosts(&mut state).await,
            err => err,
        };
        if let Err(err) = kept {
            if state.hosts.get(&id).is_some_and(|place| place.task == task) {
                state.hosts.remove(&id);
            }
            // What cannot be written now is written with the next change.
            let _ = self.0.networks.save_hosts(&state.hosts);
            drop(state);
            self.give_back_tasks(vec![task]).await;
            return Err(err);
        }
        Ok(address)
    }

    /// Takes this host out of a network of the cluster.
    pub async fn detach_host(&self, network: &str) -> Result<()> {
        let mut state = self.0.networks.state.lock().await;
        let id = state.find(network)?.id().clone();
        let Some(place) = state.hosts.remove(&id) else {
            return Err(Error::not_found(format!("this host is not in network {network}")));
        };
        state.host_serving.remove(&id);
        let saved = self.0.networks.save_hosts(&state.hosts);
        let followed = self.0.networks.follow_hosts(&mut state).await;
        drop(state);
        self.give_back_tasks(vec![place.task]).await;
        saved.and(followed)
    }

    /// This host's address in a network; `None` where it is not.
    pub async fn host_address(&self, network: &NetworkId) -> Option<Ipv4Addr> {
        self.0.networks.state.lock().await.hosts.get(network).map(|place| place.address)
    }
}

fn not_of_cluster(name: &str) -> Error {
    match name {
        "bridge" | "host" | "none" => Error::forbidden(format!(
            "network {name} is not the cluster's: every host is in its own networks already"
        )),
        _ => Error::not_found(format!("network {name} not found")),
    }
}

impl Networks {
    /// Names, links and the resolver after a change of the host's places.
    async fn follow_hosts(&self, state: &mut State) -> Result<()> {
        let used = cluster_networks(state);
        self.refresh_names(state, &used);
        self.apply_overlay(state).await?;
        self.serve_hosts(state);
        Ok(())
    }

    /// Begins to answer where the host has an address and nobody answers yet. Another program may have the port: then names
    /// are not answered there, and the rest goes on.
    pub(super) fn serve_hosts(&self, state: &mut State) {
        if !state.settled || state.following.is_none() {
            return;
        }
        for (id, place) in &state.hosts {
            if state.host_serving.contains_key(id) {
                continue;
            }
            let view = watch::Sender::new(Arc::new(state.host_view(id)));
            let sockets = Sockets::open_at(SocketAddrV4::new(place.address, DNS_PORT));
            match sockets.and_then(|sockets| dnsd::serve(sockets, view.subscribe())) {
                Ok(server) => {
                    state.host_serving.insert(id.clone(), Serving { _server: server, view });
                }
                Err(err) => {
                    tracing::debug!(address = %place.address, error = %err, "no resolver for the host");
                }
            }
        }
    }

    fn hosts_file(&self) -> PathBuf {
        self.dir.join(FILE)
    }

    fn save_hosts(&self, hosts: &HostPlaces) -> Result<()> {
        let failed = |err| Error::caused("failed to save the host's places", err);
        let text = serde_json::to_vec(hosts).map_err(|err| failed(err.into()))?;
        write_atomically(&self.hosts_file(), &text).map_err(failed)
    }

    pub(super) fn forget_hosts(&self, state: &mut State) -> Result<()> {
        state.hosts.clear();
        state.host_serving.clear();
        match std::fs::remove_file(self.hosts_file()) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::caused("failed to remove the host's places", err))
            }
            _ => Ok(()),
        }
    }
}

/// What the last daemon left; a file that cannot be read is as none.
pub(super) fn load(dir: &Path) -> HostPlaces {
    let Ok(text) = std::fs::read(dir.join(FILE)) else { return HostPlaces::new() };
    serde_json::from_slice(&text).unwrap_or_else(|err| {
        tracing::error!(error = %err, "the host's places in the cluster's networks are not readable");
        HostPlaces::new()
    })
}

impl State {
    /// The network's zone, then those of the host's other networks.
    pub(super) fn host_view(&self, network: &NetworkId) -> View {
        let others = self.hosts.keys().filter(|id| *id != network);
        let zone = |id: &NetworkId| Some(self.networks.get(id)?.zone.clone());
        // The host may ask us for all names: what we do not know is not asked of ourselves again.
        let is_own = |server: &IpAddr| self.hosts.values().any(|place| *server == place.address);
        let servers = dnsd::host_resolv_conf().nameservers.into_iter();
        let upstream = servers.filter(|server| !is_own(server));
        View {
            zones: [network].into_iter().chain(others).filter_map(zone).collect(),
            upstream: upstream.map(|server| SocketAddr::new(server, DNS_PORT)).collect(),
        }
    }
}

fn check_name(name: &str) -> Result<()> {
    let is_inside = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    match name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(is_inside)
        && name.len() < 64
    {
        true => Ok(()),
        false => Err(Error::invalid(format!("invalid host name: {name:?}"))),
    }
}
