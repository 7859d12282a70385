//! The filters at work: one wish against one node.
//!
//! Two halves: what only the node's own description decides ([`fixed`], kept until it changes), and what the
//! tasks there decide ([`moving`], asked anew with every change). Both name the first wish that fails, so that
//! the same code places and explains.

use crate::filter::{Filter, Reason};
use crate::node::{Load, NodeInfo};
use crate::nodeset::{NodeIx, NodeSet};
use crate::rule::{Force, Rule};
use crate::wish::{Ask, PluginWish, Site, VolumeWish, Wish, platform_fits};
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::swarm::node::{Availability, Node, NodeState};
use types::swarm::volume::ClusterVolume;

/// The filter that refused, and which of its wishes: an index that [`reason`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) filter: Filter,
    pub(crate) which: u16,
}

/// The cluster's volumes by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Volumes(pub(crate) BTreeMap<String, Arc<ClusterVolume>>);

fn reject(filter: Filter, which: usize) -> Reject {
    Reject { filter, which: u16::try_from(which).unwrap_or(u16::MAX) }
}

/// What the node's description refuses. `patterns` are the site's, compiled.
pub(crate) fn fixed(
    site: &Site,
    patterns: &[Regex],
    volumes: &Volumes,
    node: &Node,
) -> Option<Reject> {
    if node.status.state != NodeState::Ready || node.spec.availability != Availability::Active {
        return Some(reject(Filter::Ready, 0));
    }
    let plugin = site.plugins.iter().position(|plugin| !has_plugin(plugin, node));
    if let Some(which) = plugin {
        return Some(reject(Filter::Plugin, which));
    }
    let broken = site.constraints.iter().position(|constraint| !constraint.matches(node));
    let unlike = || {
        // A node without the attribute is like nothing.
        let fails = |(at, regex): (usize, &Regex)| {
            let value = site.patterns[at].over.of(node);
            (!value.is_empty() && regex.is_match(value)) != site.patterns[at].like
        };
        let at = patterns.iter().enumerate().position(fails)?;
        Some(site.constraints.len() + at)
    };
    if let Some(which) = broken.or_else(unlike) {
        return Some(reject(Filter::Constraint, which));
    }
    if !platform_fits(&site.platforms, &node.description.platform) {
        return Some(reject(Filter::Platform, 0));
    }
    let missing = site.volumes.iter().position(|volume| !volumes.available(volume, node));
    missing.map(|which| reject(Filter::Volumes, which))
}

/// What the tasks on the node refuse. `own` of them are the wish's service's.
pub(crate) fn moving(
    wish: &Wish,
    load: Load,
    own: u32,
    set: &NodeSet,
    ix: NodeIx,
) -> Option<Reject> {
    if let Some(which) = shortage(wish, load, set, ix) {
        return Some(reject(Filter::Resources, which));
    }
    if !wish.host_ports.is_empty() {
        let info = set.info(ix);
        let taken = wish.host_ports.iter().position(|port| info.port_in_use(port));
        if let Some(which) = taken {
            return Some(reject(Filter::HostPort, which));
        }
    }
    let full = wish.max_replicas > 0 && u64::from(own) >= wish.max_replicas;
    full.then(|| reject(Filter::MaxReplicas, 0))
}

/// 0 is the CPUs, 1 the memory, then the generic wishes. What is not reserved is not looked at.
fn shortage(wish: &Wish, load: Load, set: &NodeSet, ix: NodeIx) -> Option<usize> {
    if wish.nano_cpus > 0 && wish.nano_cpus > load.free_cpus {
        return Some(0);
    }
    if wish.memory_bytes > 0 && wish.memory_bytes > load.free_memory {
        return Some(1);
    }
    if wish.generic.is_empty() {
        return None;
    }
    let info = set.info(ix);
    // Several wishes for one kind are one wish for their sum.
    let asked = |of: &str| -> i64 {
        let count = |ask: &Ask| match ask {
            Ask::Count { kind, count } if kind == of => *count,
            Ask::Named { kind, .. } if kind == of => 1,
            _ => 0,
        };
        wish.generic.iter().map(count).sum()
    };
    let lacks = |ask: &Ask| match ask {
        Ask::Count { kind, .. } => info.free_generic(kind) < asked(kind),
        Ask::Named { kind, name } => !info.has_named(kind, name),
    };
    wish.generic.iter().position(lacks).map(|at| at + 2)
}

