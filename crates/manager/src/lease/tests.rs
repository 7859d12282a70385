use super::*;

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

fn periods() -> Periods {
    Periods::of(&ClusterSpec::default())
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Asks every half beat until `until`; the nodes that had expired, with when.
fn watch(leases: &mut Leases, from: u64, until: u64, beats: &[(u64, &str)]) -> Vec<(u64, NodeId)> {
    let nodes = [node("a"), node("b")];
    let mut found: Vec<(u64, NodeId)> = Vec::new();
    for now in (from..=until).step_by(100) {
        for (_, name) in beats.iter().filter(|(when, _)| *when == now) {
            leases.hear(&node(name), at(now));
        }
        for id in leases.expired(nodes.iter(), at(now), periods()) {
            if !found.iter().any(|(_, known)| *known == id) {
                found.push((now, id));
            }
        }
    }
    found
}

#[test]
fn dockers_period_moves_tasks_after_five_seconds_of_silence() {
    let periods = periods();
    assert_eq!(periods.beat, at(1000));
    assert_eq!(periods.lease + periods.down_grace, HEARTBEAT_PERIOD);
}

#[test]
fn a_period_of_the_users_own_is_cut_in_the_same_way() {
    let mut spec = ClusterSpec::default();
    spec.dispatcher.heartbeat_period = 20_000_000_000;
    let periods = Periods::of(&spec);
    assert_eq!((periods.beat, periods.lease), (at(4000), at(16000)));
    spec.dispatcher.heartbeat_period = 1;
    assert_eq!(Periods::of(&spec).beat, SHORTEST_BEAT);
}

#[test]
fn a_node_that_falls_silent_expires_after_its_lease() {
    let mut leases = Leases::new(at(0), periods());
    let beats: Vec<(u64, &str)> =
        (0..=20).flat_map(|s| [(s * 1000, "a"), (s.min(6) * 1000, "b")]).collect();
    assert_eq!(watch(&mut leases, 0, 20_000, &beats), vec![(10_100, node("b"))]);
}

#[test]
fn a_new_leader_gives_everyone_time_to_turn_up() {
    let mut leases = Leases::new(at(60_000), periods());
    let found = watch(&mut leases, 60_000, 70_000, &[(64_000, "a"), (67_000, "a"), (70_000, "a")]);
    assert_eq!(found, vec![(65_000, node("b"))]);
}

#[test]
fn a_manager_that_was_asleep_blames_nobody() {
    let mut leases = Leases::new(at(0), periods());
    watch(&mut leases, 0, 6_000, &[(5_900, "a"), (6_000, "b")]);
    let nodes = [node("a"), node("b")];
    assert_eq!(leases.expired(nodes.iter(), at(60_000), periods()), vec![]);
    leases.hear(&node("a"), at(61_000));
    let found = watch(&mut leases, 61_000, 64_500, &[]);
    assert_eq!(found, vec![(64_000, node("b"))]);
}
