//! Making room for a task of a higher priority: whom to end, and where.
//!
//! Remembers nothing between decisions. Tasks that are being stopped will free what they hold, so a node where
//! that suffices is waited for; a claim keeps two waiters of one round from counting on the same room.

use crate::filter::Filter;
use crate::node::{Held, NodeInfo};
use crate::nodeset::{NodeIx, NodeSet};
use crate::shelf::Desk;
use crate::wish::{Ask, Wish};
use std::collections::{BTreeMap, BTreeSet};
use types::swarm::task::Task;
use types::{ServiceId, TaskId};

/// What a node can offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Room {
    /// What is being stopped there suffices.
    Coming,
    /// These must end; nothing less suffices.
    Evict(Vec<TaskId>),
}

/// What earlier tasks of the same round count on, by node.
pub(crate) type Claims = BTreeMap<NodeIx, Vec<Wish>>;

/// How much a choice hurts: the highest priority that suffers, and how many do.
type Harm = (Option<i32>, usize);

/// Finds room for a task that no node takes, and claims it. Only nodes that lack room are looked at: linear in
/// them, which is why preemption is opt-in.
pub(crate) fn make_room(
    set: &NodeSet,
    desk: &Desk,
    task: &Task,
    priority: i32,
    priority_of: impl Fn(&ServiceId) -> i32,
    claims: &mut Claims,
) -> Option<(NodeIx, Room)> {
    let Desk { wish, ground, board } = desk;
    let lacks_room = |ix: NodeIx| {
        let filter = board.verdict(ix).map(|reject| reject.filter);
        matches!(filter, Some(Filter::Resources | Filter::HostPort))
    };
    let mine = |ix: NodeIx| task.node_id.as_str().is_empty() || *set.id(ix) == task.node_id;
    let offers =
        set.iter().filter(|(_, ix, _)| lacks_room(*ix) && mine(*ix)).filter_map(|(_, ix, info)| {
            let claimed = claims.get(&ix).map_or(&[][..], Vec::as_slice);
            let (harm, room) = offer(info, wish, claimed, priority, &priority_of)?;
            // A fixed refusal may hide behind a lack of room.
            board.open(ix, ground).then_some((harm, ix, room))
        });
    // Nodes come by id, and the first of equals wins.
    let (_, ix, room) = offers.min_by_key(|(harm, _, _)| *harm)?;
    claims.entry(ix).or_default().push(Wish::clone(wish));
    Some((ix, room))
}

/// What a node can offer: the tasks of the lowest priorities go first, and those not needed after all stay.
fn offer(
    info: &NodeInfo,
    wish: &Wish,
    claimed: &[Wish],
    priority: i32,
    priority_of: &impl Fn(&ServiceId) -> i32,
) -> Option<(Harm, Room)> {
    let leaving = info.tasks().iter().filter(|(_, held)| !held.active).map(|(id, _)| id.clone());
    let mut gone: BTreeSet<TaskId> = leaving.collect();
    if fits(info, wish, claimed, &gone) {
        return Some(((None, 0), Room::Coming));
    }
    let mut candidates: Vec<(i32, &TaskId, &Held)> = info
        .tasks()
        .iter()
        .filter(|(_, held)| held.active)
        .map(|(id, held)| (priority_of(&held.hold.service), id, held))
        .filter(|(theirs, _, _)| *theirs < priority)
        .collect();
    // Within a priority the largest go first, so that fewer have to.
    candidates.sort_by_key(|(theirs, id, held)| {
        (*theirs, std::cmp::Reverse((held.hold.memory_bytes, held.hold.nano_cpus)), *id)
    });
    let mut victims = Vec::new();
    for (theirs, id, _) in candidates {
        if fits(info, wish, claimed, &gone) {
            break;
        }
        gone.insert(id.clone());
        victims.push((theirs, id.clone()));
    }
    if !fits(info, wish, claimed, &gone) {
        return None;
    }
    let mut spared = Vec::new();
    for victim in victims.iter().rev() {
        gone.remove(&victim.1);
        if fits(info, wish, claimed, &gone) {
            spared.push(victim.1.clone());
        } else {
            gone.insert(victim.1.clone());
        }
    }
    victims.retain(|(_, id)| !spared.contains(id));
    let harm = (victims.iter().map(|(theirs, _)| *theirs).max(), victims.len());
    Some((harm, Room::Evict(victims.into_iter().map(|(_, id)| id).collect())))
}

/// Whether the wish and all claims fit once `gone` have ended.
fn fits(info: &NodeInfo, wish: &Wish, claimed: &[Wish], gone: &BTreeSet<TaskId>) -> bool {
    let freed = || gone.iter().filter_map(|id| info.tasks().get(id));
    let wishes = || claimed.iter().chain(std::iter::once(wish));
    let enough = |wanted: i64, free: i64| wanted <= 0 || wanted <= free;
    let cpus = info.load().free_cpus + freed().map(|held| held.hold.nano_cpus).sum::<i64>();
    let memory = info.load().free_memory + freed().map(|held| held.hold.memory_bytes).sum::<i64>();
    let generic = wish.generic.iter().all(|ask| match ask {
        Ask::Count { kind, .. } => {
            let wanted: i64 = wishes().map(|of| amount(&of.generic, kind)).sum();
            let back: i64 = freed().map(|held| amount(&held.hold.generic, kind)).sum();
            enough(wanted, info.free_generic(kind) + back)
        }
        named @ Ask::Named { kind, name } => {
            let back = freed().any(|held| held.hold.generic.contains(named));
            let taken = claimed.iter().any(|of| of.generic.contains(named));
            !taken && (back || info.has_named(kind, name))
        }
    });
    let ports = wish.host_ports.iter().all(|port| {
        let stays = info
            .tasks()
            .iter()
            .any(|(id, held)| held.hold.ports.contains(port) && !gone.contains(id));
        !stays && !claimed.iter().any(|of| of.host_ports.contains(port))
    });
    enough(wishes().map(|of| of.nano_cpus).sum(), cpus)
        && enough(wishes().map(|of| of.memory_bytes).sum(), memory)
        && generic
        && ports
}

fn amount(asks: &[Ask], of: &str) -> i64 {
    let amount = |ask: &Ask| match ask {
        Ask::Count { kind, count } if kind == of => *count,
        Ask::Named { kind, .. } if kind == of => 1,
        _ => 0,
    };
    asks.iter().map(amount).sum()
}
