//! What holds for any cluster and any order of events.

#[path = "support/small.rs"]
mod support;

use proptest::prelude::{Just, Strategy, prop, prop_assert, prop_assert_eq, proptest};
use scheduler::{Decision, Filter, Scheduler, suits};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{node, now, spec, tasks, told};
use types::NodeId;
use types::swarm::node::Node;
use types::swarm::task::{Task, TaskState};

/// Up to twelve nodes in three zones with little room.
fn nodes() -> impl Strategy<Value = Vec<Node>> {
    let sizes = prop::collection::vec((1u8..8, 0u8..3), 1..12);
    sizes.prop_map(|sizes| {
        let words = |(at, (cpu, zone)): (usize, &(u8, u8))| format!("n{at} cpu={cpu} zone=z{zone}");
        sizes.iter().enumerate().map(words).map(|words| node(&words)).collect()
    })
}

/// Tasks of three services, not in order.
fn pending() -> impl Strategy<Value = Vec<Arc<Task>>> {
    (0u64..12, 0u64..12, 0u64..12)
        .prop_map(|(a, b, c)| {
            let mut all = tasks("a", a, &spec("cpu=1 spread=zone"));
            all.extend(tasks("b", b, &spec("cpu=2 max=1")));
            all.extend(tasks("c", c, &spec("if:node.labels.zone!=z1")));
            all
        })
        .prop_flat_map(|all| Just(all).prop_shuffle())
}

fn with(nodes: &[Node]) -> Scheduler {
    let mut scheduler = Scheduler::new();
    nodes.iter().for_each(|node| scheduler.set_node(node.clone()));
    scheduler
}

/// The tasks as the store has them after the decisions.
fn committed(pending: &[Arc<Task>], decisions: &[Decision]) -> Vec<Task> {
    let by_id: BTreeMap<_, _> = pending.iter().map(|task| (&task.id, task)).collect();
    let commit = |decision: &Decision| match decision {
        Decision::Assign { task, node, .. } => {
            let mut task = Task::clone(by_id[task]);
            task.node_id = node.clone();
            task.status.state = TaskState::Assigned;
            Some(task)
        }
        _ => None,
    };
    decisions.iter().filter_map(commit).collect()
}

/// Tasks per node.
fn counts<'a>(tasks: impl Iterator<Item = &'a Task>) -> BTreeMap<NodeId, u64> {
    let mut counts = BTreeMap::new();
    tasks.for_each(|task| *counts.entry(task.node_id.clone()).or_default() += 1);
    counts
}

