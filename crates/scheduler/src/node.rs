//! One node with the tasks it holds: what is free there, and how it has failed.
//!
//! A task holds what it reserves from `assigned` until it has ended, whatever is desired of it: a container
//! that is being stopped still uses its memory and ports. It counts as *active* while it is desired to run.

use crate::wish::{Ask, HostPort, asks};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::swarm::node::Node;
use types::swarm::task::{DiscreteResource, GenericResource, NamedResource, Task, TaskState};
use types::{ServiceId, TaskId, Timestamp};

/// Failures of one service's version on one node that make it the last choice: SwarmKit's number.
pub(crate) const MAX_FAILURES: usize = 5;

/// What a task holds of its node. A million tasks are held, most of them alike: so the amounts are shared.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) hold: Arc<Hold>,
    pub(crate) active: bool,
}

/// The amounts, equal for many tasks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) service: ServiceId,
    pub(crate) nano_cpus: i64,
    pub(crate) memory_bytes: i64,
    /// What it was given, names included.
    pub(crate) generic: Vec<Ask>,
    pub(crate) ports: Vec<HostPort>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.hold, &other.hold) || self.hold == other.hold;
        same && self.active == other.active
    }
}

impl Hold {
    /// `None` for a task that holds nothing: not assigned yet, or ended.
    pub(crate) fn of(task: &Task) -> Option<Self> {
        if !(TaskState::Assigned..=TaskState::Running).contains(&task.status.state) {
            return None;
        }
        let reserved = task.spec.resources.as_ref().and_then(|all| all.reservations.as_ref());
        let given = match task.assigned_generic_resources.as_slice() {
            [] => reserved.map_or(&[][..], |reserved| &reserved.generic_resources),
            given => given,
        };
        Some(Hold {
            service: task.service_id.clone(),
            nano_cpus: reserved.map_or(0, |reserved| reserved.nano_cpus),
            memory_bytes: reserved.map_or(0, |reserved| reserved.memory_bytes),
            generic: asks(given),
            ports: task.record.host_ports.iter().filter_map(HostPort::of).collect(),
        })
    }
}

/// Whether the task counts: it is desired to run.
pub(crate) fn is_active(task: &Task) -> bool {
    task.desired_state <= TaskState::Complete
}

/// The few figures of a node that every board reads after every change, beside each other in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Negative on a node that shrank.
    pub(crate) free_cpus: i64,
    pub(crate) free_memory: i64,
    /// Active tasks.
    pub(crate) active: u32,
    /// Whether some service failed there of late.
    pub(crate) failed: bool,
}

/// How much of a kind of generic resource is given away, or there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stock {
    count: i64,
    names: BTreeSet<String>,
}

/// A node, or the place of one that is not known yet but has tasks already.
#[derive(Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) node: Option<Arc<Node>>,
    load: Load,
    stock: BTreeMap<String, Stock>,
    taken: BTreeMap<String, Stock>,
    ports: BTreeMap<HostPort, u32>,
    tasks: BTreeMap<TaskId, Held>,
    /// By service and its version; times by task, so that a report that comes twice counts once.
    failures: BTreeMap<(ServiceId, u64), BTreeMap<TaskId, Timestamp>>,
}

impl NodeInfo {
    /// Takes the node as it is now.
    pub(crate) fn describe(&mut self, node: Option<Arc<Node>>) {
        let amounts = |node: &Option<Arc<Node>>| {
            node.as_ref().map_or((0, 0), |node| {
                let of = &node.description.resources;
                (of.nano_cpus, of.memory_bytes)
            })
        };
        let (had, has) = (amounts(&self.node), amounts(&node));
        self.load.free_cpus += has.0 - had.0;
        self.load.free_memory += has.1 - had.1;
        self.stock = stock(node.as_deref());
        self.node = node;
    }

    pub(crate) fn load(&self) -> Load {
        Load { failed: !self.failures.is_empty(), ..self.load }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.node.is_none() && self.tasks.is_empty() && self.failures.is_empty()
    }

    pub(crate) fn tasks(&self) -> &BTreeMap<TaskId, Held> {
        &self.tasks
    }

    /// Adds a task or replaces what it held. Returns what it held before.
    pub(crate) fn hold(&mut self, task: &TaskId, held: Held) -> Option<Held> {
        let before = self.release(task);
        self.count(&held, 1);
        self.tasks.insert(task.clone(), held);
        before
    }

    /// Takes a task away. Returns what it held.
    pub(crate) fn release(&mut self, task: &TaskId) -> Option<Held> {
        let held = self.tasks.remove(task)?;
        self.count(&held, -1);
        Some(held)
    }

