//! A container's start and end: a sandbox with its endpoints, ports and resolver, and their removal.

use super::endpoint::Asker;
use super::grant::Grants;
use super::member::Member;
use super::ports::Published;
use super::{Networks, State};
use crate::container::random_hex;
use crate::{Error, Result};
use dnsd::Sockets;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use types::network::{EndpointSettings, NetworkSettings};
use types::{ContainerId, NetworkId};

pub(crate) use super::ports::Publishing;

/// Names under which the shim keeps the resolver's sockets.
pub(crate) const DNS_UDP: &str = "dns-udp";
pub(crate) const DNS_TCP: &str = "dns-tcp";

/// What a container that starts asks for.
pub(crate) struct Joining<'a> {
    pub(crate) id: &'a ContainerId,
    /// Without the leading slash.
    pub(crate) name: &'a str,
    pub(crate) hostname: &'a str,
    /// The network of `NetworkMode`: its interface is the first.
    pub(crate) mode: &'a str,
    /// By network, as the user wrote it: name or id.
    pub(crate) networks: &'a BTreeMap<String, EndpointSettings>,
    pub(crate) publishing: Publishing<'a>,
    /// Servers of its own for what is no container's name.
    pub(crate) dns: &'a [String],
    /// Its places in the cluster's networks.
    pub(crate) granted: &'a Grants,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) netns: PathBuf,
    /// `networks` under the networks' names.
    pub(crate) settings: NetworkSettings,
    /// Its own addresses, in the order of its interfaces.
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) six_addresses: Vec<Ipv6Addr>,
    /// What `host-gateway` means to it.
    pub(crate) host_gateway: Option<Ipv4Addr>,
    /// Sockets that must live as long as the container: the shim keeps them.
    pub(crate) keep: Vec<(String, OwnedFd)>,
}

impl Networks {
    /// Makes the sandbox and all that belongs to it. After a failure nothing of it is left.
    pub(crate) async fn attach(&self, joining: Joining<'_>) -> Result<Attached> {
        let attached = self.try_attach(&joining).await;
        if attached.is_err()
            && let Err(err) = self.detach(joining.id).await
        {
            tracing::warn!(container = joining.id.short(), error = %err, "failed to take back a sandbox");
        }
        attached.map_err(|err| err.context("failed to set up container networking"))
    }

    async fn try_attach(&self, joining: &Joining<'_>) -> Result<Attached> {
        let (netns, sockets) = self.make_sandbox(joining.id).await?;
        let mut state = self.state.lock().await;
        self.settle_locked(&mut state).await?;
        state.remove_member(joining.id);
        let asked = state.admit(joining)?;
        let published = state.publish(joining)?;
        let Some(member) = state.members.get_mut(joining.id) else {
            return Err(vanished(joining.id));
        };
        member.ports.clone_from(&published.ports);
        let member = member.clone();
        self.save_member(joining.id, &member)?;
        state
            .asked
            .retain(|task, _| !member.places.iter().any(|it| it.task.as_ref() == Some(task)));
        self.apply_bridges(&state).await?;
        if member.places.iter().any(|place| state.is_overlay(&place.network)) {
            self.apply_overlay(&mut state).await?;
        }
        self.refresh_names(&mut state, &networks_of(&member));
        state.relay(joining.id, &published.sockets)?;
        let mut keep = published.sockets;
        if !member.places.is_empty() {
            let kept = sockets
                .try_clone()
                .map_err(|err| Error::caused("failed to keep the DNS sockets", err))?;
            keep.extend([(DNS_UDP.to_owned(), kept.udp), (DNS_TCP.to_owned(), kept.tcp)]);
            self.serve(&mut state, joining.id, sockets)?;
        }
        Ok(Attached {
            settings: state.settings(joining, &member, asked, &netns),
            addresses: member.places.iter().map(|place| place.address).collect(),
            six_addresses: member.six_addresses(),
            host_gateway: state.default_gateway(),
            netns,
            keep,
        })
    }

    /// Bound before anybody can send: a sandbox's resolver is there from its first packet on.
    async fn make_sandbox(&self, id: &ContainerId) -> Result<(PathBuf, Sockets)> {
        let id = id.clone();
        let made = self.on_device(move |device| {
            let netns = device.sandboxes().ensure(&id)?;
            let sockets = netdev::run_in(&netns, || {
                netdev::lead_to_resolver(names::EMBEDDED, super::DNS_PORT, dnsd::OWN_PORT)?;
                Sockets::open()
            })?;
            Ok((netns, sockets))
        });
        made.await.map_err(|err: netdev::SandboxError| Error::from_lower(err))
    }

