//! Puts pending tasks onto nodes. Fed with every change of nodes, tasks, services and volumes; decides, never
//! commits.

use crate::board::Board;
use crate::check::{Volumes, reason};
use crate::decision::{Decision, Refusal, Verdict};
use crate::error::PlacementError;
use crate::filter::{Filter, Tally};
use crate::node::{Held, written};
use crate::nodeset::{NodeIx, NodeSet};
use crate::preempt::{Claims, Room, make_room};
use crate::wish::{Wish, extensions};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use types::swarm::node::Node;
use types::swarm::placement::PlacementExtensions;
use types::swarm::service::Service;
use types::swarm::task::{Task, TaskState};
use types::swarm::volume::ClusterVolume;
use types::{NodeId, ServiceId, TaskId, Timestamp, VolumeId};

/// Nodes on all boards together, at some 64 bytes each: 1,200 services on 10,000 nodes. Boards that were not
/// used longest go first.
const BOARD_BUDGET: usize = 12 << 20;

/// Everything that placement looks at.
#[derive(Debug, Default)]
pub struct Scheduler {
    nodes: NodeSet,
    services: BTreeMap<ServiceId, Known>,
    names: BTreeMap<String, ServiceId>,
    volumes: Volumes,
    boards: HashMap<Arc<Wish>, Shelf>,
    /// Counts uses of boards.
    uses: u64,
}

/// What matters of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    name: String,
    placement: Option<Arc<PlacementExtensions>>,
}

#[derive(Debug)]
struct Shelf {
    board: Box<Board>,
    used: u64,
}

impl Scheduler {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or updates a node.
    pub fn set_node(&mut self, node: impl Into<Arc<Node>>) {
        self.nodes.set_node(node.into());
    }
    /// Takes a node away; what is known of its tasks stays until they end.
    pub fn remove_node(&mut self, id: &NodeId) {
        self.nodes.remove_node(id);
    }

    /// Takes a task as the store has it, whenever it changes: tasks on a node hold what they reserve until
    /// they have ended, failed ones count against their node. A task without a node changes nothing.
    pub fn set_task(&mut self, task: &Task) {
        self.nodes.set_task(task);
    }
    /// The task was deleted.
    pub fn remove_task(&mut self, task: &Task) {
        self.release(&task.id, &task.node_id);
    }
    /// Takes back an assignment that could not be committed.
    pub fn release(&mut self, task: &TaskId, node: &NodeId) {
        self.nodes.release(node, task);
    }

    /// Adds or updates a service: its name, priority and placement extensions.
    pub fn set_service(&mut self, service: &Service) {
        self.remove_service(&service.id);
        let placement = extensions(service.spec.sampan.as_ref()).cloned().map(Arc::new);
        let name = service.spec.name.clone();
        self.names.insert(name.clone(), service.id.clone());
        self.services.insert(service.id.clone(), Known { name, placement });
    }
    pub fn remove_service(&mut self, id: &ServiceId) {
        if let Some(known) = self.services.remove(id) {
            self.names.remove(&known.name);
        }
    }

    /// Adds or updates a cluster volume.
    pub fn set_volume(&mut self, volume: impl Into<Arc<ClusterVolume>>) {
        let volume = volume.into();
        self.remove_volume(&volume.id);
        for key in [volume.id.as_str(), &volume.spec.name] {
            self.volumes.0.insert(key.to_owned(), Arc::clone(&volume));
        }
    }
    pub fn remove_volume(&mut self, id: &VolumeId) {
        self.volumes.0.retain(|_, volume| volume.id != *id);
        self.boards.retain(|wish, _| wish.volumes.is_empty());
    }

    /// Decides on pending tasks: higher priorities first, then by service, slot and id, whatever their order
    /// here. A task that has a node already (of a global service) is checked on that node alone. Tasks that
    /// are not pending are passed over. `now` forgives old failures.
    pub fn decide(&mut self, pending: &[Arc<Task>], now: Timestamp) -> Vec<Decision> {
        self.nodes.forgive(now);
        let mut tasks: Vec<(i32, &Arc<Task>)> = pending
            .iter()
            .filter(|task| task.status.state < TaskState::Assigned)
            .map(|task| (self.priority(&task.service_id), task))
            .collect();
        tasks.sort_by(|(one, a), (two, b)| {
            let order = (Reverse(*one), &a.service_id, a.spec_version, a.slot, &a.id);
            order.cmp(&(Reverse(*two), &b.service_id, b.spec_version, b.slot, &b.id))
        });
        let mut claims = Claims::default();
        let mut decisions = Vec::with_capacity(tasks.len());
        for group in tasks.chunk_by(|(_, one), (_, two)| alike(one, two)) {
            self.decide_group(group, &mut claims, &mut decisions);
        }
        decisions
    }

    /// Each node's answer to a task, by id: for `why`.
    pub fn why(&mut self, task: &Task, now: Timestamp) -> Result<Vec<Verdict>, PlacementError> {
        self.nodes.forgive(now);
        let wish = Arc::new(self.wish(task)?);
        let shelf = self.take_board(&wish)?;
        let verdict = |(id, ix, node): (&NodeId, NodeIx, &Arc<Node>)| {
            let info = self.nodes.info(ix);
            let reject = shelf.board.verdict(ix);
            Verdict {
                node: id.clone(),
                reason: reject.map(|reject| reason(&wish, info, node, reject)),
                filter: reject.map(|reject| reject.filter),
                failures: info.penalty(&wish.service, wish.version),
            }
        };
        let nodes =
            self.nodes.iter().filter_map(|(id, ix, info)| Some((id, ix, info.node.as_ref()?)));
        let verdicts = nodes.map(verdict).collect();
        self.put_board(wish, shelf);
        Ok(verdicts)
    }

