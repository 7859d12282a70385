//! Objects from words: `node n1 cpu=4 zone=a`, `service web spread=zone if:node.labels.zone==a`.

use types::NodeId;
use types::mount::{DriverConfig, Mount, VolumeOptions};
use types::swarm::node::{Availability, Node, NodeState, PluginDescription, Role};
use types::swarm::placement::{Affinity, PlacementExtensions, SpreadWeight, Strategy};
use types::swarm::service::{NetworkAttachmentConfig, PortConfig, ServiceSpec};
use types::swarm::task::{
    ContainerSpec, DiscreteResource, GenericResource, NamedResource, Placement,
    PlacementPreference, Platform, ResourceRequirements, Resources, SpreadOver, TaskSpec,
};

/// A ready Linux node with 100 CPUs and 100 bytes. Words not known here are labels.
pub(crate) fn node(name: &str, words: &[&str]) -> Node {
    let mut node = Node { id: NodeId::new(name), ..Node::default() };
    node.status.state = NodeState::Ready;
    node.description.hostname = format!("host-{name}");
    let platform = &mut node.description.platform;
    (platform.os, platform.architecture) = ("linux".to_owned(), "x86_64".to_owned());
    (node.description.resources.nano_cpus, node.description.resources.memory_bytes) = (100, 100);
    for word in words {
        let description = &mut node.description;
        match word.split_once('=').unwrap_or((word, "")) {
            ("down", _) => node.status.state = NodeState::Down,
            ("drain", _) => node.spec.availability = Availability::Drain,
            ("pause", _) => node.spec.availability = Availability::Pause,
            ("manager", _) => node.spec.role = Role::Manager,
            ("cpu", amount) => description.resources.nano_cpus = number(amount),
            ("mem", amount) => description.resources.memory_bytes = number(amount),
            ("arch", arch) => description.platform.architecture = arch.to_owned(),
            ("addr", addr) => node.status.addr = addr.to_owned(),
            ("plugin", plugin) => description.engine.plugins.push(plugin_of(plugin)),
            ("gpu", _) => description.resources.generic_resources.push(generic(word)),
            (kind, "") if kind.contains(':') => {
                description.resources.generic_resources.push(generic(word));
            }
            (label, value) => match label.strip_prefix("engine.") {
                Some(label) => {
                    description.engine.labels.insert(label.to_owned(), value.to_owned());
                }
                None => {
                    node.spec.labels.insert(label.to_owned(), value.to_owned());
                }
            },
        }
    }
    node
}

/// `Volume:nfs`.
fn plugin_of(word: &str) -> PluginDescription {
    let (kind, name) = word.split_once(':').expect("KIND:NAME");
    PluginDescription { kind: kind.to_owned(), name: name.to_owned() }
}

fn number(text: &str) -> i64 {
    text.parse().expect("a number")
}

/// `gpu=2` or `gpu:name`.
fn generic(word: &str) -> GenericResource {
    if let Some((kind, count)) = word.split_once('=') {
        let of = DiscreteResource { kind: kind.to_owned(), value: number(count) };
        return GenericResource { discrete_resource_spec: Some(of), named_resource_spec: None };
    }
    let (kind, name) = word.split_once(':').expect("KIND:NAME");
    let of = NamedResource { kind: kind.to_owned(), value: name.to_owned() };
    GenericResource { named_resource_spec: Some(of), discrete_resource_spec: None }
}

/// `gpu=2` or `gpu:name` again.
pub(crate) fn written(resource: &GenericResource) -> String {
    let named = resource.named_resource_spec.iter().map(|of| format!("{}:{}", of.kind, of.value));
    let count =
        resource.discrete_resource_spec.iter().map(|of| format!("{}={}", of.kind, of.value));
    named.chain(count).collect()
}

