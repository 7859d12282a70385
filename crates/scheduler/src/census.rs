//! How many tasks of a service run on nodes with the same value of an attribute: what one rule asks for.

use crate::nodeset::NodeIx;
use crate::rule::{Force, Rule};
use std::collections::BTreeMap;
use types::swarm::constraint::Attribute;
use types::swarm::node::Node;

/// The group of nodes that lack the attribute, and of numbers that are no node.
const NO_GROUP: u32 = u32::MAX;

/// One rule's counts.
#[derive(Debug, Default)]
pub(crate) struct Census {
    all: u64,
    groups: Vec<Group>,
    by_value: BTreeMap<String, u32>,
    /// By node number.
    members: Vec<Member>,
}

#[derive(Debug, Default)]
struct Group {
    tasks: u64,
    nodes: Vec<NodeIx>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    group: u32,
    tasks: u32,
}

impl Census {
    /// Takes a node with `tasks` tasks of the rule's service, or (`None`) its absence. Returns the nodes for
    /// which the rule's answer may have changed, this one not always among them.
    pub(crate) fn count(
        &mut self,
        rule: &Rule,
        ix: NodeIx,
        node: Option<&Node>,
        tasks: u32,
    ) -> Vec<NodeIx> {
        let group = node.map_or(NO_GROUP, |node| self.group_of(rule, node));
        let mut touched = self.move_to(ix, group);
        let Member { group, tasks: before } = self.members[ix.0 as usize];
        let tasks = if node.is_some() { tasks } else { 0 };
        if tasks == before {
            return touched;
        }
        self.members[ix.0 as usize].tasks = tasks;
        let (all, here) = (self.all, self.tasks(group));
        self.all = all + u64::from(tasks) - u64::from(before);
        if let Some(group) = self.groups.get_mut(group as usize) {
            group.tasks = here + u64::from(tasks) - u64::from(before);
        }
        let test = rule.test;
        if test.holds(0, all) != test.holds(0, self.all) {
            touched.extend(self.groups.iter().flat_map(|group| &group.nodes));
        } else if test.holds(here, all) != test.holds(self.tasks(group), self.all) {
            touched.extend(self.groups.get(group as usize).iter().flat_map(|group| &group.nodes));
        }
        touched
    }

    /// Whether the rule holds for one more task on the node.
    pub(crate) fn holds(&self, rule: &Rule, ix: NodeIx) -> bool {
        let group = self.members.get(ix.0 as usize).map_or(NO_GROUP, |member| member.group);
        let lacks = group == NO_GROUP && rule.force == Force::Constraint;
        !lacks && rule.test.holds(self.tasks(group), self.all)
    }

    fn tasks(&self, group: u32) -> u64 {
        self.groups.get(group as usize).map_or(0, |group| group.tasks)
    }

    fn group_of(&mut self, rule: &Rule, node: &Node) -> u32 {
        let value = rule.over.of(node);
        if value.is_empty() && rule.over != Attribute::Id {
            return NO_GROUP;
        }
        if let Some(group) = self.by_value.get(value) {
            return *group;
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(NO_GROUP);
        self.groups.push(Group::default());
        self.by_value.insert(value.to_owned(), group);
        group
    }

    /// Moves a node and its tasks to another group. Both groups' nodes are touched.
    fn move_to(&mut self, ix: NodeIx, to: u32) -> Vec<NodeIx> {
        if self.members.len() <= ix.0 as usize {
            self.members.resize(ix.0 as usize + 1, Member { group: NO_GROUP, tasks: 0 });
        }
        let Member { group: from, tasks } = self.members[ix.0 as usize];
        if from == to {
            return Vec::new();
        }
        let mut touched = Vec::new();
        if let Some(group) = self.groups.get_mut(from as usize) {
            group.nodes.retain(|node| *node != ix);
            group.tasks -= u64::from(tasks);
            touched.extend(group.nodes.iter().filter(|_| tasks > 0));
        }
        if let Some(group) = self.groups.get_mut(to as usize) {
            group.nodes.push(ix);
            group.tasks += u64::from(tasks);
            touched.extend(group.nodes.iter().filter(|_| tasks > 0));
        }
        self.members[ix.0 as usize].group = to;
        touched
    }
}