    fn count(&mut self, held: &Held, sign: i64) {
        let Held { hold, active } = held;
        self.load.free_cpus -= sign * hold.nano_cpus;
        self.load.free_memory -= sign * hold.memory_bytes;
        let one = if sign > 0 { 1 } else { -1 };
        for ask in &hold.generic {
            match ask {
                Ask::Count { kind, count } => {
                    self.taken.entry(kind.clone()).or_default().count += sign * count;
                }
                Ask::Named { kind, name } => {
                    let names = &mut self.taken.entry(kind.clone()).or_default().names;
                    if sign > 0 {
                        names.insert(name.clone())
                    } else {
                        names.remove(name)
                    };
                }
            }
        }
        for port in &hold.ports {
            let holders = self.ports.entry(port.clone()).or_default();
            *holders = holders.saturating_add_signed(one);
            if *holders == 0 {
                self.ports.remove(port);
            }
        }
        if *active {
            self.load.active = self.load.active.saturating_add_signed(one);
        }
    }

    pub(crate) fn port_in_use(&self, port: &HostPort) -> bool {
        self.ports.contains_key(port)
    }

    /// How many of a kind are free: things without and with names.
    pub(crate) fn free_generic(&self, kind: &str) -> i64 {
        let Some(stock) = self.stock.get(kind) else { return 0 };
        let taken = self.taken.get(kind);
        let names = taken.map_or(0, |taken| stock.names.intersection(&taken.names).count());
        let left = i64::try_from(stock.names.len() - names).unwrap_or(0);
        stock.count - taken.map_or(0, |taken| taken.count) + left
    }

    pub(crate) fn has_named(&self, kind: &str, name: &str) -> bool {
        self.stock.get(kind).is_some_and(|stock| stock.names.contains(name))
            && !self.taken.get(kind).is_some_and(|taken| taken.names.contains(name))
    }

    /// What a task that asks for `asks` gets: names in their order, then things without. The node has enough.
    pub(crate) fn give(&self, asks: &[Ask]) -> Vec<Ask> {
        let mut given: Vec<Ask> =
            asks.iter().filter(|ask| matches!(ask, Ask::Named { .. })).cloned().collect();
        for ask in asks {
            let Ask::Count { kind, count } = ask else { continue };
            let names = self.stock.get(kind).into_iter().flat_map(|stock| &stock.names);
            let mut left = *count;
            for name in names {
                let named = Ask::Named { kind: kind.clone(), name: name.clone() };
                if left > 0 && self.has_named(kind, name) && !given.contains(&named) {
                    given.push(named);
                    left -= 1;
                }
            }
            if left > 0 {
                given.push(Ask::Count { kind: kind.clone(), count: left });
            }
        }
        given
    }

    /// Notes that a task failed here; whether that was new.
    pub(crate) fn fail(&mut self, task: &Task, at: Timestamp) -> bool {
        let version = task.spec_version.map_or(0, |version| version.index);
        let of = self.failures.entry((task.service_id.clone(), version)).or_default();
        of.insert(task.id.clone(), at).is_none()
    }

    /// Forgets failures up to `until`.
    pub(crate) fn forgive(&mut self, until: Timestamp) {
        for times in self.failures.values_mut() {
            times.retain(|_, at| *at > until);
        }
        self.failures.retain(|_, times| !times.is_empty());
    }

    /// Failures of the service's version here, if there are enough to matter.
    pub(crate) fn penalty(&self, service: &ServiceId, version: u64) -> usize {
        if self.failures.is_empty() {
            return 0;
        }
        let count = self.failures.get(&(service.clone(), version)).map_or(0, BTreeMap::len);
        if count >= MAX_FAILURES { count } else { 0 }
    }
}

fn stock(node: Option<&Node>) -> BTreeMap<String, Stock> {
    let mut stock: BTreeMap<String, Stock> = BTreeMap::new();
    let resources = node.map_or(&[][..], |node| &node.description.resources.generic_resources);
    for ask in asks(resources) {
        match ask {
            Ask::Count { kind, count } => stock.entry(kind).or_default().count += count,
            Ask::Named { kind, name } => {
                stock.entry(kind).or_default().names.insert(name);
            }
        }
    }
    stock
}

/// As the task carries it.
pub(crate) fn written(given: &[Ask]) -> Vec<GenericResource> {
    let write = |ask: &Ask| match ask.clone() {
        Ask::Count { kind, count } => GenericResource {
            discrete_resource_spec: Some(DiscreteResource { kind, value: count }),
            named_resource_spec: None,
        },
        Ask::Named { kind, name } => GenericResource {
            named_resource_spec: Some(NamedResource { kind, value: name }),
            discrete_resource_spec: None,
        },
    };
    given.iter().map(write).collect()
}
