use super::*;

fn endpoint(task: &str, network: &str, state: EndpointState) -> EndpointRow {
    EndpointRow {
        task: TaskId::new(task),
        network: NetworkId::new(network),
        node: NodeId::new("n1"),
        address: Ipv4Addr::new(10, 0, 1, 2),
        state,
        weight: 1,
        service: None,
        slot: 1,
        name: format!("web.1.{task}"),
        aliases: Vec::new(),
    }
}

fn table(version: u64, endpoints: Vec<EndpointRow>, peers: &[&str]) -> EndpointTable {
    let underlay = Ipv4Addr::new(192, 0, 2, 1);
    let peers = peers
        .iter()
        .map(|id| PeerRow { node: NodeId::new(*id), underlay, wire_key: String::new() })
        .collect();
    EndpointTable { version, endpoints, peers, ..EndpointTable::default() }
}

/// Three tables that differ by a put, a change and a removal.
fn history() -> [EndpointTable; 3] {
    use EndpointState::{Draining, Healthy, Starting};
    [
        table(1, vec![endpoint("a", "x", Healthy), endpoint("c", "x", Starting)], &["n1"]),
        table(
            4,
            vec![
                endpoint("a", "x", Draining),
                endpoint("b", "x", Healthy),
                endpoint("b", "y", Healthy),
                endpoint("c", "x", Starting),
            ],
            &["n1", "n2"],
        ),
        table(5, vec![endpoint("b", "x", Healthy)], &["n2"]),
    ]
}

#[test]
fn the_difference_of_two_tables_makes_one_of_the_other() {
    for old in &history() {
        for new in &history() {
            let mut table = old.clone();
            let update = EndpointUpdate::between(old, new);
            table.apply(&update).unwrap();
            assert_eq!(&table, new);
            assert_eq!(old.says_the_same(new), old == new);
        }
    }
}

#[test]
fn a_change_carries_only_what_changed() {
    let [one, two, three] = history();
    let update = EndpointUpdate::between(&one, &two);
    assert_eq!((update.endpoints.len(), update.peers.len(), update.removed.len()), (3, 1, 0));
    let update = EndpointUpdate::between(&two, &three);
    let gone = |task: &str, network: &str| {
        RemovedRow::Endpoint(TaskId::new(task), NetworkId::new(network))
    };
    assert!(update.endpoints.is_empty() && update.peers.is_empty());
    assert_eq!(
        update.removed,
        [RemovedRow::Peer(NodeId::new("n1")), gone("a", "x"), gone("b", "y"), gone("c", "x")]
    );
}

#[test]
fn a_whole_table_takes_the_place_of_any() {
    let [one, two, _] = history();
    let mut table = two;
    table.apply(&EndpointUpdate::whole(&one)).unwrap();
    assert_eq!(table, one);
}

#[test]
fn a_change_that_goes_on_from_another_version_changes_nothing() {
    let [one, two, three] = history();
    let mut table = one.clone();
    assert_eq!(table.apply(&EndpointUpdate::between(&two, &three)), Err(OutOfStep));
    assert_eq!(table, one);
}
