//! `GET /networks`, create, inspect, remove, prune.

use super::bridge::subnet;
use super::{Known, Networks, State, is_predefined};
use crate::container::random_hex;
use crate::{Engine, Error, Filters, Result};
use errdefs::ErrorKind;
use serde::Serialize;
use types::network::{CreateRequest, EndpointResource, Ipam, IpamConfig, Network};
use types::subnet::Subnet;
use types::{NetworkId, Timestamp};

const LIST_FILTERS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_FILTERS: &[&str] = &["label", "label!", "until"];

/// The reply to a create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkCreated {
    pub id: NetworkId,
    pub warning: String,
}

impl Engine {
    /// `GET /networks`: without the containers, as dockerd has it since API 1.28.
    pub async fn network_list(&self, filters: Filters) -> Result<Vec<Network>> {
        filters.validate(LIST_FILTERS)?;
        let dangling = filters.flag("dangling")?;
        if let Some(kind) = filters.get("type").find(|kind| !matches!(*kind, "builtin" | "custom"))
        {
            return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
        }
        let state = self.0.networks.state.lock().await;
        let wanted = |known: &&Known| {
            let record = &known.record;
            let kind = if is_predefined(&record.name) { "builtin" } else { "custom" };
            dangling
                .is_none_or(|dangling| dangling == (kind == "custom" && !state.is_used(&record.id)))
                && filters.matches("driver", |driver| record.driver == driver)
                && filters.matches("id", |id| record.id.as_str().contains(id))
                && filters.matches("name", |name| matches_name(&record.name, name))
                && filters.matches("scope", |scope| record.scope == scope)
                && filters.matches("type", |wanted| wanted == kind)
                && filters.matches_labels("label", &record.labels)
        };
        Ok(state.networks.values().filter(wanted).map(|known| known.record.clone()).collect())
    }

    /// `GET /networks/{id}`. `scope`: only one of that scope, when not empty.
    pub async fn network_inspect(&self, id: &str, scope: &str) -> Result<Network> {
        let network = self.0.networks.inspect(id).await?;
        if !scope.is_empty() && scope != network.scope {
            return Err(Error::not_found(format!("network {id} not found")));
        }
        Ok(network)
    }

    /// `POST /networks/create`.
    pub async fn network_create(&self, request: CreateRequest) -> Result<NetworkCreated> {
        let network = self.0.networks.create(request).await?;
        self.network_event("create", &network, None);
        Ok(NetworkCreated { id: network.id, warning: String::new() })
    }

    /// `DELETE /networks/{id}`.
    pub async fn network_remove(&self, id: &str) -> Result<()> {
        let network = self.0.networks.remove(id).await?;
        self.network_event("destroy", &network, None);
        Ok(())
    }

    /// `POST /networks/prune`: names of the removed.
    pub async fn network_prune(&self, filters: Filters) -> Result<Vec<String>> {
        filters.validate(PRUNE_FILTERS)?;
        let until = crate::container::until(&filters)?;
        let candidates: Vec<Network> = {
            let state = self.0.networks.state.lock().await;
            let unused = |known: &&Known| {
                let record = &known.record;
                !is_predefined(&record.name)
                    && !state.is_used(&record.id)
                    && until.is_none_or(|until| record.created < until)
                    && filters.matches_labels("label", &record.labels)
                    && !(filters.contains("label!")
                        && filters.matches_labels("label!", &record.labels))
            };
            state.networks.values().filter(unused).map(|known| known.record.clone()).collect()
        };
        let mut removed = Vec::new();
        for network in candidates {
            match self.network_remove(network.id.as_str()).await {
                Ok(()) => removed.push(network.name),
                // A container joined it meanwhile.
                Err(err) => tracing::debug!(network = network.name, error = %err, "not pruned"),
            }
        }
        Ok(removed)
    }
}

impl Networks {
    /// With the containers that run on it.
    pub(crate) async fn inspect(&self, id: &str) -> Result<Network> {
        let state = self.state.lock().await;
        let known = state.find(id)?;
        Ok(Network { containers: state.containers_on(known), ..known.record.clone() })
    }

