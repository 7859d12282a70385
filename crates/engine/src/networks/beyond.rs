//! The cluster as the engine's networks know it: what lies beyond this node.

use crate::{Engine, Error};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use types::swarm::attach::{AttachRequest, Attached};
use types::swarm::network::ClusterNetwork;
use types::{NodeId, TaskId};

/// Where the engine asks for places in the cluster's networks. On every node of a cluster, workers included.
#[async_trait]
pub trait ClusterNetworks: Send + Sync + 'static {
    /// The cluster's network of that name or id; [`None`] if there is none, or this node is in no cluster.
    async fn find(&self, name: &str) -> Result<Option<ClusterNetwork>, Error>;

    /// A place in a network for a container of this node. `request.node` is filled in.
    ///
    /// # Errors
    /// Docker's words: unknown network, not attachable, the address is taken or outside of the subnet, the network
    /// is full, no manager can be reached. Nothing is held then, unless the answer was lost: detach it.
    async fn attach(&self, request: AttachRequest) -> Result<Attached, Error>;

    /// Gives places back. One that is unknown is no error.
    async fn detach(&self, places: Vec<TaskId>) -> Result<(), Error>;

    /// Whom this node knows, whether or not they share a network; [`None`] in no cluster.
    fn neighbours(&self) -> Option<Neighbours>;
}

/// Nodes and where they are reached outside of the cluster's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbours {
    /// This node's own address.
    pub own: Ipv4Addr,
    /// On a manager all nodes that are not down, else the managers.
    pub others: BTreeMap<NodeId, Ipv4Addr>,
}

impl Engine {
    /// Whom to ask for places in the cluster's networks. Called once, when the daemon starts.
    pub fn set_cluster_networks(&self, cluster: Arc<dyn ClusterNetworks>) {
        // A second cluster has no say.
        let _ = self.0.cluster_networks.set(cluster);
    }
}
