//! Names: one zone for each network, one resolver for each running container.

use super::member::Member;
use super::{Networks, Settings, State};
use crate::{Error, Result};
use dnsd::{Server, Sockets, View};
use names::{Entry, Zone};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;
use types::{ContainerId, NetworkId};

pub(super) const DNS_PORT: u16 = 53;

/// A container's resolver; it ends when this is dropped.
pub(super) struct Serving {
    pub(super) _server: Server,
    pub(super) view: watch::Sender<Arc<View>>,
}

impl Networks {
    /// Answers on `sockets` for a member.
    pub(super) fn serve(
        &self,
        state: &mut State,
        id: &ContainerId,
        sockets: Sockets,
    ) -> Result<()> {
        let Some(member) = state.members.get(id) else { return Ok(()) };
        let view = watch::Sender::new(Arc::new(state.view_of(member, &self.settings)));
        let server = dnsd::serve(sockets, view.subscribe())
            .map_err(|err| Error::caused("failed to serve DNS in the sandbox", err))?;
        state.serving.insert(id.clone(), Serving { _server: server, view });
        Ok(())
    }

    /// Begins to answer for all that were adopted; for those on the cluster's networks once its names are known.
    pub(super) fn serve_adopted(&self, state: &mut State) -> Result<()> {
        let adopted = std::mem::take(&mut state.unserved);
        for (id, sockets) in adopted {
            let places = state.members.get(&id).into_iter().flat_map(|member| &member.places);
            let needs_cluster = places.into_iter().any(|place| state.is_overlay(&place.network));
            match needs_cluster && state.following.is_none() {
                true => drop(state.unserved.insert(id, sockets)),
                false => self.serve(state, &id, sockets)?,
            }
        }
        Ok(())
    }

    /// After members of `networks` came, went or were renamed.
    pub(super) fn refresh_names(&self, state: &mut State, networks: &BTreeSet<NetworkId>) {
        for network in networks {
            let zone = state.zone_of(network);
            if let Some(known) = state.networks.get_mut(network) {
                known.zone = zone;
            }
        }
        for (id, serving) in &state.serving {
            let Some(member) = state.members.get(id) else { continue };
            if member.places.iter().any(|place| networks.contains(&place.network)) {
                serving.view.send_replace(Arc::new(state.view_of(member, &self.settings)));
            }
        }
        for (id, serving) in &state.host_serving {
            serving.view.send_replace(Arc::new(state.host_view(id)));
        }
    }
}

impl State {
    fn zone_of(&mut self, network: &NetworkId) -> Arc<Zone> {
        if self.is_overlay(network) {
            return self.cluster_names(network).unwrap_or_default();
        }
        let name =
            self.networks.get(network).map(|known| known.record.name.as_str()).unwrap_or_default();
        let entries = self.members.values().filter_map(|member| {
            let place = member.on(network)?;
            let six = member.six.get(network).copied();
            Some(Entry { names: &place.names, address: place.address, six })
        });
        Arc::new(Zone::new(name, entries))
    }

    /// The zones of a member's networks, that of the first joined first; before them its own links.
    fn view_of(&self, member: &Member, settings: &Settings) -> View {
        let zone = |place: &super::member::Place| {
            self.networks.get(&place.network).map(|known| known.zone.clone())
        };
        let linked = |place: &super::member::Place| {
            let links = place.links.iter().map(|(target, alias)| (target.as_str(), alias.as_str()));
            let zone = self.networks.get(&place.network).filter(|_| !place.links.is_empty())?;
            Some(Arc::new(zone.zone.linked(links)))
        };
        let own = member.places.iter().filter_map(linked);
        View {
            zones: own.chain(member.places.iter().filter_map(zone)).collect(),
            upstream: upstream(member, settings),
        }
    }
}

/// The servers that the container's user named, or the daemon's, or else the host's.
fn upstream(member: &Member, settings: &Settings) -> Vec<SocketAddr> {
    let named =
        [&member.dns, &settings.dns.servers].into_iter().find(|servers| !servers.is_empty());
    let servers: Vec<IpAddr> = match named {
        Some(named) => named.iter().filter_map(|text| text.parse().ok()).collect(),
        None => dnsd::host_resolv_conf().nameservers,
    };
    servers.into_iter().map(|server| SocketAddr::new(server, DNS_PORT)).collect()
}