    pub(super) async fn create(&self, request: CreateRequest) -> Result<Network> {
        let mut record = check(request)?;
        let mut state = self.state.lock().await;
        if state.networks.values().any(|known| known.record.name == record.name) {
            return Err(Error::conflict(format!(
                "network with name {} already exists",
                record.name
            )));
        }
        if record.config_only {
            self.save(&record)?;
            state.networks.insert(record.id.clone(), Known::new(record.clone())?);
            return Ok(record);
        }
        state.configure(&mut record)?;
        self.settle_locked(&mut state).await?;
        self.settle_subnet(&mut record, &state).await?;
        let taken: Vec<_> = state.networks.values().filter_map(Known::six).collect();
        super::six::settle(&mut record, &self.settings.instance, &taken)?;
        if let Some(mtu) = self.settings.mtu {
            record
                .options
                .entry("com.docker.network.driver.mtu".to_owned())
                .or_insert_with(|| mtu.to_string());
        }
        let mut known = Known::new(record)?;
        if let (Some(bridge), Some(entries)) = (&known.bridge, &mut known.record.ipam.config) {
            bridge.fill_gateway(entries);
            state.refuse_interface(&bridge.interface)?;
        }
        let record = known.record.clone();
        self.save(&record)?;
        state.networks.insert(record.id.clone(), known);
        if let Err(err) = self.apply_bridges(&state).await {
            state.networks.remove(&record.id);
            self.remove_file(&record);
            self.apply_bridges(&state).await.unwrap_or_else(
                |err| tracing::warn!(error = %err, "failed to take back a network"),
            );
            return Err(err);
        }
        Ok(record)
    }

    /// The user's subnet if nobody has it, or a free one out of the pools.
    pub(super) async fn settle_subnet(&self, record: &mut Network, state: &State) -> Result<()> {
        let entries = record.ipam.config.get_or_insert_default();
        let named = entries.iter().find(|entry| !entry.subnet.contains(':'));
        let Some(wanted) = named.and_then(|entry| subnet(&entry.subnet)) else {
            let chosen = self.choose_subnet(state).await?;
            entries.retain(|entry| entry.subnet.contains(':'));
            let subnet = chosen.to_string();
            entries.insert(0, IpamConfig { subnet, ..IpamConfig::default() });
            return Ok(());
        };
        let taken = state.subnets().any(|subnet| subnet.overlaps(wanted));
        if taken { Err(Error::from_lower(allocator::AllocError::PoolOverlaps)) } else { Ok(()) }
    }

    pub(super) async fn choose_subnet(&self, state: &State) -> Result<Subnet> {
        let routed = self.on_device(|device| device.routed_subnets()).await;
        let mut in_use =
            routed.map_err(|err| Error::caused("failed to list the host's routes", err))?;
        in_use.extend(state.subnets());
        allocator::choose_subnet(&self.settings.pools, &in_use).map_err(Error::from_lower)
    }

    pub(super) async fn remove(&self, id: &str) -> Result<Network> {
        let mut state = self.state.lock().await;
        let known = state.find(id)?;
        let record = known.record.clone();
        if is_predefined(&record.name) {
            let text = format!("{} is a pre-defined network and cannot be removed", record.name);
            return Err(Error::forbidden(text));
        }
        let configures = |other: &Known| other.record.config_from.network == record.name;
        if record.config_only && state.networks.values().any(configures) {
            let text = format!("configuration network \"{}\" is in use", record.name);
            return Err(Error::forbidden(text));
        }
        if state.is_used(&record.id) {
            let endpoints: Vec<_> = state
                .containers_on(known)
                .values()
                .map(|endpoint| {
                    format!("name:\"{}\" id:\"{:.12}\"", endpoint.name, endpoint.endpoint_id)
                })
                .collect();
            return Err(Error::forbidden(format!(
                "error while removing network: network {} id {} has active endpoints ({})",
                record.name,
                record.id,
                endpoints.join(", ")
            )));
        }
        self.settle_locked(&mut state).await?;
        state.networks.remove(&record.id);
        self.remove_file(&record);
        self.apply(&mut state).await.map_err(|err| err.context("error while removing network"))?;
        Ok(record)
    }

    pub(super) fn remove_file(&self, record: &Network) {
        if let Err(err) = std::fs::remove_file(self.dir.join(format!("{}.json", record.id))) {
            tracing::warn!(network = record.name, error = %err, "failed to remove a network's file");
        }
    }
}

impl State {
    fn subnets(&self) -> impl Iterator<Item = Subnet> {
        self.networks.values().filter_map(Known::subnet)
    }

