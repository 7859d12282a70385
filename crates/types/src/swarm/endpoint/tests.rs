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
    EndpointTable { version, endpoints: endpoints.into(), peers, ..EndpointTable::default() }
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
    let mut table = two.clone();
    table.apply(&EndpointUpdate::whole(&one)).unwrap();
    assert_eq!(table, one);
    // What it says that was known already is the same in memory.
    let mut table = two.clone();
    let told_again: EndpointTable =
        serde_json::from_value(serde_json::to_value(&two).unwrap()).unwrap();
    table.apply(&EndpointUpdate::whole(&told_again)).unwrap();
    assert_eq!(table, two);
    assert!(table.endpoints.is_same(&two.endpoints) && table.peers.is_same(&two.peers));
}

#[test]
fn a_change_that_goes_on_from_another_version_changes_nothing() {
    let [one, two, three] = history();
    let mut table = one.clone();
    assert_eq!(table.apply(&EndpointUpdate::between(&two, &three)), Err(OutOfStep));
    assert_eq!(table, one);
}

/// Numbered endpoints of which some are left out and some drain, as `seed` says.
fn many(version: u64, seed: u64) -> EndpointTable {
    let row = |number: u64| {
        let state = match (number * seed) % 5 {
            0 => EndpointState::Draining,
            _ => EndpointState::Healthy,
        };
        endpoint(&format!("t{number:04}"), "x", state)
    };
    let kept =
        (0..300).filter(|number| !(number + seed).is_multiple_of(7) || seed.is_multiple_of(3));
    table(version, kept.map(row).collect(), &["n1"])
}

#[test]
fn few_changes_and_many_lead_to_the_same_rows() {
    for (from, to) in [(1, 2), (2, 3), (3, 4), (3, 6), (9, 10)] {
        let (old, new) = (many(from, from), many(to, to));
        let update = EndpointUpdate::between(&old, &new);
        let mut at_once = old.clone();
        at_once.apply(&update).unwrap();
        assert_eq!(at_once, new);
        let mut one_by_one = old.clone();
        for removed in &update.removed {
            let RemovedRow::Endpoint(task, network) = removed else { continue };
            one_by_one.endpoints.remove(&(task.clone(), network.clone()));
        }
        for row in update.endpoints.shared().iter().rev() {
            one_by_one.endpoints.put(Arc::clone(row));
        }
        assert_eq!(one_by_one.endpoints, new.endpoints);
    }
}

#[test]
fn a_table_that_is_brought_up_to_date_has_the_rows_of_before_in_memory() {
    let old = many(1, 1);
    let mut new = many(2, 2);
    let said = new.clone();
    new.share_with(&old);
    assert_eq!(new, said);
    let update = EndpointUpdate::between(&old, &said);
    let (put, gone) = new.endpoints.changes(&old.endpoints);
    let removed = update.removed.len();
    assert_eq!(put.len(), update.endpoints.len());
    assert!(gone.len() >= removed && gone.len() < old.endpoints.len());
    let mut same = many(2, 1);
    same.share_with(&old);
    assert!(same.endpoints.is_same(&old.endpoints));
    assert_eq!(same.endpoints.changes(&old.endpoints), (Vec::new(), Vec::new()));
}