proptest! {
    /// Neither the order of nodes nor that of tasks, nor what was there in between, changes a decision.
    #[test]
    fn order_and_detours_do_not_matter(nodes in nodes(), pending in pending(), detour in pending()) {
        let straight = with(&nodes).decide(&pending, now());
        let mut scheduler = Scheduler::new();
        scheduler.set_node(node("n10x cpu=7 zone=z9"));
        nodes.iter().rev().for_each(|node| scheduler.set_node(node.clone()));
        let decided = scheduler.decide(&detour, now());
        for task in committed(&detour, &decided) {
            scheduler.release(&task.id, &task.node_id);
        }
        scheduler.remove_node(&NodeId::new("n10x"));
        let mut other = pending.clone();
        other.reverse();
        prop_assert_eq!(told(&scheduler.decide(&other, now())), told(&straight));
    }

    /// No node gives more than it has, constraints and limits hold, and every task gets one decision.
    #[test]
    fn nothing_is_overcommitted_and_constraints_hold(nodes in nodes(), pending in pending()) {
        let decisions = with(&nodes).decide(&pending, now());
        prop_assert_eq!(decisions.len(), pending.len());
        let placed = committed(&pending, &decisions);
        for node in &nodes {
            let here = || placed.iter().filter(|task| task.node_id == node.id);
            let of = |name: &'static str| here().filter(move |task| task.service_id.as_str() == name).count() as i64;
            prop_assert!(of("a") + 2 * of("b") <= node.description.resources.nano_cpus);
            prop_assert!(of("b") <= 1);
            prop_assert!(of("c") == 0 || node.spec.labels["zone"] != "z1");
        }
    }

    /// A task is only refused when no node could take it.
    #[test]
    fn a_refusal_is_true(nodes in nodes(), pending in pending()) {
        let mut scheduler = with(&nodes);
        let decisions = scheduler.decide(&pending, now());
        for decision in decisions.iter().filter(|decision| matches!(decision, Decision::Refuse { .. })) {
            let task = pending.iter().find(|task| task.id == *decision.task()).unwrap();
            let verdicts = scheduler.why(task, now()).unwrap();
            prop_assert!(verdicts.iter().all(|verdict| verdict.reason.is_some()), "{:?}", decision);
        }
    }

    /// With room everywhere, zones differ by one task at most, and so do the nodes of a zone.
    #[test]
    fn spread_is_balanced_within_one(zones in prop::collection::vec(1u8..5, 1..5), count in 0u64..60) {
        let words = zones.iter().enumerate().flat_map(|(zone, nodes)| {
            (0..*nodes).map(move |at| format!("n{zone}-{at} cpu=1000 zone=z{zone}"))
        });
        let nodes: Vec<Node> = words.map(|words| node(&words)).collect();
        let pending = tasks("a", count, &spec("cpu=1 spread=zone"));
        let placed = committed(&pending, &with(&nodes).decide(&pending, now()));
        let per_node = counts(placed.iter());
        let balanced = |counts: &[u64]| counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1;
        let mut per_zone = Vec::new();
        for zone in 0..zones.len() {
            let inside = nodes.iter().filter(|node| node.spec.labels["zone"] == format!("z{zone}"));
            let inside: Vec<u64> = inside.map(|node| per_node.get(&node.id).copied().unwrap_or(0)).collect();
            prop_assert!(balanced(&inside), "zone {} has {:?}", zone, inside);
            per_zone.push(inside.iter().sum());
        }
        prop_assert!(balanced(&per_zone), "{:?}", per_zone);
    }

    /// A scheduler that followed every change decides as one that is fed the result.
    #[test]
    fn following_changes_equals_starting_anew(
        nodes in nodes(),
        pending in pending(),
        steps in prop::collection::vec((0usize..12, 0u8..4), 0..30),
        last in pending(),
    ) {
        let mut scheduler = with(&nodes);
        let decisions = scheduler.decide(&pending, now());
        let mut placed = committed(&pending, &decisions);
        let mut current: BTreeMap<NodeId, Node> = nodes.iter().map(|node| (node.id.clone(), node.clone())).collect();
        for (at, step) in steps {
            let changed = nodes[at % nodes.len()].id.clone();
            match step {
                0 => {
                    current.remove(&changed);
                    scheduler.remove_node(&changed);
                }
                1 => {
                    let mut node = nodes[at % nodes.len()].clone();
                    node.spec.labels.insert("zone".to_owned(), format!("z{}", at % 4));
                    current.insert(changed, node.clone());
                    scheduler.set_node(node);
                }
                _ if placed.is_empty() => {}
                2 => {
                    let task = placed.swap_remove(at % placed.len());
                    scheduler.remove_task(&task);
                }
                _ => {
                    let at = at % placed.len();
                    placed[at].desired_state = TaskState::Shutdown;
                    scheduler.set_task(&placed[at]);
                }
            }
        }
        let mut fresh = Scheduler::new();
        placed.iter().for_each(|task| fresh.set_task(task));
        current.values().for_each(|node| fresh.set_node(node.clone()));
        let last: Vec<Arc<Task>> = last.iter().map(|task| {
            let mut task = Task::clone(task);
            task.id = types::TaskId::new(format!("{}+", task.id));
            Arc::new(task)
        }).collect();
        prop_assert_eq!(told(&scheduler.decide(&last, now())), told(&fresh.decide(&last, now())));
    }

    /// What was decided is settled: the assigned tasks stay, and those refused are refused again in the same
    /// words. Scaled to zero, nothing is placed.
    #[test]
    fn a_second_round_changes_nothing(nodes in nodes(), pending in pending()) {
        let mut scheduler = with(&nodes);
        let decisions = scheduler.decide(&pending, now());
        let placed = committed(&pending, &decisions);
        for task in &placed {
            scheduler.set_task(task);
        }
        let again: Vec<Arc<Task>> = placed.into_iter().map(Arc::new).chain(
            pending.iter().filter(|task| decisions.iter().any(|decision| {
                decision.task() == &task.id && matches!(decision, Decision::Refuse { .. })
            })).cloned()
        ).collect();
        let mut refused = decisions;
        refused.retain(|decision| matches!(decision, Decision::Refuse { .. }));
        let second = scheduler.decide(&again, now());
        let placed = second.iter().filter(|decision| !matches!(decision, Decision::Refuse { .. }));
        prop_assert_eq!(placed.count(), 0);
        prop_assert_eq!(second.len(), refused.len());
        prop_assert_eq!(scheduler.decide(&[], now()), vec![]);
    }

    /// What a global service asks of a node is what the scheduler asks.
    #[test]
    fn suits_and_the_filters_agree(nodes in nodes(), zone in 0u8..4) {
        let mut scheduler = with(&nodes);
        let wanted = spec(&format!("if:node.labels.zone==z{zone}"));
        let verdicts = scheduler.why(&tasks("a", 1, &wanted)[0], now()).unwrap();
        for verdict in verdicts {
            let node = nodes.iter().find(|node| node.id == verdict.node).unwrap();
            prop_assert_eq!(suits(&wanted, node), verdict.filter != Some(Filter::Constraint));
        }
    }
}