    fn decide_group(
        &mut self,
        group: &[(i32, &Arc<Task>)],
        claims: &mut Claims,
        decisions: &mut Vec<Decision>,
    ) {
        let Some((priority, first)) = group.first() else { return };
        let board = self.wish(first).map(Arc::new).and_then(|wish| {
            let shelf = self.take_board(&wish)?;
            Ok((wish, shelf))
        });
        let (wish, mut shelf) = match board {
            Ok(found) => found,
            Err(error) => {
                decisions.extend(group.iter().map(|(_, task)| Decision::Refuse {
                    task: task.id.clone(),
                    refusal: Refusal::Invalid(error.clone()),
                }));
                return;
            }
        };
        for (_, task) in group {
            let decision = match self.place(task, &wish, &mut shelf.board) {
                Ok(decision) => decision,
                Err(tally) => self.refuse(task, *priority, &wish, &mut shelf.board, tally, claims),
            };
            decisions.push(decision);
        }
        self.put_board(wish, shelf);
    }

    /// Assigns the task to the best node, or to its own.
    fn place(&mut self, task: &Task, wish: &Wish, board: &mut Board) -> Result<Decision, Tally> {
        board.catch_up(&self.nodes, &self.volumes);
        let ix = match task.node_id.as_str() {
            "" => board.best().ok_or_else(|| board.tally())?,
            _ => {
                let one = self.nodes.number(&task.node_id).ok_or_else(|| only(Filter::Ready))?;
                match (board.verdict(one), &self.nodes.info(one).node) {
                    (None, Some(_)) => one,
                    (Some(reject), Some(_)) => return Err(only(reject.filter)),
                    (_, None) => return Err(only(Filter::Ready)),
                }
            }
        };
        let given = match wish.generic.is_empty() {
            true => Vec::new(),
            false => self.nodes.info(ix).give(&wish.generic),
        };
        let node = self.nodes.id(ix).clone();
        let generic_resources = written(&given);
        let held = Held {
            service: wish.service.clone(),
            nano_cpus: wish.nano_cpus,
            memory_bytes: wish.memory_bytes,
            generic: given,
            ports: wish.host_ports.clone(),
            active: task.desired_state <= TaskState::Complete,
        };
        self.nodes.hold(ix, &task.id, held);
        Ok(Decision::Assign { task: task.id.clone(), node, generic_resources })
    }

    /// Preempts if the service may, else refuses.
    fn refuse(
        &mut self,
        task: &Task,
        priority: i32,
        wish: &Wish,
        board: &mut Board,
        tally: Tally,
        claims: &mut Claims,
    ) -> Decision {
        let preempts = self.placement(&task.service_id).is_some_and(|placement| placement.preempt);
        let services = &self.services;
        let of = |service: &ServiceId| priority_of(services, service);
        let room =
            preempts.then(|| make_room(&self.nodes, board, wish, task, priority, of, claims));
        match room.flatten() {
            Some((ix, Room::Evict(victims))) => {
                for victim in &victims {
                    self.nodes.retire(ix, victim);
                }
                let node = self.nodes.id(ix).clone();
                Decision::Preempt { task: task.id.clone(), node, victims }
            }
            Some((ix, Room::Coming)) => {
                let refusal = Refusal::Waiting { node: self.nodes.id(ix).clone() };
                Decision::Refuse { task: task.id.clone(), refusal }
            }
            None => {
                let refusal = Refusal::NoSuitableNode(tally);
                Decision::Refuse { task: task.id.clone(), refusal }
            }
        }
    }

    fn wish(&self, task: &Task) -> Result<Wish, PlacementError> {
        let resolve = |name: &str| self.names.get(name).cloned().unwrap_or(ServiceId::new(name));
        Wish::of_task(task, self.placement(&task.service_id), resolve)
    }

    fn placement(&self, service: &ServiceId) -> Option<&PlacementExtensions> {
        self.services.get(service).and_then(|known| known.placement.as_deref())
    }
    fn priority(&self, service: &ServiceId) -> i32 {
        priority_of(&self.services, service)
    }

    /// The wish's board, up to date.
    fn take_board(&mut self, wish: &Arc<Wish>) -> Result<Shelf, PlacementError> {
        self.uses += 1;
        let used = self.uses;
        if let Some(mut shelf) = self.boards.remove(wish) {
            shelf.board.catch_up(&self.nodes, &self.volumes);
            return Ok(Shelf { used, ..shelf });
        }
        let board = Board::new(Arc::clone(wish), &self.nodes, &self.volumes)?;
        Ok(Shelf { board: Box::new(board), used })
    }

    fn put_board(&mut self, wish: Arc<Wish>, shelf: Shelf) {
        let size = shelf.board.size().max(1);
        while (self.boards.len() + 1) * size > BOARD_BUDGET {
            let oldest = self.boards.iter().min_by_key(|(_, shelf)| shelf.used);
            let Some(oldest) = oldest.map(|(wish, _)| Arc::clone(wish)) else { break };
            self.boards.remove(&oldest);
        }
        self.boards.insert(wish, shelf);
    }
}

fn priority_of(services: &BTreeMap<ServiceId, Known>, service: &ServiceId) -> i32 {
    let placement = services.get(service).and_then(|known| known.placement.as_ref());
    placement.map_or(0, |placement| placement.priority)
}

/// Whether two tasks ask for the same.
fn alike(one: &Task, two: &Task) -> bool {
    one.service_id == two.service_id
        && one.spec_version == two.spec_version
        && one.record.host_ports == two.record.host_ports
        && (Arc::ptr_eq(&one.spec, &two.spec) || one.spec == two.spec)
}

fn only(filter: Filter) -> Tally {
    let mut tally = Tally::default();
    tally.add(filter);
    tally
}
