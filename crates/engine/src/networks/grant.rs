//! Places in the cluster's networks: a task brings its own, any other container asks a manager for one.

use super::{Networks, State};
use crate::container::Record;
use crate::{ClusterNetworks, Engine, Error, Result};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use types::network::EndpointSettings;
use types::swarm::attach::AttachRequest;
use types::{ContainerId, NetworkId, NodeId, TaskId};

/// The label by which a task's container is known: its addresses come with it.
const TASK_LABEL: &str = "com.docker.swarm.task.id";
/// Tries to give a place back; after them the next session with a manager tells what this node has.
const TRIES: u32 = 5;
/// Before the second try; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(500);

/// A place in one of the cluster's networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(super) address: Ipv4Addr,
    /// What a manager knows it by, if the container asked for it.
    pub(super) task: Option<TaskId>,
}

/// One of the cluster's networks, known on this node for as long as `place` is asked for.
pub(super) struct Found {
    pub(super) network: NetworkId,
    /// Not yet known to any manager.
    pub(super) place: TaskId,
    cluster: Arc<dyn ClusterNetworks>,
}

pub(crate) type Grants = BTreeMap<NetworkId, Grant>;

impl Engine {
    /// Places in the cluster's networks that containers of this node have asked for and hold, or may hold soon.
    pub async fn attachments(&self) -> Vec<TaskId> {
        let state = self.0.networks.state.lock().await;
        let held = state.members.values().flat_map(|member| &member.places);
        let held = held.filter_map(|place| place.task.clone());
        let hosts = state.hosts.values().map(|place| place.task.clone());
        held.chain(hosts).chain(state.asked.keys().cloned()).collect()
    }

    /// The places that a container needs in those of its networks that are the cluster's. After a failure none is
    /// held.
    pub(crate) async fn ask_places(&self, id: &ContainerId, record: &Record) -> Result<Grants> {
        let is_task = record.config.labels.iter().flatten().any(|(label, _)| label == TASK_LABEL);
        let mut grants = Grants::new();
        for (name, wish) in &record.networks {
            let granted = match is_task {
                true => self.own_place(name, wish).await,
                false => self.find_place(name, wish, id, &record.name).await,
            };
            match granted {
                Ok(granted) => grants.extend(granted),
                Err(err) => {
                    self.give_back(&grants).await;
                    return Err(err.context("failed to set up container networking"));
                }
            }
        }
        Ok(grants)
    }

    /// What a task's assignment says.
    async fn own_place(
        &self,
        name: &str,
        wish: &EndpointSettings,
    ) -> Result<Option<(NetworkId, Grant)>> {
        let state = self.0.networks.state.lock().await;
        let known = state.find(name)?;
        if known.overlay.is_none() {
            return Ok(None);
        }
        let text = wish.ipam_config.as_ref().map(|ipam| ipam.ipv4_address.as_str());
        let address = text.and_then(|text| text.parse().ok()).ok_or_else(|| {
            Error::invalid(format!("the task has no address in network {}", known.record.name))
        })?;
        Ok(Some((known.id().clone(), Grant { address, task: None })))
    }

    /// `None` for a network of this node.
    async fn find_place(
        &self,
        name: &str,
        wish: &EndpointSettings,
        container: &ContainerId,
        called: &str,
    ) -> Result<Option<(NetworkId, Grant)>> {
        let Some(found) = self.find_in_cluster(name).await? else { return Ok(None) };
        // The refusal names the network as the user has it.
        self.ask_place(found, name, wish, container, called).await.map(Some)
    }

    /// The place becomes the container's; after a failure it is given back.
    pub(super) async fn ask_place(
        &self,
        found: Found,
        name: &str,
        wish: &EndpointSettings,
        container: &ContainerId,
        called: &str,
    ) -> Result<(NetworkId, Grant)> {
        let address = {
            let mut state = self.0.networks.state.lock().await;
            let address = state.wished_place(&found.network, wish);
            address.inspect_err(|_| drop(state.asked.remove(&found.place)))?
        };
        let request = AttachRequest {
            task: found.place.clone(),
            node: NodeId::new(""),
            network: name.to_owned(),
            container: container.to_string(),
            name: called.to_owned(),
            aliases: wish.aliases.clone().unwrap_or_default(),
            address,
        };
        match found.cluster.attach(request).await {
            Ok(attached) => {
                let grant = Grant { address: attached.address, task: Some(found.place) };
                Ok((attached.network, grant))
            }
            Err(err) => {
                // The answer alone may have been lost.
                self.give_back_tasks(vec![found.place]).await;
                Err(err)
            }
        }
    }

