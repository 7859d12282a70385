//! A new cluster's first log entry: what `swarm init` finds. Pure.

use crate::control::{Error, cluster, invalid, node};
use std::net::SocketAddr;
use std::sync::Arc;
use store::{Change, Entry, Snapshot};
use types::ids::swarm_id;
use types::network::{CreateRequest, Ipam};
use types::swarm::cluster::Cluster;
use types::swarm::extension::{ClusterRecord, NodeRecord};
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{
    Availability, ManagerStatus, Node, NodeSpec, NodeState, NodeStatus, Role,
};
use types::swarm::request::InitRequest;
use types::swarm::session::PeerIdentity;
use types::{NetworkId, NodeId, Timestamp};

/// SwarmKit's name of the network that published ports come in by.
const INGRESS: &str = "ingress";
const DATA_PATH_PORT: u32 = 4789;

/// The cluster, its first node and the ingress network. `record` and `issued` are the trust that was made for them.
pub fn found(
    request: &InitRequest,
    me: &PeerIdentity,
    record: ClusterRecord,
    issued: &ca::Issued,
    advertise: SocketAddr,
    now: Timestamp,
) -> Result<Entry, Error> {
    let mut spec = cluster::with_defaults(request.spec.clone())?;
    if !spec.ca_config.signing_ca_cert.is_empty() {
        return Err(invalid(
            "a new cluster makes its own root: change to another one afterwards (`swarm ca --rotate --ca-cert --ca-key`)",
        ));
    }
    spec.encryption_config.auto_lock_managers |= request.auto_lock_managers;
    let default = |wanted: u32, default: u32| if wanted == 0 { default } else { wanted };
    let pools = match request.default_addr_pool.is_empty() {
        true => vec![allocator::cluster::DEFAULT_POOL.to_owned()],
        false => request.default_addr_pool.clone(),
    };
    let cluster = Cluster {
        id: me.cluster.clone(),
        spec,
        data_path_port: default(request.data_path_port, DATA_PATH_PORT),
        default_addr_pool: pools,
        subnet_size: default(request.subnet_size, allocator::cluster::DEFAULT_SUBNET_SIZE.into()),
        record: Some(record),
        ..Cluster::default()
    };
    let node = first_node(request.availability, me, issued, advertise, now);
    let network = ingress(&me.node);
    let changes = vec![
        Change::Create(cluster.into()),
        Change::Create(node.into()),
        Change::Create(network.into()),
    ];
    Ok(Entry::one(now, changes))
}

/// The manager that begins a cluster, alone.
pub fn first_node(
    availability: Availability,
    me: &PeerIdentity,
    issued: &ca::Issued,
    advertise: SocketAddr,
    now: Timestamp,
) -> Node {
    Node {
        id: me.node.clone(),
        spec: NodeSpec { role: Role::Manager, availability, ..NodeSpec::default() },
        status: NodeStatus {
            state: NodeState::Unknown,
            addr: advertise.ip().to_string(),
            ..NodeStatus::default()
        },
        manager_status: Some(ManagerStatus {
            leader: true,
            reachability: "reachable".to_owned(),
            addr: advertise.to_string(),
        }),
        record: Some(NodeRecord { state_since: now, ..certificate(issued) }),
        ..Node::default()
    }
}

/// The nodes of a cluster that was made anew from what was saved of it: they belong to the one of before, and are down
/// until they leave that and join.
pub fn left_behind(state: &Snapshot, now: Timestamp) -> Vec<Change> {
    let down = |node: &Arc<Node>| node::down(node, "the cluster was restored without it", now);
    state.nodes().iter().filter_map(down).map(|node| Change::Update(node.into())).collect()
}

/// What the managers remember of a certificate.
pub(crate) fn certificate(issued: &ca::Issued) -> NodeRecord {
    NodeRecord {
        certificate_expires_at: issued.expires_at,
        certificate_root: issued.root.to_string(),
        ..NodeRecord::default()
    }
}

/// Its subnet is the allocator's. The id follows from the first node's, so that the entry has no chance in it.
fn ingress(node: &NodeId) -> ClusterNetwork {
    let seed = node.raft_id().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = [0u8; 16];
    for (half, salt) in bytes.chunks_exact_mut(8).zip([seed, seed.rotate_left(31) ^ 0x1b5]) {
        half.copy_from_slice(&salt.to_be_bytes());
    }
    ClusterNetwork {
        id: NetworkId::new(swarm_id(bytes)),
        spec: CreateRequest {
            name: INGRESS.to_owned(),
            driver: "overlay".to_owned(),
            scope: "swarm".to_owned(),
            ingress: true,
            // Published ports answer by both families of their hosts' addresses.
            enable_ipv6: Some(true),
            ipam: Some(Ipam { driver: "default".to_owned(), ..Ipam::default() }),
            ..CreateRequest::default()
        },
        ..ClusterNetwork::default()
    }
}
