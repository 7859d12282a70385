//! The node follows the cluster's endpoint table: links, routes, rules and names of the cluster's networks are
//! derived from it and from the containers here, as a whole, whenever either changes.
//!
//! The table is kept on disk as it was last followed: a daemon that starts again has everything in place before a
//! manager is reached, and never less than managers were told.

use super::heard::{Heard, TableFile};
use super::member::Member;
use super::refusals::Former;
use super::{Known, Networks, State};
use crate::{Engine, Error, Result};
use names::ClusterZone;
use netdev::{Note, Overlay};
use netplan::overlay::{Here, Me, OverlayPlan, Planner, TUNNEL_PORT};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
use types::network::PolicyDrop;
use types::swarm::endpoint::{EndpointRow, EndpointState, EndpointTable, NetworkRow};
use types::swarm::network::Mode;
use types::{ContainerId, NetworkId, NodeId};

/// Ethernet's, until the link that leads to the other nodes is found.
pub(super) const DEFAULT_MTU: u32 = 1500;
/// Below the networks' directory; without the ending of networks' records.
const FILE: &str = "endpoints";

/// Of a node in a cluster.
#[derive(Debug)]
pub(super) struct Following {
    heard: Heard,
    /// Of the link that has this node's address.
    underlay_mtu: u32,
    /// The last plan, and what it followed from.
    planned: Option<Planned>,
    planner: Planner,
    /// The names of networks.
    named: BTreeMap<NetworkId, ClusterZone>,
    /// For the log of what policies refused.
    pub(super) former: Former,
    file: TableFile,
}

#[derive(Debug)]
struct Planned {
    table: Arc<EndpointTable>,
    me: Me,
    places: Vec<Here>,
    plan: Arc<OverlayPlan>,
}

impl Engine {
    /// This node, `node` in its cluster, follows `table` from now on: names and the kernel with the next container that
    /// starts or [`Engine::apply_endpoints`].
    pub async fn hear_endpoints(&self, node: &NodeId, table: Arc<EndpointTable>) {
        self.0.networks.hear(Heard { node: node.clone(), table }).await;
    }

    /// Makes names and the kernel follow the table. Answers its version; `None` in no cluster. Links that could not be made do
    /// not count, rules do: they decide who is sent to.
    pub async fn apply_endpoints(&self) -> Result<Option<u64>> {
        self.0.networks.apply_endpoints().await
    }

    /// Packets that this node dropped because of a network's policies, by the service that they were sent to.
    pub async fn policy_drops(&self, network: &NetworkId) -> BTreeMap<String, u64> {
        self.0.networks.policy_drops(network).await
    }

    /// What a network's policies refused on this node in the last ten minutes, the newest last.
    pub async fn policy_log(&self, network: &NetworkId) -> Result<Vec<PolicyDrop>> {
        self.0.networks.policy_log(network).await
    }

    /// The node is in no cluster any more: nothing of the cluster's networks stays.
    pub async fn forget_endpoints(&self) -> Result<()> {
        self.0.networks.unfollow().await
    }
}

impl Networks {
    /// What the last daemon followed; a file that cannot be read is as none.
    pub(super) fn load_endpoints(&self) -> Option<Following> {
        let file = self.table_file();
        match file.read() {
            Ok(heard) => heard.map(|heard| Following::new(heard, file)),
            Err(err) => {
                tracing::error!(error = %err, "the endpoint table is not readable");
                None
            }
        }
    }

    fn table_file(&self) -> TableFile {
        TableFile::at(self.dir.join(FILE))
    }

    async fn hear(&self, heard: Heard) {
        let mut state = self.state.lock().await;
        let is_first = state.following.is_none();
        state.following = Some(match state.following.take() {
            Some(mut before) => {
                before.former.note(&before.heard.table, &heard.table, SystemTime::now());
                Following { heard, ..before }
            }
            None => Following::new(heard, self.table_file()),
        });
        if is_first {
            self.measure_underlay(&mut state).await;
        }
        if is_first {
            let used = cluster_networks(&state);
            self.refresh_names(&mut state, &used);
        }
        if state.settled
            && let Err(err) = self.serve_adopted(&mut state)
        {
            tracing::error!(error = %err, "failed to answer containers' queries");
        }
    }

