//! The user's wishes for one endpoint, checked as dockerd does, and the place that comes of them.

use super::grant::Grants;
use super::member::{Member, Place, parse_mac};
use super::{Known, State, is_predefined};
use crate::container::{parse_link, random_hex};
use crate::{Error, Result};
use std::net::{Ipv4Addr, Ipv6Addr};
use types::network::EndpointSettings;
use types::{ContainerId, EndpointId};

/// What `settings` ask of a network that may not be there yet.
pub(super) fn check(name: &str, known: Option<&Known>, settings: &EndpointSettings) -> Result<()> {
    if known.is_some_and(|known| known.record.config_only) {
        return Err(Error::forbidden("cannot create endpoint on configuration-only network"));
    }
    let mut faults = Vec::new();
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    let has_address = !ipam.ipv4_address.is_empty() || !ipam.ipv6_address.is_empty();
    if is_predefined(name) {
        if has_address {
            faults.push(
                "user specified IP address is supported on user defined networks only".to_owned(),
            );
        }
        if settings.aliases.as_ref().is_some_and(|aliases| !aliases.is_empty()) {
            faults.push(
                "network-scoped alias is supported only for containers in user defined networks"
                    .to_owned(),
            );
        }
    }
    faults.extend(address_fault(&ipam.ipv4_address, known));
    faults.extend(six_fault(&ipam.ipv6_address, known));
    faults.extend(links(settings).err().map(|err| err.to_string()));
    if !settings.mac_address.is_empty() && parse_mac(&settings.mac_address).is_none() {
        faults.push(format!("invalid MAC address: {}", settings.mac_address));
    }
    match faults.as_slice() {
        [] => Ok(()),
        [only] => Err(Error::invalid(format!("invalid endpoint settings:\n{only}"))),
        several => {
            Err(Error::invalid(format!("invalid endpoint settings:\n* {}", several.join("\n* "))))
        }
    }
}

fn address_fault(text: &str, known: Option<&Known>) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let address = match text.parse::<Ipv4Addr>() {
        Ok(address) if !address.is_unspecified() => address,
        _ => return Some(format!("invalid IPv4 address: {text}")),
    };
    let outside = !known?.subnet()?.contains(address);
    outside.then(|| format!("no configured subnet contains IP address {address}"))
}

fn six_fault(text: &str, known: Option<&Known>) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let Ok(address) = text.parse::<Ipv6Addr>() else {
        return Some(format!("invalid IPv6 address: {text}"));
    };
    let known = known.filter(|known| !is_predefined(&known.record.name))?;
    let inside = known.six().is_some_and(|space| space.contains(address));
    (!inside).then(|| format!("no configured subnet contains IP address {address}"))
}

fn links(settings: &EndpointSettings) -> Result<Vec<(String, String)>> {
    let owned = |link: &String| {
        let (target, alias) = parse_link(link)?;
        Ok((target.trim_start_matches('/').to_owned(), alias.to_owned()))
    };
    settings.links.iter().flatten().map(owned).collect()
}

/// Who asks for a place.
pub(super) struct Asker<'a> {
    pub(super) id: &'a ContainerId,
    pub(super) name: &'a str,
    pub(super) hostname: &'a str,
}

impl State {
    /// Takes an address on `network` for the asker. `None` when the network has no interfaces (`none`).
    pub(super) fn take_place(
        &mut self,
        network: &str,
        settings: &EndpointSettings,
        asker: &Asker<'_>,
        member: &Member,
        granted: &Grants,
    ) -> Result<Option<Place>> {
        let known = self.find(network)?;
        check(&known.record.name, Some(known), settings)?;
        let id = known.id().clone();
        let last = self.last_addresses.get(&(asker.id.clone(), id.clone())).copied();
        let Some(known) = self.networks.get_mut(&id) else { return Ok(None) };
        let (name, names) = (known.record.name.clone(), known.names_of(asker, settings));
        let used = member.places.iter().map(|place| place.interface.as_str());
        if known.overlay.is_some() {
            let grant = granted.get(&id).ok_or_else(|| {
                Error::system(format!("the cluster gave no place in network {name}"))
            })?;
            return Ok(Some(Place {
                interface: netplan::free_interface("eth", used),
                network: id,
                endpoint: EndpointId::new(random_hex()),
                address: grant.address,
                mac: netplan::mac_of(grant.address),
                gw_priority: settings.gw_priority,
                names,
                task: grant.task.clone(),
                links: links(settings)?,
            }));
        }
        let Some(bridge) = known.bridge.as_mut() else { return Ok(None) };
        let wanted = settings
            .ipam_config
            .as_ref()
            .map(|ipam| ipam.ipv4_address.as_str())
            .unwrap_or_default();
        let address = match wanted.parse() {
            Ok(address) => bridge.space.claim(address).map(|()| address),
            Err(_) => bridge.space.allocate(last, &name, id.as_str()),
        };
        let address = address.map_err(Error::from_lower)?;
        let interface = netplan::free_interface(&bridge.prefix, used);
        self.last_addresses.insert((asker.id.clone(), id.clone()), address);
        Ok(Some(Place {
            network: id,
            endpoint: EndpointId::new(random_hex()),
            address,
            mac: parse_mac(&settings.mac_address).unwrap_or_else(|| netplan::mac_of(address)),
            interface,
            gw_priority: settings.gw_priority,
            names,
            task: None,
            links: links(settings)?,
        }))
    }

    /// Gives the places' addresses back.
    pub(super) fn free_places<'a>(&mut self, places: impl IntoIterator<Item = &'a Place>) {
        for place in places {
            if let Some(bridge) =
                self.networks.get_mut(&place.network).and_then(|known| known.bridge.as_mut())
            {
                bridge.space.release(place.address);
            }
        }
    }
}

impl Known {
    /// The container's name, its aliases, its short id, its hostname; none on the default bridge.
    fn names_of(&self, asker: &Asker<'_>, settings: &EndpointSettings) -> Vec<String> {
        if is_predefined(&self.record.name) {
            return Vec::new();
        }
        let mut names = vec![asker.name.to_owned()];
        let aliases = settings.aliases.iter().flatten().map(String::as_str);
        for name in aliases.chain([asker.id.short(), asker.hostname]) {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}