    /// The cluster's network that `name` means, made known here; `None` if it means one of this node. Whoever finds one
    /// asks for the place or lets go of it ([`Networks::let_go`]).
    pub(super) async fn find_in_cluster(&self, name: &str) -> Result<Option<Found>> {
        let known = {
            let state = self.0.networks.state.lock().await;
            state.find(name).ok().map(|known| {
                let exactly = known.id().as_str() == name || known.record.name == name;
                (known.id().clone(), known.overlay.is_some(), exactly)
            })
        };
        let Some(cluster) = self.0.cluster_networks.get() else { return Ok(None) };
        let network = match known {
            Some((_, false, true)) => None,
            // The beginning of an id here may be a name there, which goes before it.
            Some((_, false, false)) => {
                let named = cluster.find(name).await.ok().flatten();
                named.filter(|network| network.spec.name == name)
            }
            // What is known here may be gone from the cluster, and another may have its name.
            Some((id, true, true)) => match cluster.find(id.as_str()).await? {
                None => cluster.find(name).await?,
                found => found,
            },
            Some((_, true, false)) | None => cluster.find(name).await?,
        };
        let Some(network) = network else { return Ok(None) };
        let place = TaskId::new(types::ids::swarm_id(rand::random()));
        self.ensure_cluster_network_for(&network, Some(&place)).await?;
        Ok(Some(Found { network: network.id, place, cluster: Arc::clone(cluster) }))
    }

    /// Nobody needs these places.
    pub(crate) async fn give_back(&self, grants: &Grants) {
        let tasks: Vec<TaskId> = grants.values().filter_map(|grant| grant.task.clone()).collect();
        self.give_back_tasks(tasks).await;
    }

    /// In the background: who waits for a container's end need not wait for a manager.
    pub(crate) async fn give_back_tasks(&self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        self.0.networks.state.lock().await.asked.retain(|task, _| !tasks.contains(task));
        let Some(cluster) = self.0.cluster_networks.get().cloned() else { return };
        let closing = self.0.closing.clone();
        self.0.tasks.spawn(async move {
            let mut pause = PAUSE;
            for _ in 0..TRIES {
                let Err(err) = cluster.detach(tasks.clone()).await else { return };
                tracing::debug!(error = %err, "failed to give a place back");
                tokio::select! {
                    () = tokio::time::sleep(pause) => pause *= 2,
                    () = closing.cancelled() => return,
                }
            }
        });
    }
}

impl Networks {
    /// Nobody asks for the place that was found.
    pub(super) async fn let_go(&self, place: &TaskId) {
        self.state.lock().await.asked.remove(place);
    }

    /// The places that a container has asked for.
    pub(crate) async fn asked_places(&self, id: &ContainerId) -> Vec<TaskId> {
        self.state.lock().await.asked_places(id)
    }
}

impl State {
    /// The address that the user names for a place in one of the cluster's networks; an IPv6 one names the IPv4 address whose
    /// place it is.
    fn wished_place(
        &self,
        network: &NetworkId,
        wish: &EndpointSettings,
    ) -> Result<Option<Ipv4Addr>> {
        let Some(ipam) = &wish.ipam_config else { return Ok(None) };
        let four = ipam.ipv4_address.parse().ok();
        if ipam.ipv6_address.is_empty() {
            return Ok(four);
        }
        let known = self.networks.get(network);
        let both = known.and_then(|known| Some((known.overlay?, known.six()?.subnet())));
        let six = ipam.ipv6_address.parse().ok();
        let holder = both.zip(six).and_then(|((subnet, six), address)| six.holder(subnet, address));
        match holder {
            Some(holder) if four.is_none_or(|four| four == holder) => Ok(Some(holder)),
            _ => Err(Error::invalid(format!(
                "no configured subnet contains IP address {}",
                ipam.ipv6_address
            ))),
        }
    }

    fn asked_places(&self, id: &ContainerId) -> Vec<TaskId> {
        let places = self.members.get(id).into_iter().flat_map(|member| &member.places);
        places.filter_map(|place| place.task.clone()).collect()
    }
}