    async fn apply_endpoints(&self) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let Some(version) = state.following.as_ref().map(|it| it.heard.table.version) else {
            return Ok(None);
        };
        // What was heard meanwhile is answered together.
        let used = cluster_networks(&state);
        if let Some(following) = &mut state.following {
            following.named.retain(|network, _| used.contains(network));
        }
        self.refresh_names(&mut state, &used);
        let Some(plan) = self.overlay_plan(&mut state) else {
            return Err(Error::system("containers are still being adopted"));
        };
        let wanted = plan.clone();
        let applied = self.on_overlay(move |overlay| {
            let outcome = overlay.apply(&plan);
            (outcome, overlay.follows(&plan))
        });
        let not_all =
            |err: Error| tracing::warn!(error = %err, "the cluster's networks are not all there");
        match applied.await {
            (Ok(_notes), _) => {}
            (Err(err), true) => not_all(Error::from_lower(err)),
            (Err(err), false) => return Err(Error::from_lower(err)),
        }
        self.carry(&wanted).await.unwrap_or_else(not_all);
        if let Some(Following { file, heard, .. }) = &mut state.following
            && let Err(err) = file.write(heard)
        {
            tracing::warn!(error = %err, "failed to write the endpoint table down");
        }
        Ok(Some(version))
    }

    async fn policy_drops(&self, network: &NetworkId) -> BTreeMap<String, u64> {
        let state = self.state.lock().await;
        let mut drops = BTreeMap::new();
        let Some(table) = state.following.as_ref().map(|it| it.heard.table.clone()) else {
            return drops;
        };
        drop(state);
        let rows = table.networks.iter().filter(|row| row.id == *network);
        if rows.filter(|row| !row.policy.is_empty()).count() == 0 {
            return drops;
        }
        let counted = match self.on_overlay(|overlay| overlay.policy_drops()).await {
            Ok(counted) => counted,
            Err(err) => {
                tracing::warn!(error = %err, "failed to read what policies dropped");
                return drops;
            }
        };
        for row in table.endpoints.iter().filter(|row| row.network == *network) {
            let service = table.services.iter().find(|it| Some(&it.id) == row.service.as_ref());
            if let (Some(service), Some(count)) = (service, counted.get(&row.address)) {
                *drops.entry(service.name.clone()).or_default() += count;
            }
        }
        drops
    }

    async fn unfollow(&self) -> Result<()> {
        let mut state = self.state.lock().await;
        state.following = None;
        let forgotten = self.forget_hosts(&mut state);
        let removed = self.table_file().remove();
        let removed =
            removed.map_err(|err| Error::caused("failed to remove the endpoint table", err));
        let gone = self.on_overlay(Overlay::remove_all).await.map_err(Error::from_lower);
        let carried = self.carry(&OverlayPlan::default()).await;
        gone.and(carried).and(self.wire.forget()).and(removed).and(forgotten)
    }

    /// At a start: what a daemon left that could not clean up after itself goes. What is kept is measured anew.
    pub(super) async fn sweep_overlay(&self, state: &mut State) {
        self.measure_underlay(state).await;
        let used = cluster_networks(state);
        self.refresh_names(state, &used);
        if state.following.is_none()
            && let Err(err) = self.on_overlay(Overlay::remove_all).await
        {
            tracing::warn!(error = %err, "failed to sweep the cluster's networks");
        }
        if state.following.is_none()
            && let Err(err) = self.carry(&OverlayPlan::default()).await
        {
            tracing::warn!(error = %err, "failed to sweep the encrypted networks");
        }
    }

    /// Brings the kernel to the plan; before everything is adopted, or in no cluster, nothing is done.
    pub(super) async fn apply_overlay(&self, state: &mut State) -> Result<Vec<Note>> {
        let Some(plan) = self.overlay_plan(state) else { return Ok(Vec::new()) };
        let wanted = plan.clone();
        let notes = self.on_overlay(move |overlay| overlay.apply(&plan)).await;
        let carried = self.carry(&wanted).await;
        notes.map_err(Error::from_lower).and_then(|notes| carried.map(|()| notes))
    }

    /// As [`Self::apply_overlay`], looking into every sandbox and at every rule.
    pub(super) async fn audit_overlay(&self, state: &mut State) -> Result<Vec<Note>> {
        self.measure_underlay(state).await;
        let Some(plan) = self.overlay_plan(state) else { return Ok(Vec::new()) };
        let wanted = plan.clone();
        let notes = self.on_overlay(move |overlay| overlay.audit(&plan)).await;
        let carried = self.carry(&wanted).await;
        notes.map_err(Error::from_lower).and_then(|notes| carried.map(|()| notes))
    }

    fn overlay_plan(&self, state: &mut State) -> Option<Arc<OverlayPlan>> {
        if !state.settled {
            return None;
        }
        let table = state.whole_table()?;
        let places = state.places_here();
        let following = state.following.as_mut()?;
        let me = Me {
            node: following.heard.node.clone(),
            instance: self.settings.instance.clone(),
            underlay_mtu: following.underlay_mtu,
            tunnel_port: match table.tunnel_port {
                0 => TUNNEL_PORT,
                port => port,
            },
        };
        let same_table = |last: &Arc<EndpointTable>| Arc::ptr_eq(last, &table) || *last == table;
        let last = following.planned.as_ref();
        if let Some(last) =
            last.filter(|it| it.me == me && it.places == places && same_table(&it.table))
        {
            return Some(last.plan.clone());
        }
        let plan = Arc::new(following.planner.plan(&table, &me, &places));
        following.planned = Some(Planned { table, me, places, plan: plan.clone() });
        Some(plan)
    }

    async fn measure_underlay(&self, state: &mut State) {
        let Some(underlay) = state.following.as_ref().and_then(Following::underlay) else { return };
        let found = self.on_overlay(move |overlay| overlay.mtu_at(underlay)).await;
        let mtu = match found {
            Ok(mtu) => mtu.unwrap_or(DEFAULT_MTU),
            Err(err) => {
                return tracing::warn!(%underlay, error = %err, "failed to read the link's MTU");
            }
        };
        if let Some(following) = &mut state.following {
            following.underlay_mtu = mtu;
        }
    }

    pub(super) async fn on_overlay<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Overlay) -> T + Send + 'static,
    ) -> T {
        let overlay = self.overlay.clone();
        let work = move || work(&mut overlay.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(outcome) => outcome,
            Err(died) => std::panic::resume_unwind(died.into_panic()),
        }
    }
}