    /// Takes a container off all its networks and removes its sandbox. Safe at any time, as often as one
    /// likes; goes on after a failure.
    pub(crate) async fn detach(&self, id: &ContainerId) -> Result<()> {
        let mut state = self.state.lock().await;
        let member = state.remove_member(id);
        self.remove_member_file(id);
        // First the sandbox: its pairs go with it, which nobody has to wait for.
        let of = id.clone();
        let removed = self.on_device(move |device| device.sandboxes().remove(&of)).await;
        let mut outcome = removed.map_err(Error::from_lower);
        if let Some(member) = member {
            self.refresh_names(&mut state, &networks_of(&member));
            outcome = self.apply(&mut state).await.and(outcome);
        }
        outcome
    }

    /// Takes over a container that kept running while no daemon did; `sockets` and what is [`Self::relayed`] come
    /// from its shim. Its links are looked at, and its queries answered, by [`Networks::settle`]: before, a name of one that
    /// is adopted later would be answered as unknown.
    pub(crate) async fn adopt(
        &self,
        id: &ContainerId,
        sockets: Option<Sockets>,
        relayed: &[(String, OwnedFd)],
    ) -> Result<()> {
        let Some(member) = self.load_member(id) else { return Ok(()) };
        let mut state = self.state.lock().await;
        for place in &member.places {
            let claimed = state
                .networks
                .get_mut(&place.network)
                .and_then(|known| known.bridge.as_mut())
                .map(|bridge| bridge.space.claim(place.address));
            if let Some(Err(err)) = claimed {
                tracing::warn!(container = id.short(), address = %place.address, error = %err, "adopted a taken address");
            }
            state.last_addresses.insert((id.clone(), place.network.clone()), place.address);
        }
        let networks = networks_of(&member);
        state.members.insert(id.clone(), member);
        state.relay(id, relayed)?;
        self.refresh_names(&mut state, &networks);
        state.unserved.extend(sockets.map(|sockets| (id.clone(), sockets)));
        match state.settled {
            true => self.serve_adopted(&mut state),
            false => Ok(()),
        }
    }

    /// The container was removed: nothing is remembered of it.
    pub(crate) async fn forget(&self, id: &ContainerId) {
        let mut state = self.state.lock().await;
        state.last_addresses.retain(|(container, _), _| container != id);
    }

    /// Others find it by its new name from now on.
    pub(crate) async fn renamed(&self, id: &ContainerId, name: &str) {
        let mut state = self.state.lock().await;
        let Some(member) = state.members.get_mut(id) else { return };
        let old = std::mem::replace(&mut member.name, name.to_owned());
        for known in member
            .places
            .iter_mut()
            .flat_map(|place| &mut place.names)
            .filter(|known| **known == old)
        {
            name.clone_into(known);
        }
        let member = member.clone();
        if let Err(err) = self.save_member(id, &member) {
            tracing::warn!(container = id.short(), error = %err, "failed to save a rename");
        }
        self.refresh_names(&mut state, &networks_of(&member));
    }

    /// Where the container's sandbox is while it runs.
    pub(crate) fn sandbox_path(&self, id: &ContainerId) -> PathBuf {
        self.sandboxes.path(id)
    }

    /// The user's servers, search domains and options with the daemon's where he has none.
    pub(crate) fn dns_wishes(&self, own: names::DnsWishes) -> names::DnsWishes {
        let or = |own: Vec<String>, daemon: &Vec<String>| {
            if own.is_empty() { daemon.clone() } else { own }
        };
        let daemon = &self.settings.dns;
        names::DnsWishes {
            servers: or(own.servers, &daemon.servers),
            search: or(own.search, &daemon.search),
            options: or(own.options, &daemon.options),
        }
    }
}

impl State {
    /// Makes the asker a member with a place on each of its networks. Returns its wishes by the networks'
    /// names, networks without interfaces included.
    fn admit(
        &mut self,
        joining: &Joining<'_>,
    ) -> Result<BTreeMap<String, (NetworkId, EndpointSettings)>> {
        let asker = Asker { id: joining.id, name: joining.name, hostname: joining.hostname };
        let mut member = Member {
            name: joining.name.to_owned(),
            dns: joining.dns.to_vec(),
            ..Member::default()
        };
        let mut asked = BTreeMap::new();
        let admitted = joining.in_order().try_for_each(|(wanted, settings)| {
            let known = self.find(wanted)?;
            asked.insert(known.record.name.clone(), (known.id().clone(), settings.clone()));
            let place = self.take_place(wanted, settings, &asker, &member, joining.granted)?;
            member.places.extend(place.clone());
            if let Some(place) = place
                && let Some(address) = self.take_six(&place, settings)?
            {
                member.six.insert(place.network, address);
            }
            Ok(())
        });
        // Also after a failure, so that `detach` gives back what was taken.
        self.members.insert(joining.id.clone(), member);
        admitted.map(|()| asked)
    }

