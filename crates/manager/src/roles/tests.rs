use super::*;
use store::{Entry, Store};
use types::Timestamp;
use types::swarm::node::NodeSpec;

fn node(id: &str, role: Role) -> Node {
    Node { id: NodeId::new(id), spec: NodeSpec { role, ..NodeSpec::default() }, ..Node::default() }
}

fn state(nodes: Vec<Node>) -> Store {
    let mut store = Store::default();
    let changes = nodes.into_iter().map(|row| Change::Create(row.into())).collect();
    store.apply(&Entry::one(Timestamp(1), changes));
    store
}

fn member(id: &str, leader: bool) -> Member {
    Member {
        node: NodeId::new(id),
        addr: format!("{id}:2377"),
        voter: true,
        leader,
        reachable: true,
    }
}

#[test]
fn a_node_is_a_manager_as_long_as_it_has_a_vote() {
    let demoted = node("a", Role::Worker);
    assert_eq!(role_of(&demoted, &[member("a", false)]), Role::Manager);
    assert_eq!(role_of(&demoted, &[]), Role::Worker);
    assert_eq!(role_of(&node("b", Role::Manager), &[]), Role::Manager);
}

#[test]
fn demoted_and_removed_managers_go_and_the_last_one_never() {
    let store = state(vec![node("a", Role::Manager), node("b", Role::Worker)]);
    let members = [member("a", true), member("b", false), member("c", false)];
    assert_eq!(to_remove(store.state(), &members), [NodeId::new("b"), NodeId::new("c")]);
    assert_eq!(to_remove(store.state(), &members[1..]).len(), 1);
    assert!(to_remove(store.state(), &members[1..2]).is_empty());
}

#[test]
fn who_takes_over_changes_its_own_node_and_the_last_leaders() {
    let mut led = node("a", Role::Manager);
    led.manager_status = Some(status(&member("a", true)));
    let mut store = state(vec![led, node("b", Role::Manager), node("c", Role::Worker)]);
    let before = store.snapshot();
    let members = [member("a", false), member("b", true)];
    let entry = take_over(&before, &NodeId::new("b"), &members);
    store.apply(&Entry { at: Timestamp(2), transactions: vec![entry] });
    let leads = |id: &str| {
        let row = store.state().nodes().get(id).cloned().unwrap();
        row.manager_status.as_ref().is_some_and(|status| status.leader)
    };
    assert_eq!((leads("a"), leads("b"), leads("c")), (false, true, false));
    for id in ["a", "b"] {
        let version = |state: &Snapshot| state.nodes().get(id).unwrap().meta.version;
        assert_ne!(version(&before), version(store.state()), "{id}");
    }
}

#[test]
fn statuses_follow_the_membership() {
    let store = state(vec![node("a", Role::Manager), node("b", Role::Worker)]);
    let mut lost = member("a", false);
    lost.reachable = false;
    let rows = statuses(store.state(), &[lost]);
    assert_eq!(rows.len(), 1);
    let status = rows[0].manager_status.clone().unwrap();
    assert_eq!((status.reachability.as_str(), status.addr.as_str()), ("unreachable", "a:2377"));
}
