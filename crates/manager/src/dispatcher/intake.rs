//! What agents say, on its way into the log: the newest of each task and node, written in few entries.
//!
//! Bounded by the number of tasks and nodes, whatever agents send: a newer status takes the older one's place.

use crate::leader::guard;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use store::{Change, Kind, Snapshot, StoreError, Transaction};
use types::swarm::extension::NodeRecord;
use types::swarm::node::{Node, NodeDescription, NodeState};
use types::swarm::session::TaskReport;
use types::swarm::task::TaskStatus;
use types::{NodeId, TaskId, Timestamp};

/// Transactions in one entry. Some hundred bytes each.
const BATCH: usize = 1_000;

/// What is known of a node and not written yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Facts {
    pub(crate) state: Option<(NodeState, &'static str)>,
    pub(crate) description: Option<NodeDescription>,
}

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    nodes: BTreeMap<NodeId, Facts>,
    reports: BTreeMap<TaskId, (NodeId, TaskStatus)>,
    /// The order in which tasks were first reported: nobody is passed over.
    order: VecDeque<TaskId>,
    /// Attachments that their nodes have no more.
    forgotten: BTreeSet<TaskId>,
}

/// What one entry is made of.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    nodes: Vec<(NodeId, Facts)>,
    reports: Vec<(TaskId, NodeId, TaskStatus)>,
    forgotten: BTreeSet<TaskId>,
}

impl Intake {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.reports.is_empty() && self.forgotten.is_empty()
    }

    /// These attachments go.
    pub(crate) fn forget(&mut self, attachments: Vec<TaskId>) {
        self.forgotten.extend(attachments);
    }

    pub(crate) fn node(&mut self, node: &NodeId, facts: Facts) {
        let known = self.nodes.entry(node.clone()).or_default();
        known.state = facts.state.or(known.state);
        if facts.description.is_some() {
            known.description = facts.description;
        }
    }

    /// A report that is behind one that waits says nothing new.
    pub(crate) fn report(&mut self, node: &NodeId, report: TaskReport) {
        match self.reports.get_mut(&report.task) {
            Some((_, known)) if known.state > report.status.state => {}
            Some(known) => *known = (node.clone(), report.status),
            None => {
                self.order.push_back(report.task.clone());
                self.reports.insert(report.task, (node.clone(), report.status));
            }
        }
    }

    /// The next entry's worth: nodes first, since decisions wait for them.
    pub(crate) fn take(&mut self) -> Batch {
        let mut batch =
            Batch { forgotten: std::mem::take(&mut self.forgotten), ..Batch::default() };
        while batch.nodes.len() < BATCH
            && let Some((node, facts)) = self.nodes.pop_first()
        {
            batch.nodes.push((node, facts));
        }
        while batch.nodes.len() + batch.reports.len() < BATCH
            && let Some(task) = self.order.pop_front()
        {
            if let Some((node, status)) = self.reports.remove(&task) {
                batch.reports.push((task, node, status));
            }
        }
        batch
    }

    /// What could not be written waits again, behind anything newer.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        self.forgotten.extend(batch.forgotten);
        for (node, facts) in batch.nodes {
            let newer = self.nodes.remove(&node).unwrap_or_default();
            self.node(&node, facts);
            self.node(&node, newer);
        }
        for (task, node, status) in batch.reports {
            if !self.reports.contains_key(&task) {
                self.report(&node, TaskReport { task, status });
            }
        }
    }
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.reports.is_empty() && self.forgotten.is_empty()
    }

    /// One transaction for each report, for each attachment that goes, and for each node of which something changes. `leader` is this manager.
    pub(crate) fn transactions(
        &self,
        state: &Snapshot,
        leader: &NodeId,
        now: Timestamp,
    ) -> Vec<Transaction> {
        let report = |(task, node, status): &(TaskId, NodeId, TaskStatus)| {
            let (task, node, status) = (task.clone(), node.clone(), status.clone());
            vec![Change::Report { task, node, status }].into()
        };
        let mut transactions: Vec<Transaction> = self.reports.iter().map(report).collect();
        for (node, facts) in &self.nodes {
            let Some(row) = state.nodes().get(node.as_str()) else { continue };
            let Some(next) = with_facts(row, facts, now) else { continue };
            let down = next.status.state == NodeState::Down;
            let transaction = vec![Change::Update(next.into())].into();
            match down {
                // Only a leader's clock may say so.
                true => transactions.extend(guard(vec![transaction], leader, state)),
                false => transactions.push(transaction),
            }
        }
        for task in &self.forgotten {
            let (kind, id) = (Kind::Task, task.to_string());
            transactions.push(vec![Change::Remove { kind, id, version: None }].into());
        }
        transactions
    }

    /// Sorts out what came of it: reports to acknowledge, by node, and node facts to be written once more. A
    /// refused report is acknowledged too: saying it again would not help.
    pub(crate) fn settle(
        self,
        results: &[Result<(), StoreError>],
    ) -> (BTreeMap<NodeId, Vec<TaskReport>>, Batch) {
        let mut written: BTreeMap<NodeId, Vec<TaskReport>> = BTreeMap::new();
        let count = self.reports.len();
        for (task, node, status) in self.reports {
            written.entry(node).or_default().push(TaskReport { task, status });
        }
        // One that has gone already is as it should be.
        let nodes = results.len().saturating_sub(count + self.forgotten.len());
        let raced = results.iter().skip(count).take(nodes).any(Result::is_err);
        let nodes = if raced { self.nodes } else { Vec::new() };
        (written, Batch { nodes, ..Batch::default() })
    }
}

/// The node with what is known of it; `None` if that is nothing new.
pub(crate) fn with_facts(node: &Node, facts: &Facts, now: Timestamp) -> Option<Node> {
    let mut next = node.clone();
    if let Some((state, message)) = facts.state
        && state != node.status.state
    {
        next.status.state = state;
        next.status.message = message.to_owned();
        next.record = Some(NodeRecord { state_since: now, ..next.record.unwrap_or_default() });
    }
    if let Some(description) = &facts.description {
        next.description = description.clone();
        if let Ok(addr) = description.addr.parse::<std::net::SocketAddr>() {
            next.status.addr = addr.ip().to_string();
        }
    }
    (next != *node).then_some(next)
}

#[cfg(test)]
mod tests;