    /// Reserves the ports at the endpoint that has the default route; without one none is published.
    fn publish(&self, joining: &Joining<'_>) -> Result<Published> {
        let member = self.members.get(joining.id);
        let Some(gateway) = member.and_then(|member| self.gateway_of(member)) else {
            return Ok(Published::default());
        };
        let endpoint = &gateway.endpoint;
        let bridge = self.networks.get(&gateway.network).and_then(|known| known.bridge.as_ref());
        let host_binding = bridge.map_or(Ipv4Addr::UNSPECIFIED, |bridge| bridge.host_binding);
        let taken = |protocol, host_ip: std::net::IpAddr, host_port| {
            self.members.values().flat_map(|member| &member.ports).any(|port| {
                port.protocol == protocol
                    && port.host_port == host_port
                    && port.host_ip.is_ipv4() == host_ip.is_ipv4()
                    && (port.host_ip == host_ip
                        || port.host_ip.is_unspecified()
                        || host_ip.is_unspecified())
            })
        };
        let six = bridge.is_some() || self.publishes_six(&gateway.network, joining.id);
        joining.publishing.reserve(host_binding, six, taken).map_err(|err| {
            err.context(format!(
                "driver failed programming external connectivity on endpoint {} ({endpoint})",
                joining.name
            ))
        })
    }

    fn settings(
        &self,
        joining: &Joining<'_>,
        member: &Member,
        asked: BTreeMap<String, (NetworkId, EndpointSettings)>,
        netns: &std::path::Path,
    ) -> NetworkSettings {
        let fill = |(name, (id, mut settings)): (String, (NetworkId, EndpointSettings))| {
            match member.on(&id) {
                Some(place) => {
                    place.fill(&mut settings, self);
                    member.fill_six(&id, &mut settings, self);
                }
                None => {
                    settings.network_id = id.to_string();
                    settings.endpoint_id = random_hex();
                }
            }
            (name, settings)
        };
        let networks: BTreeMap<String, EndpointSettings> = asked.into_iter().map(fill).collect();
        let ports = match member.places.is_empty() {
            true => BTreeMap::new(),
            false => joining.publishing.shown(&member.ports),
        };
        let mut settings = NetworkSettings {
            sandbox_id: random_hex(),
            sandbox_key: netns.to_string_lossy().into_owned(),
            ports,
            ..NetworkSettings::default()
        };
        // Fields of the time when there was one network.
        if let Some(bridge) = networks.get("bridge") {
            settings.endpoint_id.clone_from(&bridge.endpoint_id);
            settings.gateway.clone_from(&bridge.gateway);
            settings.ip_address.clone_from(&bridge.ip_address);
            settings.ip_prefix_len = bridge.ip_prefix_len;
            settings.mac_address.clone_from(&bridge.mac_address);
        }
        settings.networks = networks;
        settings
    }

    /// The host as every container reaches it: the default bridge's address.
    fn default_gateway(&self) -> Option<Ipv4Addr> {
        Some(self.find("bridge").ok()?.bridge.as_ref()?.space.gateway())
    }

    pub(super) fn remove_member(&mut self, id: &ContainerId) -> Option<Member> {
        self.serving.remove(id);
        self.relays.remove(id);
        self.unserved.remove(id);
        let member = self.members.remove(id)?;
        self.free_places(&member.places);
        Some(member)
    }
}

impl Joining<'_> {
    /// The mode's network, then the others by name.
    fn in_order(&self) -> impl Iterator<Item = (&String, &EndpointSettings)> {
        // From the second start on a network that the mode names by id is listed under its name.
        let is_first = |(name, wish): &(&String, &EndpointSettings)| {
            *name == self.mode
                || (!wish.network_id.is_empty() && wish.network_id.starts_with(self.mode))
        };
        let first = self.networks.iter().filter(is_first);
        first.chain(self.networks.iter().filter(move |wish| !is_first(wish)))
    }
}

pub(super) fn networks_of(member: &Member) -> BTreeSet<NetworkId> {
    member.places.iter().map(|place| place.network.clone()).collect()
}

pub(super) fn vanished(id: &ContainerId) -> Error {
    Error::system(format!("container {} left its networks meanwhile", id.short()))
}
