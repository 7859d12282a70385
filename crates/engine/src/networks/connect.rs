//! Running and stopped containers join and leave networks.

use super::attach::{networks_of, vanished};
use super::endpoint::{Asker, check};
use super::grant::Grants;
use super::member::Place;
use super::{Networks, State};
use crate::container::Container;
use crate::{Engine, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use types::container::Status;
use types::network::{ConnectRequest, DisconnectRequest, EndpointSettings, Network};
use types::{ContainerId, NetworkId};

impl Engine {
    /// `POST /networks/{id}/connect`.
    pub async fn network_connect(&self, id: &str, request: ConnectRequest) -> Result<()> {
        let container = self.0.containers.find(&request.container)?;
        let _one_at_a_time = container.op.lock().await;
        refuse_removed(&container)?;
        let wished = request.endpoint_config.unwrap_or_default();
        let found = self.find_in_cluster(id).await?;
        let record = container.snapshot();
        let checked = self.0.networks.check_wish(id, &wished).await.and_then(|network| {
            check_modes(&record.host_config.network_mode, &network).map(|()| network)
        });
        let (network, found) = match (checked, found) {
            (Ok(network), found) if is_running(&container) => (network, found),
            (checked, found) => {
                if let Some(found) = &found {
                    self.0.networks.let_go(&found.place).await;
                }
                let network = checked?;
                let wished = EndpointSettings { network_id: network.id.to_string(), ..wished };
                return container
                    .update(|record| drop(record.networks.insert(network.name.clone(), wished)));
            }
        };
        let asker =
            Asker { id: &container.id, name: &record.name, hostname: &record.config.hostname };
        let place = match found {
            Some(found) => {
                let name = network.id.as_str();
                Some(self.ask_place(found, name, &wished, asker.id, asker.name).await?)
            }
            None => None,
        };
        let granted = place.into_iter().collect();
        let (settings, addresses) =
            match self.0.networks.connect(&network, wished, &asker, &granted).await {
                Ok(joined) => joined,
                Err(err) => {
                    self.give_back(&granted).await;
                    return Err(err);
                }
            };
        container.update(|record| drop(record.networks.insert(network.name.clone(), settings)))?;
        container.add_own_hosts(addresses)?;
        self.network_event("connect", &network, Some(&container.id));
        Ok(())
    }

    /// `POST /networks/{id}/disconnect`.
    pub async fn network_disconnect(&self, id: &str, request: DisconnectRequest) -> Result<()> {
        let container = self.0.containers.find(&request.container)?;
        let _one_at_a_time = container.op.lock().await;
        refuse_removed(&container)?;
        let network = match self.0.networks.inspect(id).await {
            Ok(network) => network,
            // The record may name a network that is gone.
            Err(_) if request.force => Network { name: id.to_owned(), ..Network::default() },
            Err(err) => return Err(err),
        };
        if network.driver == "host" && container.record().host_config.network_mode == "host" {
            return Err(Error::invalid(
                "cannot disconnect container from host network - container was created in host network mode",
            ));
        }
        let known = container.record().networks.contains_key(&network.name);
        if !known {
            let text = format!(
                "container {} is not connected to the network {}",
                container.id, network.name
            );
            return Err(Error::system(text));
        }
        if is_running(&container)
            && let Some((place, addresses)) =
                self.0.networks.disconnect(&network.id, &container.id).await?
        {
            self.give_back_tasks(place.task.into_iter().collect()).await;
            container.remove_own_hosts(&addresses)?;
        }
        container.update(|record| drop(record.networks.remove(&network.name)))?;
        self.network_event("disconnect", &network, Some(&container.id));
        Ok(())
    }

    pub(crate) fn network_event(
        &self,
        action: &str,
        network: &Network,
        container: Option<&ContainerId>,
    ) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.clone()),
        ]);
        attributes.extend(container.map(|id| ("container".to_owned(), id.to_string())));
        self.0.events.emit("network", action, network.id.as_str(), attributes);
    }
}

impl Networks {
    /// The network, when it is there and the wish makes sense for it.
    async fn check_wish(&self, network: &str, wished: &EndpointSettings) -> Result<Network> {
        let state = self.state.lock().await;
        let known = state.find(network)?;
        check(&known.record.name, Some(known), wished)?;
        Ok(known.record.clone())
    }

    /// As [`Self::check_wish`], for a container that is being made: its networks may come later.
    pub(crate) async fn check_wishes(
        &self,
        wishes: &BTreeMap<String, EndpointSettings>,
    ) -> Result<()> {
        let state = self.state.lock().await;
        wishes.iter().try_for_each(|(name, wished)| {
            check(name, state.find(name).ok(), wished)
                .map_err(|err| err.context(format!("invalid config for network {name}")))
        })
    }

