//! What a project wants to exist, as bodies of the Docker API. Pure: names and ids that only the engine knows
//! (namespaces of other services, image ids) are left for the caller, as said at each field.

mod container;
mod hash;
mod host;
mod mounts;

pub(crate) use container::health;
pub use mounts::{Content, Injected};

use crate::labels;
use crate::model::{Condition, Dependency, Project};
use std::collections::{BTreeMap, BTreeSet};
use types::container::CreateRequest;
use types::network::{self, EndpointSettings};
use types::volume;

/// Every object of a project.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Desired {
    pub project: String,
    pub networks: BTreeMap<String, Network>,
    pub volumes: BTreeMap<String, Volume>,
    pub services: BTreeMap<String, Service>,
    /// Services that no active profile asks for: not ours to touch, and no orphans.
    pub disabled: BTreeSet<String>,
}

/// A network, by its key in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Must be there already.
    pub external: bool,
    /// Of [`labels::HASH`]: what the network is made with.
    pub hash: String,
    pub request: network::CreateRequest,
}

/// A volume, by its key in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Must be there already.
    pub external: bool,
    /// Of [`labels::SETTINGS`]: what the volume is made with.
    pub hash: String,
    pub request: volume::CreateRequest,
}

/// One service: the pattern of its containers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    pub name: String,
    pub replicas: u32,
    /// A fixed name; then there is one container at most.
    pub container_name: Option<String>,
    /// What to pull, or what to tag a build with.
    pub image: String,
    pub builds: bool,
    /// Its containers are named as docker-compose 1.x names them.
    pub compatible: bool,
    /// Of [`labels::HASH`].
    pub hash: String,
    pub depends_on: BTreeMap<String, Dependency>,
    /// Without name and number. `network_mode`, `ipc` and `pid` of `service:x` and `volumes_from` of services
    /// stand as written: the caller puts `container:<id>` there.
    pub template: CreateRequest,
    /// Networks beside the one of the template, to be connected before the start.
    pub more_networks: Vec<(String, EndpointSettings)>,
    /// Keys of the project's networks and volumes in use.
    pub networks: Vec<String>,
    pub volumes: Vec<String>,
    /// Services whose namespaces or volumes this one shares, after what it shares: recreated with them.
    pub shares: Vec<(&'static str, String)>,
    /// The containers of its `pre_start` hooks, in order.
    pub init: Vec<Init>,
    /// Files to write into a new container before its start.
    pub injected: Vec<Injected>,
}

/// The container of a `pre_start` hook, on the networks of its service. The caller gives it the volumes of the
/// service's container.
#[derive(Debug, Clone, PartialEq)]
pub struct Init {
    pub request: CreateRequest,
    /// Runs before each container of the service, not once before the first.
    pub per_replica: bool,
}

impl Service {
    /// `<project>-<service>-<number>`, or the fixed name.
    pub fn container(&self, project: &str, number: u32) -> String {
        let sign = if self.compatible { '_' } else { '-' };
        let name = || format!("{project}{sign}{}{sign}{number}", self.name);
        self.container_name.clone().unwrap_or_else(name)
    }

    /// The body of one container. `inherit` are anonymous volumes of its predecessor, by destination.
    pub fn request(
        &self,
        name: &str,
        number: u32,
        inherit: &BTreeMap<String, String>,
    ) -> CreateRequest {
        let mut request = self.template.clone();
        request.name = Some(name.to_owned());
        let labels = request.config.labels.get_or_insert_default();
        labels.insert(labels::NUMBER.to_owned(), number.to_string());
        for (destination, volume) in inherit {
            if let Some(volumes) = &mut request.config.volumes {
                volumes.remove(destination);
            }
            let binds = request.host_config.binds.get_or_insert_default();
            binds.push(format!("{volume}:{destination}:rw"));
        }
        request
    }

    /// Places in the container that the file itself fills: their anonymous volumes are not inherited.
    pub fn fills(&self, destination: &str) -> bool {
        let bound = |bind: &String| bind.split(':').nth(1) == Some(destination);
        let host = &self.template.host_config;
        host.binds.iter().flatten().any(bound)
            || host.mounts.iter().flatten().any(|mount| mount.target == destination)
            || host.tmpfs.iter().flatten().any(|(target, _)| target == destination)
    }
}

/// The objects of a project.
pub fn desired(project: &Project) -> Desired {
    let services = project.services.iter();
    Desired {
        project: project.name.clone(),
        disabled: project.disabled.clone(),
        networks: project
            .networks
            .iter()
            .map(|(key, n)| (key.clone(), network(project, key, n)))
            .collect(),
        volumes: project
            .volumes
            .iter()
            .map(|(key, v)| (key.clone(), volume(project, key, v)))
            .collect(),
        services: services
            .filter(|(_, service)| service.provider.is_none())
            .map(|(name, s)| (name.clone(), container::service(project, name, s)))
            .collect(),
    }
}

fn network(project: &Project, key: &str, network: &crate::model::Network) -> Network {
    let pools = network.ipam.config.iter().map(|pool| types::network::IpamConfig {
        subnet: pool.subnet.clone(),
        ip_range: pool.ip_range.clone(),
        gateway: pool.gateway.clone(),
        auxiliary_addresses: some(pool.aux_addresses.clone()),
    });
    let ipam = &network.ipam;
    let given = *ipam != crate::model::Ipam::default();
    let driver = if ipam.driver.is_empty() { "default" } else { &ipam.driver };
    let hash = hash::object(project, "networks", key);
    let mut labels = object_labels(project, labels::NETWORK, key, &network.labels);
    labels.insert(labels::HASH.to_owned(), hash.clone());
    Network {
        external: network.external,
        hash,
        request: network::CreateRequest {
            name: network.name.clone(),
            driver: network.driver.clone(),
            check_duplicate: Some(true),
            internal: network.internal,
            attachable: network.attachable,
            ipam: given.then(|| types::network::Ipam {
                driver: driver.to_owned(),
                options: some(ipam.options.clone()),
                config: Some(pools.collect()),
            }),
            enable_ipv4: network.enable_ipv4,
            enable_ipv6: network.enable_ipv6,
            options: some(network.driver_opts.clone()),
            labels: Some(labels),
            ..Default::default()
        },
    }
}

fn volume(project: &Project, key: &str, volume: &crate::model::Volume) -> Volume {
    let hash = hash::object(project, "volumes", key);
    let mut labels = object_labels(project, labels::VOLUME, key, &volume.labels);
    labels.insert(labels::SETTINGS.to_owned(), hash.clone());
    Volume {
        external: volume.external,
        hash,
        request: volume::CreateRequest {
            name: volume.name.clone(),
            driver: volume.driver.clone(),
            driver_opts: some(volume.driver_opts.clone()),
            labels: Some(labels),
        },
    }
}

fn object_labels(
    project: &Project,
    kind: &str,
    key: &str,
    own: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut all = own.clone();
    all.insert(kind.to_owned(), key.to_owned());
    all.insert(labels::PROJECT.to_owned(), project.name.clone());
    all.insert(labels::VERSION.to_owned(), labels::OUR_VERSION.to_owned());
    all
}

/// `None` for an empty map: Docker's wire tells them apart.
fn some<K, V>(map: BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    (!map.is_empty()).then_some(map)
}

/// Docker's word of a condition.
pub(crate) fn condition_word(condition: Condition) -> &'static str {
    match condition {
        Condition::Started => "service_started",
        Condition::Healthy => "service_healthy",
        Condition::CompletedSuccessfully => "service_completed_successfully",
    }
}

#[cfg(test)]
pub(crate) mod tests;
