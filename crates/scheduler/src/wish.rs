//! What a task asks of its node, compiled once from the task's spec and its service's extensions.
//!
//! Equal wishes share one [`crate::board::Board`]; so nothing in here may differ from task to task.

use crate::error::PlacementError;
use crate::rule::{Pattern, Rule, compile_rules};
use std::sync::Arc;
use types::swarm::constraint::{Attribute, Constraint, parse_all};
use types::swarm::extension::ServiceExtensions;
use types::swarm::placement::{PlacementExtensions, SpreadWeight, Strategy};
use types::swarm::service::{PortConfig, ServiceSpec};
use types::swarm::task::{GenericResource, Placement, Platform, Task, TaskSpec};
use types::{ServiceId, swarm::node::Node};

/// Everything that decides about nodes. The service and its version are part of it: they count tasks and
/// failures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub(crate) service: ServiceId,
    pub(crate) version: u64,
    pub(crate) nano_cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) generic: Vec<Ask>,
    pub(crate) host_ports: Vec<HostPort>,
    /// 0 is no limit.
    pub(crate) max_replicas: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) strategy: Strategy,
    pub(crate) site: Arc<Site>,
}

/// What of a wish only a node's own description decides. Many services ask for the same site: it is
/// surveyed once for all of them ([`crate::ground::Ground`]).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) plugins: Vec<PluginWish>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) patterns: Vec<Pattern>,
    /// Normalised; empty is any.
    pub(crate) platforms: Vec<(String, String)>,
    pub(crate) volumes: Vec<VolumeWish>,
    pub(crate) spread: Vec<Attribute>,
    pub(crate) weight: SpreadWeight,
}

/// A generic resource asked for: a number of a kind, or one by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ask {
    Count { kind: String, count: i64 },
    Named { kind: String, name: String },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PluginWish {
    /// `Volume`, `Network`, `Log`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

/// A port of the node itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostPort {
    pub(crate) protocol: String,
    pub(crate) port: u16,
}

/// A mount's source. A `cluster` mount must be found; a `volume` mount binds only if the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VolumeWish {
    pub(crate) source: String,
    pub(crate) must_exist: bool,
}

/// Checks constraints, preferences and placement extensions of a spec before it is accepted.
pub fn validate(spec: &ServiceSpec) -> Result<(), PlacementError> {
    let known = Nobody;
    let service = ServiceId::default();
    Wish::compile(&service, 0, &spec.task_template, &[], extensions(spec.sampan.as_ref()), &known)
        .map(|_| ())
}

/// Whether the node meets the spec's constraints and platforms: all that does not change with the tasks
/// there. For global services, and for eviction after a label changed. False for what does not parse.
pub fn suits(spec: &TaskSpec, node: &Node) -> bool {
    let Some(placement) = &spec.placement else { return true };
    let constraints = parse_all(&placement.constraints);
    let met = |all: Vec<Constraint>| all.iter().all(|constraint| constraint.matches(node));
    constraints.is_ok_and(met) && platform_fits(&platforms(placement), &node.description.platform)
}

pub(crate) fn extensions(sampan: Option<&ServiceExtensions>) -> Option<&PlacementExtensions> {
    sampan.and_then(|sampan| sampan.placement.as_ref())
}

/// What a spec refers to and does not hold.
pub(crate) trait Directory {
    /// The id of the service with this name or id.
    fn service(&self, name: &str) -> ServiceId;
    /// The driver of the network with this id or name; `None` if there is no such network.
    fn network_driver(&self, target: &str) -> Option<&str>;
}

/// A directory for checking a spec by itself.
struct Nobody;