    /// Fills a network in from the configuration network that it names (`--config-from`).
    fn configure(&self, record: &mut Network) -> Result<()> {
        let name = record.config_from.network.clone();
        if name.is_empty() {
            return Ok(());
        }
        let Some(from) = self.find(&name).ok().filter(|known| known.record.config_only) else {
            return Err(Error::not_found(format!(
                "configuration network \"{name}\" does not exist"
            )));
        };
        let own = record.ipam.config.as_ref().is_some_and(|entries| !entries.is_empty());
        if own || !record.options.is_empty() || record.enable_ipv6 || record.internal {
            return Err(Error::forbidden(
                "user specified configurations are not supported if the network depends on a configuration network",
            ));
        }
        let from = &from.record;
        record.config_from.network.clone_from(&from.name);
        record.ipam.clone_from(&from.ipam);
        record.options.clone_from(&from.options);
        record.enable_ipv6 = from.enable_ipv6;
        record.internal = from.internal;
        for (name, value) in &from.labels {
            record.labels.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Ok(())
    }

    fn containers_on(&self, known: &Known) -> std::collections::BTreeMap<String, EndpointResource> {
        let Some(subnet) = known.subnet() else { return Default::default() };
        let on = |(id, member): (&types::ContainerId, &super::member::Member)| {
            let place = member.on(known.id())?;
            let resource = EndpointResource {
                name: member.name.clone(),
                endpoint_id: place.endpoint.to_string(),
                mac_address: super::member::mac_text(place.mac),
                ipv4_address: subnet.with(place.address).to_string(),
                ipv6_address: match (known.six(), member.six.get(known.id())) {
                    (Some(space), Some(address)) => format!("{address}/{}", space.prefix_len),
                    _ => String::new(),
                },
            };
            Some((id.to_string(), resource))
        };
        self.members.iter().filter_map(on).collect()
    }

    fn refuse_interface(&self, interface: &str) -> Result<()> {
        let holder = self.networks.values().find(|known| {
            known.bridge.as_ref().is_some_and(|bridge| bridge.interface == interface)
        });
        holder.map_or(Ok(()), |known| {
            let text = format!(
                "networks have same bridge name: {interface} is the one of {}",
                known.record.name
            );
            Err(Error::forbidden(text))
        })
    }
}

/// What can be told from the request alone.
fn check(request: CreateRequest) -> Result<Network> {
    if request.name.trim().is_empty() {
        return Err(Error::invalid("invalid name: name is empty"));
    }
    if is_predefined(&request.name) {
        let text = format!("operation is not permitted on predefined {} network ", request.name);
        return Err(Error::forbidden(text));
    }
    let driver = check_driver(&request)?;
    let ipam = request.ipam.unwrap_or_default();
    let entries = ipam.config.unwrap_or_default();
    allocator::check_ipam(&entries).map_err(Error::from_lower)?;
    if entries.iter().filter(|entry| !entry.subnet.contains(':')).count() > 1 {
        return Err(Error::forbidden("bridge driver doesn't support multiple subnets"));
    }
    Ok(Network {
        name: request.name,
        id: NetworkId::new(random_hex()),
        created: Timestamp::from(std::time::SystemTime::now()),
        scope: "local".to_owned(),
        driver,
        enable_ipv4: true,
        enable_ipv6: request.enable_ipv6.unwrap_or(false),
        ipam: Ipam {
            driver: if ipam.driver.is_empty() { "default".to_owned() } else { ipam.driver },
            options: ipam.options,
            config: Some(entries),
        },
        internal: request.internal,
        config_only: request.config_only,
        config_from: request.config_from.unwrap_or_default(),
        attachable: request.attachable,
        options: request.options.unwrap_or_default(),
        labels: request.labels.unwrap_or_default(),
        ..Network::default()
    })
}

fn check_driver(request: &CreateRequest) -> Result<String> {
    let depends = request.config_from.as_ref().is_some_and(|from| !from.network.is_empty());
    if request.config_only && depends {
        return Err(Error::forbidden(
            "a configuration network cannot depend on another configuration network",
        ));
    }
    if request.config_only {
        if !matches!(request.driver.as_str(), "" | "default" | "bridge" | "null") {
            return Err(Error::forbidden(
                "network driver cannot be specified for a configuration network",
            ));
        }
        // What Docker shows of a network that is only a template.
        return Ok("null".to_owned());
    }
    if request.enable_ipv4 == Some(false) {
        return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
    }
    if request.ipam.as_ref().is_some_and(|ipam| !matches!(ipam.driver.as_str(), "" | "default")) {
        return Err(Error::invalid("invalid ipam driver: only \"default\" is there"));
    }
    match request.driver.as_str() {
        "" | "default" | "bridge" => Ok("bridge".to_owned()),
        name @ ("host" | "null") => {
            Err(Error::forbidden(format!("only one instance of \"{name}\" network is allowed")))
        }
        "overlay" => Err(Error::forbidden(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        name => {
            Err(Error::invalid(format!("plugin \"{name}\" not found"))
                .with_kind(ErrorKind::NotFound))
        }
    }
}

/// Docker's name filter: a regular expression, or a part.
fn matches_name(name: &str, wanted: &str) -> bool {
    name.contains(wanted)
        || regex_lite::Regex::new(wanted).is_ok_and(|wanted| wanted.is_match(name))
}
