//! Filters: what keeps a task off a node. Each owns the sentence that the user reads.
//!
//! The filters' order is SwarmKit's, and a node counts for the first that refuses it.

use std::fmt;

/// Why a node was refused, as a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Filter {
    Ready,
    Resources,
    Plugin,
    Constraint,
    Platform,
    HostPort,
    MaxReplicas,
    Volumes,
    Affinity,
}

impl Filter {
    pub const ALL: [Filter; 9] = [
        Filter::Ready,
        Filter::Resources,
        Filter::Plugin,
        Filter::Constraint,
        Filter::Platform,
        Filter::HostPort,
        Filter::MaxReplicas,
        Filter::Volumes,
        Filter::Affinity,
    ];

    /// SwarmKit's sentence for `nodes` refused nodes (ours for affinity, which it lacks).
    pub fn explain(self, nodes: usize) -> String {
        let plural = if nodes == 1 { "node" } else { "nodes" };
        match self {
            Filter::Ready => format!("{nodes} {plural} not available for new tasks"),
            Filter::Resources => format!("insufficient resources on {nodes} {plural}"),
            Filter::Plugin => format!("missing plugin on {nodes} {plural}"),
            Filter::Constraint => {
                format!("scheduling constraints not satisfied on {nodes} {plural}")
            }
            Filter::Platform => format!("unsupported platform on {nodes} {plural}"),
            Filter::HostPort => format!("host-mode port already in use on {nodes} {plural}"),
            Filter::MaxReplicas => "max replicas per node limit exceed".to_owned(),
            Filter::Volumes => {
                format!("cannot fulfill requested CSI volume mounts on {nodes} {plural}")
            }
            Filter::Affinity => format!("service affinity not satisfied on {nodes} {plural}"),
        }
    }
}

/// How many nodes each filter refuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([usize; Filter::ALL.len()]);

impl Tally {
    pub fn of(&self, filter: Filter) -> usize {
        self.0[filter as usize]
    }
    pub(crate) fn add(&mut self, filter: Filter) {
        self.0[filter as usize] += 1;
    }
    pub(crate) fn sub(&mut self, filter: Filter) {
        self.0[filter as usize] -= 1;
    }
}

/// `no suitable node (insufficient resources on 2 nodes; …)`, most nodes first.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut refused: Vec<Filter> =
            Filter::ALL.into_iter().filter(|filter| self.of(*filter) > 0).collect();
        refused.sort_by_key(|filter| std::cmp::Reverse(self.of(*filter)));
        f.write_str("no suitable node")?;
        for (at, filter) in refused.iter().enumerate() {
            f.write_str(if at == 0 { " (" } else { "; " })?;
            f.write_str(&filter.explain(self.of(*filter)))?;
        }
        f.write_str(if refused.is_empty() { "" } else { ")" })
    }
}

/// Why one node was refused, in full: for `why`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    NotReady {
        state: &'static str,
        availability: &'static str,
    },
    /// Of `resource` (`cpu` in billionths, `memory` in bytes, or a generic kind).
    Resources {
        resource: String,
        wanted: i64,
        free: i64,
    },
    /// A generic resource with a name that the node lacks or has given away.
    NamedResource {
        resource: String,
        name: String,
    },
    Plugin {
        kind: String,
        name: String,
    },
    /// The constraint as the user wrote it, and the node's value.
    Constraint {
        constraint: String,
        value: String,
    },
    Platform {
        os: String,
        architecture: String,
    },
    HostPort {
        protocol: String,
        port: u16,
    },
    MaxReplicas {
        limit: u64,
    },
    Volume {
        source: String,
    },
    /// The affinity in words, and the node's value of what it is over.
    Affinity {
        affinity: String,
        value: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotReady { state, availability } => {
                write!(f, "the node is {state} and its availability {availability}")
            }
            Reason::Resources { resource, wanted, free } => {
                write!(f, "{resource}: {wanted} wanted, {free} free")
            }
            Reason::NamedResource { resource, name } => write!(f, "{resource} {name} is not free"),
            Reason::Plugin { kind, name } => write!(f, "no {kind} plugin {name}"),
            Reason::Constraint { constraint, value } => {
                write!(f, "{constraint} does not hold for \"{value}\"")
            }
            Reason::Platform { os, architecture } => write!(f, "the node runs {os}/{architecture}"),
            Reason::HostPort { protocol, port } => write!(f, "port {port}/{protocol} is in use"),
            Reason::MaxReplicas { limit } => {
                write!(f, "the limit of {limit} on one node is reached")
            }
            Reason::Volume { source } => write!(f, "volume {source} is not available here"),
            Reason::Affinity { affinity, value } => {
                write!(f, "{affinity} does not hold for \"{value}\"")
            }
        }
    }
}