impl Directory for Nobody {
    fn service(&self, name: &str) -> ServiceId {
        ServiceId::new(name)
    }
    fn network_driver(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Wish {
    pub(crate) fn of_task(
        task: &Task,
        extensions: Option<&PlacementExtensions>,
        known: &impl Directory,
    ) -> Result<Self, PlacementError> {
        let version = task.spec_version.map_or(0, |version| version.index);
        let ports = &task.record.host_ports;
        Wish::compile(&task.service_id, version, &task.spec, ports, extensions, known)
    }

    fn compile(
        service: &ServiceId,
        version: u64,
        spec: &TaskSpec,
        host_ports: &[PortConfig],
        extensions: Option<&PlacementExtensions>,
        known: &impl Directory,
    ) -> Result<Self, PlacementError> {
        let mut wish = Wish { service: service.clone(), version, ..Wish::default() };
        let mut site = Site::default();
        let reserved = spec.resources.as_ref().and_then(|all| all.reservations.as_ref());
        if let Some(reserved) = reserved {
            wish.nano_cpus = reserved.nano_cpus;
            wish.memory_bytes = reserved.memory_bytes;
            wish.generic = asks(&reserved.generic_resources);
        }
        site.plugins = plugins(spec, known);
        site.volumes = volumes(spec);
        wish.host_ports = host_ports.iter().filter_map(HostPort::of).collect();
        if let Some(extensions) = extensions {
            (wish.strategy, site.weight) = (extensions.strategy, extensions.spread_weight);
            compile_rules(&mut wish, &mut site, extensions, |name| known.service(name))?;
        }
        if let Some(placement) = &spec.placement {
            site.constraints = parse_all(&placement.constraints)?;
            wish.max_replicas = placement.max_replicas;
            site.platforms = platforms(placement);
            site.spread.extend(spread(placement));
        }
        wish.site = Arc::new(site);
        Ok(wish)
    }
}

impl HostPort {
    /// `None` for a port that the node chooses.
    pub(crate) fn of(port: &PortConfig) -> Option<Self> {
        let protocol = if port.protocol.is_empty() { "tcp" } else { &port.protocol };
        (port.published_port != 0)
            .then(|| HostPort { protocol: protocol.to_owned(), port: port.published_port })
    }
}

pub(crate) fn asks(resources: &[GenericResource]) -> Vec<Ask> {
    let ask = |resource: &GenericResource| {
        let named = resource.named_resource_spec.as_ref();
        let count = resource.discrete_resource_spec.as_ref();
        match (named, count) {
            (Some(named), _) => {
                Some(Ask::Named { kind: named.kind.clone(), name: named.value.clone() })
            }
            (None, Some(of)) => Some(Ask::Count { kind: of.kind.clone(), count: of.value }),
            (None, None) => None,
        }
    };
    resources.iter().filter_map(ask).collect()
}

/// Network drivers that every node has.
const BUILT_IN: &[&str] = &["", "overlay", "bridge", "host", "null", "none"];

fn plugins(spec: &TaskSpec, known: &impl Directory) -> Vec<PluginWish> {
    let mut wishes = Vec::new();
    for mount in spec.container_spec.iter().flat_map(|container| &container.mounts) {
        let driver = mount.volume_options.as_ref().and_then(|of| of.driver_config.as_ref());
        let named = driver.filter(|driver| !matches!(driver.name.as_str(), "" | "local"));
        if let Some(driver) = named.filter(|_| mount.kind == "volume") {
            wishes.push(PluginWish { kind: "Volume", name: driver.name.clone() });
        }
    }
    let drivers = spec.networks.iter().filter_map(|network| known.network_driver(&network.target));
    for driver in drivers.filter(|driver| !BUILT_IN.contains(driver)) {
        wishes.push(PluginWish { kind: "Network", name: driver.to_owned() });
    }
    if let Some(log) = spec.log_driver.as_ref().filter(|log| !matches!(&*log.name, "" | "none")) {
        wishes.push(PluginWish { kind: "Log", name: log.name.clone() });
    }
    wishes
}

fn volumes(spec: &TaskSpec) -> Vec<VolumeWish> {
    let mounts = spec.container_spec.iter().flat_map(|container| &container.mounts);
    mounts
        .filter(|mount| !mount.source.is_empty())
        .filter_map(|mount| match mount.kind.as_str() {
            "cluster" => Some(VolumeWish { source: mount.source.clone(), must_exist: true }),
            "volume" => Some(VolumeWish { source: mount.source.clone(), must_exist: false }),
            _ => None,
        })
        .collect()
}

fn platforms(placement: &Placement) -> Vec<(String, String)> {
    placement.platforms.iter().map(normal).collect()
}

/// Operating system and architecture, in Go's words.
fn normal(platform: &Platform) -> (String, String) {
    let architecture = match platform.architecture.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    (platform.os.clone(), architecture.to_owned())
}

/// Whether one of `wanted` is the node's platform; empty words are any.
pub(crate) fn platform_fits(wanted: &[(String, String)], node: &Platform) -> bool {
    if wanted.is_empty() {
        return true;
    }
    let (os, architecture) = normal(node);
    let fits = |wish: &String, has: &String| wish.is_empty() || wish == has;
    wanted.iter().any(|(o, a)| fits(o, &os) && fits(a, &architecture))
}

/// Spread descriptors; what is no label is ignored, as SwarmKit does.
fn spread(placement: &Placement) -> impl Iterator<Item = Attribute> + '_ {
    placement
        .preferences
        .iter()
        .filter_map(|preference| preference.spread.as_ref())
        .map(|over| Attribute::parse(&over.spread_descriptor))
        .filter(|attribute| !matches!(attribute, Attribute::Unknown(_)))
}