impl Following {
    fn new(heard: Heard, file: TableFile) -> Self {
        Following {
            heard,
            underlay_mtu: DEFAULT_MTU,
            planned: None,
            planner: Planner::default(),
            named: BTreeMap::new(),
            former: Former::default(),
            file,
        }
    }

    /// As managers have told it.
    pub(super) fn table(&self) -> &Arc<EndpointTable> {
        &self.heard.table
    }

    /// What this node's interface takes, and the other nodes, if the table knows this one.
    pub(super) fn others(&self) -> (Option<u32>, Vec<(NodeId, std::net::Ipv4Addr)>) {
        let peers = self.heard.table.peers.iter().filter(|peer| peer.node != self.heard.node);
        let mtu = self.underlay().map(|_| self.underlay_mtu);
        (mtu, peers.map(|peer| (peer.node.clone(), peer.underlay)).collect())
    }

    fn underlay(&self) -> Option<std::net::Ipv4Addr> {
        let peers = &self.heard.table.peers;
        peers.iter().find(|peer| peer.node == self.heard.node).map(|peer| peer.underlay)
    }
}

impl State {
    /// The table with what this node knows ahead of it: networks that its containers are on already,
    /// containers that joined by themselves, and which machines outside do not answer.
    fn whole_table(&self) -> Option<Arc<EndpointTable>> {
        let heard = &self.following.as_ref()?.heard;
        let known: BTreeSet<&NetworkId> = heard.table.networks.iter().map(|row| &row.id).collect();
        let ahead: Vec<NetworkRow> = self
            .networks
            .values()
            .filter(|network| !known.contains(network.id()))
            .filter_map(Known::to_row)
            .collect();
        let is_new = |row: &EndpointRow| {
            heard.table.endpoints.get(&(row.task.clone(), row.network.clone())).is_none()
        };
        let joined = self.members.values().flat_map(|member| self.joined(member));
        let rows: Vec<EndpointRow> = joined.filter(is_new).collect();
        let known = self.leave_out_the_sick(&heard.table);
        if ahead.is_empty() && rows.is_empty() && known.is_none() {
            return Some(heard.table.clone());
        }
        let mut table = known.unwrap_or_else(|| EndpointTable::clone(&heard.table));
        ahead.into_iter().for_each(|row| table.networks.put(Arc::new(row)));
        rows.into_iter().for_each(|row| table.endpoints.put(Arc::new(row)));
        Some(Arc::new(table))
    }