/// A service's spec, and the ports of the node that its tasks hold.
pub(crate) fn service(words: &[&str]) -> (ServiceSpec, Vec<PortConfig>) {
    let (mut reserved, mut placement) = (Resources::default(), Placement::default());
    let (mut template, mut container) = (TaskSpec::default(), ContainerSpec::default());
    let mut extensions = PlacementExtensions::default();
    let mut ports = Vec::new();
    for word in words {
        if let Some(constraint) = word.strip_prefix("if:") {
            placement.constraints.push(constraint.to_owned());
            continue;
        }
        match word.split_once('=').unwrap_or((word, "")) {
            ("cpu", amount) => reserved.nano_cpus = number(amount),
            ("mem", amount) => reserved.memory_bytes = number(amount),
            ("max", limit) => placement.max_replicas = limit.parse().expect("a number"),
            ("spread", label) => placement.preferences.push(spread(label)),
            ("platform", platform) => placement.platforms.push(platform_of(platform)),
            ("port", port) => ports.push(PortConfig {
                published_port: port.parse().expect("a port"),
                publish_mode: "host".to_owned(),
                ..PortConfig::default()
            }),
            ("mount", mount) => container.mounts.push(mount_of(mount)),
            ("log", name) => {
                let driver = types::swarm::Driver { name: name.to_owned(), ..Default::default() };
                template.log_driver = Some(driver);
            }
            ("on", network) => template.networks.push(NetworkAttachmentConfig {
                target: network.to_owned(),
                ..NetworkAttachmentConfig::default()
            }),
            ("binpack", _) => extensions.strategy = Strategy::Binpack,
            ("weight", "nodes") => extensions.spread_weight = SpreadWeight::Nodes,
            ("weight", "cpu") => extensions.spread_weight = SpreadWeight::Cpu,
            ("weight", "mem") => extensions.spread_weight = SpreadWeight::Memory,
            ("priority", priority) => extensions.priority = priority.parse().expect("a number"),
            ("preempt", _) => extensions.preempt = true,
            ("marathon", words) => {
                extensions.constraints.push(words.split(',').map(str::to_owned).collect());
            }
            (word @ ("near" | "far" | "must-near" | "must-far"), other) => {
                extensions.affinities.push(affinity(word, other));
            }
            _ => reserved.generic_resources.push(generic(word)),
        }
    }
    template.resources = Some(ResourceRequirements { reservations: Some(reserved), limits: None });
    (template.placement, template.container_spec) = (Some(placement), Some(container));
    let mut spec = ServiceSpec { task_template: template, ..ServiceSpec::default() };
    spec.sampan.get_or_insert_default().placement = Some(extensions);
    (spec, ports)
}

fn spread(label: &str) -> PlacementPreference {
    let spread_descriptor = format!("node.labels.{label}");
    PlacementPreference { spread: Some(SpreadOver { spread_descriptor }) }
}

/// `linux/amd64`.
fn platform_of(word: &str) -> Platform {
    let (os, architecture) = word.split_once('/').expect("OS/ARCHITECTURE");
    Platform { os: os.to_owned(), architecture: architecture.to_owned() }
}

/// `cluster:data`, or `volume:data:nfs` with a driver.
fn mount_of(word: &str) -> Mount {
    let mut parts = word.split(':').map(str::to_owned);
    let (kind, source) = (parts.next().expect("a kind"), parts.next().expect("a source"));
    let driver = parts.next().map(|name| DriverConfig { name, ..DriverConfig::default() });
    let options = VolumeOptions { driver_config: driver, ..VolumeOptions::default() };
    Mount { kind, source, volume_options: Some(options), ..Mount::default() }
}

/// `near=db` (the same node) or `must-far=db,node.labels.rack`.
fn affinity(word: &str, other: &str) -> Affinity {
    let (service, over) = other.split_once(',').unwrap_or((other, ""));
    Affinity {
        service: service.to_owned(),
        over: over.to_owned(),
        anti: word.ends_with("far"),
        required: word.starts_with("must"),
    }
}
