//! How large packets pass to the other nodes: asked when a node is new, and now and then; of nodes that share a network with this one, and of all
//! that this one knows.
//!
//! The tunnel's size follows from this node's own interface. When the way to another node carries less, small packets
//! pass and large ones are lost: connections open and then hang. So that is told.

use super::Networks;
use super::beyond::Neighbours;
use super::follow::DEFAULT_MTU;
use crate::Engine;
use netdev::{Passes, probe_path};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};
use types::NodeId;

/// Between two looks at whether there is a new node.
const LOOK: Duration = Duration::from_secs(5);
/// A node that was asked is asked again after this.
const AGAIN: Duration = Duration::from_secs(600);
/// One that did not answer, sooner.
const SILENT_AGAIN: Duration = Duration::from_secs(60);

/// What is known of the way to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathReport {
    pub node: NodeId,
    pub address: Ipv4Addr,
    /// What this node's interface takes.
    pub mtu: u32,
    pub passes: Passes,
}

/// By node, with when it is asked again.
pub(super) type Paths = BTreeMap<NodeId, (PathReport, Instant)>;

impl Engine {
    /// What is known of the ways to the other nodes of the cluster.
    pub async fn paths(&self) -> Vec<PathReport> {
        let state = self.0.networks.state.lock().await;
        state.paths.values().map(|(report, _)| report.clone()).collect()
    }

    /// What the interface of that name takes; `None` if there is none.
    pub async fn link_mtu(&self, name: &str) -> Option<u32> {
        let name = name.to_owned();
        match tokio::task::spawn_blocking(move || netdev::link_mtu(&name)).await {
            Ok(found) => found
                .inspect_err(|err| tracing::warn!(error = %err, "failed to read a link's MTU"))
                .ok()?,
            Err(died) => std::panic::resume_unwind(died.into_panic()),
        }
    }

    fn neighbours(&self) -> Option<Neighbours> {
        self.0.cluster_networks.get()?.neighbours()
    }

    /// Asks, until the engine ends.
    pub(super) async fn watch_paths(self) {
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _tick = ticks.tick() => {}
                () = self.0.closing.cancelled() => return,
            }
            while let Some(asked) = self.0.networks.unasked(self.neighbours()).await {
                tokio::select! {
                    report = ask(asked) => self.0.networks.learn(report).await,
                    () = self.0.closing.cancelled() => return,
                }
            }
        }
    }
}

async fn ask(asked: PathReport) -> PathReport {
    let (address, mtu) = (asked.address, asked.mtu);
    match tokio::task::spawn_blocking(move || probe_path(address, mtu)).await {
        Ok(Ok(passes)) => PathReport { passes, ..asked },
        Ok(Err(err)) => {
            tracing::debug!(peer = %address, error = %err, "failed to ask how large packets pass");
            asked
        }
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    }
}

impl Networks {
    /// A node to ask, new ones first; what is known of nodes that are gone is forgotten. Where the table says nodes' addresses these
    /// count: the cluster's packets go there.
    async fn unasked(&self, neighbours: Option<Neighbours>) -> Option<PathReport> {
        let mut state = self.state.lock().await;
        let (mut mtu, peers) = match &state.following {
            Some(following) => following.others(),
            None => (None, Vec::new()),
        };
        let (own, others) = neighbours.map(|it| (it.own, it.others)).unzip();
        let mut nodes = others.unwrap_or_default();
        nodes.extend(peers);
        if let (None, Some(own), false) = (mtu, own, nodes.is_empty()) {
            mtu = self.on_overlay(move |overlay| overlay.mtu_at(own)).await.ok().flatten();
        }
        let mtu = mtu.unwrap_or(DEFAULT_MTU);
        let is_there = |report: &PathReport| {
            report.mtu == mtu && nodes.get(&report.node) == Some(&report.address)
        };
        state.paths.retain(|_, (report, _)| is_there(report));
        let is_new = |node: &NodeId| !state.paths.contains_key(node);
        let now = Instant::now();
        let is_due = |node: &NodeId| state.paths.get(node).is_some_and(|(_, at)| now >= *at);
        let mut all = nodes.iter();
        let (node, address) = all
            .clone()
            .find(|(node, _)| is_new(node))
            .or_else(|| all.find(|(node, _)| is_due(node)))?;
        let (node, address) = (node.clone(), *address);
        Some(PathReport { node, address, mtu, passes: Passes::Silent })
    }

    async fn learn(&self, report: PathReport) {
        let mut state = self.state.lock().await;
        let wait = if report.passes == Passes::Silent { SILENT_AGAIN } else { AGAIN };
        let before = state.paths.get(&report.node).map(|(before, _)| before.passes);
        if let Passes::UpTo(size) = report.passes
            && before != Some(report.passes)
        {
            tracing::warn!(
                node = %report.node,
                peer = %report.address,
                "packets of more than {size} bytes do not pass to this node, its interface here takes {}: the cluster's networks lose what is larger",
                report.mtu
            );
        }
        state.paths.insert(report.node.clone(), (report, Instant::now() + wait));
    }
}
