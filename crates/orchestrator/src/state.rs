//! What a decision reads: borrowed slices of one snapshot.

use crate::depend::Readiness;
use crate::policy::Defaults;
use std::collections::BTreeMap;
use types::NodeId;
use types::swarm::node::Node;
use types::swarm::service::Service;
use types::swarm::task::Task;

/// One service as the store held it at a single version.
#[derive(Clone, Copy)]
pub struct State<'a> {
    pub service: &'a Service,
    /// Every task of the service, in any order.
    pub tasks: &'a [&'a Task],
    pub nodes: &'a Nodes<'a>,
    pub defaults: &'a Defaults,
    /// By service name: what is known of each service in `depends_on`; a missing entry does not exist.
    pub dependencies: &'a BTreeMap<String, Readiness>,
    /// Whether the node meets the template's constraints and platforms. Not resources: those change with
    /// every task, and a task is not evicted for them.
    pub fits: &'a dyn Fn(&Node) -> bool,
}

/// The nodes of a snapshot by id. Made once, used for many services.
#[derive(Debug, Clone, Default)]
pub struct Nodes<'a>(BTreeMap<&'a NodeId, &'a Node>);

impl<'a> Nodes<'a> {
    pub fn get(&self, id: &NodeId) -> Option<&'a Node> {
        self.0.get(id).copied()
    }
    /// In the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &'a Node> + '_ {
        self.0.values().copied()
    }
}

impl<'a> FromIterator<&'a Node> for Nodes<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Node>>(nodes: I) -> Self {
        Nodes(nodes.into_iter().map(|node| (&node.id, node)).collect())
    }
}