    /// The rows of a container that joined by itself.
    fn joined<'a>(&'a self, member: &'a Member) -> impl Iterator<Item = EndpointRow> + 'a {
        let node = self.following.as_ref().map(|following| following.heard.node.clone());
        member.places.iter().filter_map(move |place| {
            let mut names = place.names.iter().cloned();
            Some(EndpointRow {
                task: place.task.clone()?,
                network: place.network.clone(),
                node: node.clone()?,
                address: place.address,
                state: EndpointState::Healthy,
                weight: 1,
                service: None,
                slot: 0,
                name: names.next().unwrap_or_default(),
                aliases: names.collect(),
            })
        })
    }

    /// All places of containers of this node in the cluster's networks.
    fn places_here(&self) -> Vec<Here> {
        let mut here = Vec::new();
        for (id, member) in &self.members {
            let gateway = self.gateway_of(member).map(|place| &place.network);
            let gateway_six = self.gateway_six_of(member).map(|place| &place.network);
            for place in &member.places {
                let leads_out = gateway == Some(&place.network);
                if self.networks.get(&place.network).is_none_or(|known| known.overlay.is_none()) {
                    continue;
                }
                let ports = member.ports.iter().filter(|_| leads_out);
                here.push(Here {
                    container: id.clone(),
                    network: place.network.clone(),
                    address: place.address,
                    interface: place.interface.clone(),
                    leads_out,
                    leads_out_six: gateway_six == Some(&place.network),
                    published: ports.map(|port| (port.protocol, port.container_port)).collect(),
                });
            }
        }
        here.extend(self.hosts.iter().map(|(network, place)| Here {
            container: ContainerId::new(""),
            network: network.clone(),
            address: place.address,
            interface: String::new(),
            leads_out: false,
            leads_out_six: false,
            published: BTreeSet::new(),
        }));
        here
    }

    /// The names of one of the cluster's networks, as far as they are known.
    pub(super) fn cluster_names(&mut self, network: &NetworkId) -> Option<Arc<names::Zone>> {
        let table = self.whole_table()?;
        let row = table.networks.get(network)?;
        let named = &mut self.following.as_mut()?.named;
        let zone = named.entry(network.clone()).or_insert_with(|| ClusterZone::new(&table, row));
        zone.follow(&table, row);
        Some(Arc::clone(zone.zone()))
    }
}

impl Known {
    fn to_row(&self) -> Option<NetworkRow> {
        let subnet = self.overlay?;
        let entry = self.record.ipam.config.iter().flatten().next()?;
        Some(NetworkRow {
            id: self.id().clone(),
            name: self.record.name.clone(),
            subnet,
            gateway: entry.gateway.parse().ok()?,
            six: self.six().map(|space| space.subnet()),
            mode: Mode::of(&self.record.options).ok()?,
            internal: self.record.internal,
            ingress: self.record.ingress,
            policy: Vec::new(),
            blocks: Vec::new(),
        })
    }
}

/// The cluster's networks that containers of this node are on.
pub(super) fn cluster_networks(state: &State) -> BTreeSet<NetworkId> {
    let known = state.networks.values().filter(|known| known.overlay.is_some());
    known.map(|known| known.id().clone()).filter(|id| state.is_used(id)).collect()
}