    /// Puts a running container on one more network. Nothing stays of it after a failure.
    pub(super) async fn connect(
        &self,
        network: &Network,
        wished: EndpointSettings,
        asker: &Asker<'_>,
        granted: &Grants,
    ) -> Result<(EndpointSettings, Vec<IpAddr>)> {
        let mut state = self.state.lock().await;
        let member = state.members.get(asker.id).cloned().ok_or_else(|| vanished(asker.id))?;
        if member.on(&network.id).is_some() {
            let text = format!(
                "endpoint with name {} already exists in network {}",
                asker.name, network.name
            );
            return Err(Error::forbidden(text));
        }
        let Some(place) =
            state.take_place(network.id.as_str(), &wished, asker, &member, granted)?
        else {
            return Err(conflict_with_none());
        };
        let mut joined = member.clone();
        match state.take_six(&place, &wished) {
            Ok(address) => {
                joined.six.extend(address.map(|address| (place.network.clone(), address)));
            }
            Err(err) => {
                state.free_places([&place]);
                return Err(err);
            }
        }
        joined.places.push(place.clone());
        state.members.insert(asker.id.clone(), joined.clone());
        let outcome = match self.save_member(asker.id, &joined) {
            Ok(()) => self.apply_joined(&mut state, &place).await,
            refused => refused,
        };
        if let Err(err) = outcome {
            state.free_places([&place]);
            state.members.insert(asker.id.clone(), member.clone());
            self.take_back(&mut state, asker.id).await;
            return Err(err);
        }
        state.asked.retain(|task, _| place.task.as_ref() != Some(task));
        self.refresh_names(&mut state, &networks_of(&joined));
        let mut settings = wished;
        place.fill(&mut settings, &state);
        joined.fill_six(&place.network, &mut settings, &state);
        let six = joined.six.get(&place.network).copied().map(IpAddr::V6);
        Ok((settings, [IpAddr::V4(place.address)].into_iter().chain(six).collect()))
    }

    /// Returns the place that the container had there, and its addresses.
    pub(super) async fn disconnect(
        &self,
        network: &NetworkId,
        id: &ContainerId,
    ) -> Result<Option<(Place, Vec<IpAddr>)>> {
        let mut state = self.state.lock().await;
        let Some(member) = state.members.get_mut(id) else { return Ok(None) };
        let Some(position) = member.places.iter().position(|place| place.network == *network)
        else {
            return Ok(None);
        };
        let place = member.places.remove(position);
        let six = member.six.remove(network).map(IpAddr::V6);
        let member = member.clone();
        state.free_places([&place]);
        self.save_member(id, &member)?;
        let touched: BTreeSet<NetworkId> =
            networks_of(&member).into_iter().chain([place.network.clone()]).collect();
        self.refresh_names(&mut state, &touched);
        self.apply(&mut state).await?;
        let addresses = [IpAddr::V4(place.address)].into_iter().chain(six).collect();
        Ok(Some((place, addresses)))
    }

    async fn apply_joined(&self, state: &mut State, place: &Place) -> Result<()> {
        self.apply_bridges(state).await?;
        match state.is_overlay(&place.network) {
            true => self.apply_overlay(state).await.map(drop),
            false => self.apply(state).await,
        }
    }

    async fn take_back(&self, state: &mut State, id: &ContainerId) {
        let member = state.members.get(id).cloned().unwrap_or_default();
        let outcome = match self.save_member(id, &member) {
            Ok(()) => self.apply(state).await,
            refused => refused,
        };
        if let Err(err) = outcome {
            tracing::warn!(container = id.short(), error = %err, "failed to take back an endpoint");
        }
    }
}

fn is_running(container: &Container) -> bool {
    container.record().state.running
}

fn refuse_removed(container: &Container) -> Result<()> {
    match container.status() {
        Status::Removing | Status::Dead => Err(Error::conflict(format!(
            "Container {} is marked for removal and cannot be connected or disconnected to the network",
            container.id
        ))),
        _ => Ok(()),
    }
}

fn check_modes(mode: &str, network: &Network) -> Result<()> {
    if mode.starts_with("container:") {
        return Err(Error::invalid(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        ));
    }
    if mode == "host" || network.driver == "host" {
        return Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    match (mode, network.driver.as_str()) {
        ("none", _) | (_, "null") => Err(conflict_with_none()),
        _ => Ok(()),
    }
}

fn conflict_with_none() -> Error {
    Error::invalid(
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    )
}