/// A rule of the wish that does not hold, as a refusal.
pub(crate) fn broken_rule(wish: &Wish, which: usize, rule: &Rule) -> Reject {
    match rule.force {
        Force::Constraint => reject(
            Filter::Constraint,
            wish.site.constraints.len() + wish.site.patterns.len() + which,
        ),
        Force::Affinity | Force::Preference => reject(Filter::Affinity, which),
    }
}

/// A node that lists no plugins at all, or none of a log driver's kind, is not held to them.
fn has_plugin(wish: &PluginWish, node: &Node) -> bool {
    let plugins = &node.description.engine.plugins;
    let mut of_kind = plugins.iter().filter(|plugin| plugin.kind == wish.kind).peekable();
    if plugins.is_empty() || (wish.kind == "Log" && of_kind.peek().is_none()) {
        return true;
    }
    let latest = format!("{}:latest", wish.name);
    of_kind.any(|plugin| plugin.name == wish.name || plugin.name == latest)
}

impl Volumes {
    fn available(&self, wish: &VolumeWish, node: &Node) -> bool {
        let Some(volume) = self.0.get(&wish.source) else { return !wish.must_exist };
        matches!(volume.spec.availability.as_str(), "" | "active")
            && (volume.nodes.is_empty() || volume.nodes.contains(&node.id))
    }
}

/// The refusal with its figures.
pub(crate) fn reason(wish: &Wish, info: &NodeInfo, node: &Node, reject: Reject) -> Reason {
    let which = usize::from(reject.which);
    match reject.filter {
        Filter::Ready => not_ready(node),
        Filter::Resources => lacking(wish, info, which),
        Filter::Plugin => {
            let PluginWish { kind, name } = wish.site.plugins[which].clone();
            Reason::Plugin { kind: kind.to_owned(), name }
        }
        Filter::Constraint => constraint_reason(wish, node, which),
        Filter::Platform => {
            let platform = node.description.platform.clone();
            Reason::Platform { os: platform.os, architecture: platform.architecture }
        }
        Filter::HostPort => {
            let wanted = wish.host_ports[which].clone();
            Reason::HostPort { protocol: wanted.protocol, port: wanted.port }
        }
        Filter::MaxReplicas => Reason::MaxReplicas { limit: wish.max_replicas },
        Filter::Volumes => Reason::Volume { source: wish.site.volumes[which].source.clone() },
        Filter::Affinity => {
            let rule = &wish.rules[which];
            Reason::Affinity { affinity: rule.text.clone(), value: rule.over.of(node).to_owned() }
        }
    }
}

fn not_ready(node: &Node) -> Reason {
    let state = match node.status.state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    };
    let availability = match node.spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    };
    Reason::NotReady { state, availability }
}

fn lacking(wish: &Wish, info: &NodeInfo, which: usize) -> Reason {
    let amount = |resource: &str, wanted, free| Reason::Resources {
        resource: resource.to_owned(),
        wanted,
        free,
    };
    match which {
        0 => amount("cpu", wish.nano_cpus, info.load().free_cpus),
        1 => amount("memory", wish.memory_bytes, info.load().free_memory),
        generic => match &wish.generic[generic - 2] {
            Ask::Count { kind, count } => amount(kind, *count, info.free_generic(kind)),
            Ask::Named { kind, name } => {
                Reason::NamedResource { resource: kind.clone(), name: name.clone() }
            }
        },
    }
}

fn constraint_reason(wish: &Wish, node: &Node, which: usize) -> Reason {
    let (constraints, patterns) = (wish.site.constraints.len(), wish.site.patterns.len());
    let (constraint, over) = if which < constraints {
        let broken = &wish.site.constraints[which];
        (broken.to_string(), &broken.attribute)
    } else if which < constraints + patterns {
        let pattern = &wish.site.patterns[which - constraints];
        (pattern.text.clone(), &pattern.over)
    } else {
        let rule = &wish.rules[which - constraints - patterns];
        (rule.text.clone(), &rule.over)
    };
    Reason::Constraint { constraint, value: over.of(node).to_owned() }
}
