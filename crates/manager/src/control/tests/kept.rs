//! Nodes, secrets, configs, networks, the cluster.

use super::world::{AT, outcome, world, write};
use crate::control::{Error, cluster, find, network, node, secret};
use raft::Member;
use serde_json::{Value, json};
use store::{Change, Snapshot};
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{Node, NodeState};
use types::{ConfigId, NetworkId, NodeId, SecretId};

fn members(reachable: &[(&str, bool)]) -> Vec<Member> {
    let member = |(node, reachable): &(&str, bool)| Member {
        node: NodeId::new(*node),
        addr: String::new(),
        voter: true,
        leader: false,
        reachable: *reachable,
    };
    reachable.iter().map(member).collect()
}

fn wish(role: &str, availability: &str) -> node::Wish {
    node::Wish {
        role: role.to_owned(),
        availability: availability.to_owned(),
        ..node::Wish::default()
    }
}

#[test]
fn a_node_is_changed_by_words_that_are_all_there() {
    let store = world();
    let state = store.state();
    let version = state.nodes().get("w1").unwrap().meta.version.index;
    let all = members(&[("m1", true)]);
    let update =
        |key: &str, version, wish| outcome(state, node::update(state, &all, key, version, &wish));
    assert_eq!(update("host-w1", version, wish("worker", "drain")), "ok");
    assert_eq!(update("w", version, wish("manager", "active")), "ok");
    // A role that is left out must not demote anybody.
    assert_eq!(update("m1", version, wish("", "drain")), "400 invalid Role: \"\"");
    assert_eq!(update("w1", version, wish("worker", "x")), "400 invalid Availability: \"x\"");
    assert_eq!(update("nope", version, wish("worker", "active")), "404 node nope not found");
    assert_eq!(
        update("w1", version + 1, wish("worker", "active")),
        "500 rpc error: code = Unknown desc = update out of sequence"
    );
    assert_eq!(
        update("m1", version, wish("worker", "active")),
        "400 rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"
    );
}

#[test]
fn a_demotion_that_would_lose_the_quorum_is_refused() {
    let mut store = world();
    for id in ["m2", "m3"] {
        let mut manager = Node { id: NodeId::new(id), ..Node::default() };
        manager.spec.role = types::swarm::node::Role::Manager;
        write(&mut store, vec![Change::Create(manager.into())]);
    }
    let state = store.state();
    let version = state.nodes().get("m1").unwrap().meta.version.index;
    let demote = |members: &[Member]| {
        outcome(state, node::update(state, members, "m1", version, &wish("worker", "active")))
    };
    assert_eq!(demote(&members(&[("m1", true), ("m2", true), ("m3", true)])), "ok");
    assert_eq!(
        demote(&members(&[("m1", true), ("m2", true), ("m3", false)])),
        "400 rpc error: code = FailedPrecondition desc = can't remove member from the raft: this would result in a loss of quorum"
    );
    assert_eq!(
        demote(&members(&[("m2", true), ("m3", true)])),
        "404 rpc error: code = NotFound desc = can't find manager in raft memberlist"
    );
}

#[test]
fn a_node_that_is_up_stays_unless_it_is_forced() {
    let store = world();
    let state = store.state();
    let all = members(&[("m1", true)]);
    let remove = |key: &str, force| outcome(state, node::remove(state, &all, key, force, AT));
    assert_eq!(
        remove("w1", false),
        "400 rpc error: code = FailedPrecondition desc = node w1 is not down and can't be removed"
    );
    assert_eq!(remove("w1", true), "ok");
    assert_eq!(
        remove("m1", true),
        "400 rpc error: code = FailedPrecondition desc = node m1 is a cluster manager and is a member of the raft cluster. It must be demoted to worker before removal"
    );
}

fn create(state: &Snapshot, kind: &str, spec: Value) -> String {
    let decided: Result<Vec<Change>, Error> = match kind {
        "secret" => {
            let spec = types::json::from_value(spec).unwrap();
            secret::create_secret(state, SecretId::new("fresh"), &spec)
        }
        "config" => {
            let spec = types::json::from_value(spec).unwrap();
            secret::create_config(state, ConfigId::new("fresh"), &spec)
        }
        _ => {
            let spec = types::json::from_value(spec).unwrap();
            network::create(state, NetworkId::new("fresh"), &spec)
        }
    };
    outcome(state, decided)
}

#[test]
fn secrets_configs_and_networks_have_a_form() {
    let store = world();
    let invalid = |desc: &str| format!("400 rpc error: code = InvalidArgument desc = {desc}");
    let faulty = |fault: &str| format!("400 invalid network config:\n{fault}");
    let name = "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]";
    let cases = [
        ("secret", json!({"Name": "a.b", "Data": "YQ=="}), "ok".to_owned()),
        ("secret", json!({"Name": "", "Data": "YQ=="}), invalid("name must be provided")),
        ("secret", json!({"Name": "-a", "Data": "YQ=="}), invalid(name)),
        ("config", json!({"Name": "a".repeat(65), "Data": "YQ=="}), invalid(name)),
        (
            "secret",
            json!({"Name": "a"}),
            invalid("secret data must be larger than 0 and less than 512000 bytes"),
        ),
        (
            "config",
            json!({"Name": "a"}),
            invalid("config data must be larger than 0 and less than 16777216 bytes"),
        ),
        (
            "config",
            json!({"Name": "a", "Data": "Y!=="}),
            "400 invalid JSON: illegal base64 data at input byte 1".to_owned(),
        ),
        ("secret", json!({"Name": "a", "Driver": {}}), invalid("secret driver must have a name")),
        ("secret", json!({"Name": "a", "Driver": {"Name": "v"}}), invalid("secret driver v not found")),
        (
            "config",
            json!({"Name": "a", "Data": "YQ==", "Templating": {"Name": "v"}}),
            invalid("template driver v not found"),
        ),
        (
            "secret",
            json!({"Name": "s", "Data": "YQ=="}),
            "409 rpc error: code = AlreadyExists desc = secret s already exists".to_owned(),
        ),
        ("network", json!({"Name": "n2", "Attachable": true}), "ok".to_owned()),
        (
            "network",
            json!({"Name": "net"}),
            "409 rpc error: code = AlreadyExists desc = network net already exists".to_owned(),
        ),
        (
            "network",
            json!({"Name": "host"}),
            "403 host is a pre-defined network and cannot be created".to_owned(),
        ),
        (
            "network",
            json!({"Name": "in", "Ingress": true}),
            "409 rpc error: code = AlreadyExists desc = ingress network (ingress) is already present".to_owned(),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/99"}]}}),
            faulty("invalid subnet 10.0.0.0/99: invalid CIDR block notation"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "IPRange": "10.1.0.0/16"}]}}),
            faulty("invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.1.0.7/24"}]}}),
            faulty("invalid subnet 10.1.0.7/24: it should be 10.1.0.0/24"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [
                {"Subnet": "10.1.0.0/24", "AuxiliaryAddresses": {"router": "10.2.0.9"}}
            ]}}),
            faulty("invalid auxiliary address router: parent subnet 10.1.0.0/24 doesn't contain this address"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24", "Gateway": "10.1.0.0"}]}}),
            "400 failed to allocate gateway (10.1.0.0): requested address is out of range".to_owned(),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.1.0.0/24"}, {"Subnet": "10.2.0.0/24"}]}}),
            invalid("network n: a network of the cluster has one IPv4 subnet: name one that is large enough"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Driver": "dhcp"}}),
            "400 invalid ipam driver: only \"default\" is there".to_owned(),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "fd00::/64", "Gateway": "fd01::1"}]}}),
            invalid("ipam configuration: subnet fd00::/64 does not contain gateway fd01::1"),
        ),
        (
            "network",
            json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.1.1"}]}}),
            faulty("invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address"),
        ),
    ];
    for (kind, spec, want) in cases {
        assert_eq!(create(store.state(), kind, spec.clone()), want, "{kind} {spec}");
    }
}

#[test]
fn a_network_that_gets_no_subnet_is_refused_before_anything_is_written() {
    let mut store = world();
    let pool = |store: &store::Store| {
        let mut cluster =
            types::swarm::cluster::Cluster::clone(store.state().clusters().iter().next().unwrap());
        (cluster.default_addr_pool, cluster.subnet_size) = (vec!["10.7.0.0/23".to_owned()], 24);
        vec![Change::Update(cluster.into())]
    };
    let changes = pool(&store);
    write(&mut store, changes);
    for (id, subnet) in [("one", "10.7.0.0/24"), ("two", "10.7.1.0/24")] {
        let mut row = ClusterNetwork { id: NetworkId::new(id), ..ClusterNetwork::default() };
        (row.spec.name, row.subnet) = (id.to_owned(), subnet.to_owned());
        write(&mut store, vec![Change::Create(row.into())]);
    }
    let overlapping = json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.7.1.128/25"}]}});
    assert_eq!(
        create(store.state(), "network", overlapping),
        "403 invalid pool request: Pool overlaps with other one on this address space"
    );
    assert_eq!(
        create(store.state(), "network", json!({"Name": "n"})),
        "400 all predefined address pools have been fully subnetted"
    );
    for (spec, refused) in [
        (json!({"Name": "n", "Options": {"mode": "pigeon"}}), "network n: invalid mode \"pigeon\""),
        (
            json!({"Name": "n", "Options": {"mode": "direct"}, "EnableIPv6": true}),
            "network n: mode direct has no IPv6",
        ),
    ] {
        let said = create(store.state(), "network", spec);
        assert!(said.starts_with("400 ") && said.contains(refused), "{said}");
    }
    let free = json!({"Name": "n", "IPAM": {"Config": [{"Subnet": "10.8.0.0/16"}]}});
    assert_eq!(create(store.state(), "network", free), "ok");
}

#[test]
fn policies_are_checked_before_they_are_written_and_replace_those_before() {
    let mut store = world();
    let mut row = ClusterNetwork { id: NetworkId::new("one"), ..ClusterNetwork::default() };
    row.spec.name = "one".to_owned();
    write(&mut store, vec![Change::Create(row.into())]);
    let rule =
        |to: &str| types::swarm::policy::PolicyRule { to: to.to_owned(), ..Default::default() };
    let refused = |key: &str, to: &str| {
        outcome(store.state(), network::set_policies(store.state(), key, &[rule(to)]))
    };
    assert_eq!(refused("nowhere", "db"), "404 network nowhere not found");
    assert!(
        refused("one", "a b")
            .starts_with("400 rpc error: code = InvalidArgument desc = invalid policy: ")
    );
    let changes = network::set_policies(store.state(), "one", &[rule("db")]).unwrap();
    write(&mut store, changes);
    let policies =
        |store: &store::Store| store.state().networks().get("one").unwrap().policies.clone();
    assert_eq!(policies(&store), [rule("db")]);
    assert_eq!(network::set_policies(store.state(), "one", &[rule("db")]).unwrap(), []);
    let changes = network::set_policies(store.state(), "one", &[]).unwrap();
    write(&mut store, changes);
    assert_eq!(policies(&store), []);
}

#[test]
fn what_a_service_uses_cannot_be_removed() {
    let store = world();
    let state = store.state();
    assert_eq!(
        outcome(state, secret::remove_secret(state, "s")),
        "400 rpc error: code = InvalidArgument desc = secret 's' is in use by the following service: web"
    );
    assert_eq!(
        outcome(state, secret::remove_config(state, "config1")),
        "400 rpc error: code = InvalidArgument desc = config 'c' is in use by the following service: web"
    );
    assert_eq!(
        outcome(state, network::remove(state, "net")),
        "400 rpc error: code = FailedPrecondition desc = network net is in use by service service1"
    );
    assert_eq!(
        outcome(state, network::remove(state, "ingress")),
        "400 rpc error: code = FailedPrecondition desc = ingress network cannot be removed because service service1 depends on it"
    );
    assert_eq!(outcome(state, secret::remove_secret(state, "x")), "404 secret x not found");
}

#[test]
fn of_a_secret_only_the_labels_change_and_of_a_config_the_data_too() {
    let store = world();
    let state = store.state();
    let version = state.secrets().get("secret1").unwrap().meta.version.index;
    let secret = |spec: Value| {
        let spec = types::json::from_value(spec).unwrap();
        outcome(state, secret::update_secret(state, "s", version, &spec))
    };
    let config = |spec: Value| {
        let spec = types::json::from_value(spec).unwrap();
        outcome(state, secret::update_config(state, "c", version, &spec))
    };
    let only = "400 rpc error: code = InvalidArgument desc = only updates to Labels are allowed";
    assert_eq!(secret(json!({"Name": "s", "Labels": {"a": "b"}})), "ok");
    assert_eq!(secret(json!({"Name": "s", "Data": "Yg=="})), only);
    assert_eq!(secret(json!({"Name": "t"})), only);
    assert_eq!(config(json!({"Name": "c", "Data": "Yg=="})), "ok");
    assert_eq!(config(json!({"Name": "d"})), only);
}

#[test]
fn a_beginning_of_an_id_must_be_of_one() {
    let mut store = world();
    for id in ["ab1", "ab2"] {
        let node = Node { id: NodeId::new(id), ..Node::default() };
        write(&mut store, vec![Change::Create(node.into())]);
    }
    let text = |key: &str| find::node(store.state(), key).map(|node| node.id.to_string());
    assert_eq!(text("ab1").unwrap(), "ab1");
    assert_eq!(text("ab").unwrap_err().to_string(), "node ab is ambiguous (2 matches found)");
}

#[test]
fn a_node_that_left_is_down_and_so_are_those_that_a_restored_cluster_left_behind() {
    let mut store = world();
    let changes = node::gone(store.state(), &NodeId::new("w1"), AT);
    super::world::write(&mut store, changes);
    let row = store.state().nodes().get("w1").unwrap().clone();
    assert_eq!(row.status.state, NodeState::Down);
    assert_eq!(row.status.message, "the node left the swarm");
    assert_eq!(row.record.as_ref().unwrap().state_since, AT);
    assert!(node::gone(store.state(), &NodeId::new("w1"), AT).is_empty());
    assert!(node::gone(store.state(), &NodeId::new("nobody"), AT).is_empty());

    let changes = crate::left_behind(store.state(), AT);
    super::world::write(&mut store, changes);
    let down = |node: &std::sync::Arc<Node>| node.status.state == NodeState::Down;
    assert!(store.state().nodes().iter().all(down));
}

#[test]
fn the_clusters_settings_have_defaults_and_bounds() {
    let store = world();
    let mut store = store;
    let mut founded = Cluster::clone(cluster::get(store.state()).unwrap());
    founded.record = Some(ca::found(AT).unwrap());
    super::world::write(&mut store, vec![Change::Update(founded.into())]);
    let state = store.state();
    let old = cluster::get(state).unwrap();
    let update = |spec: Value, version| {
        let update = cluster::Update {
            version,
            spec: types::json::from_value(spec).unwrap(),
            ..cluster::Update::default()
        };
        let fresh =
            cluster::Fresh { worker_token: [1; 16], manager_token: [2; 16], unlock_key: [3; 32] };
        cluster::update(state, &update, &fresh, AT)
    };
    let version = old.meta.version.index;
    let refused = |spec: Value| outcome(state, update(spec, version));
    assert_eq!(refused(json!({"Name": "x"})), "400 swarm spec must be named \"default\"");
    assert_eq!(
        refused(json!({"CAConfig": {"NodeCertExpiry": 1}})),
        "400 rpc error: code = InvalidArgument desc = minimum certificate expiry time is: 1h0m0s"
    );
    assert_eq!(
        refused(json!({"Dispatcher": {"HeartbeatPeriod": -1}})),
        "400 rpc error: code = InvalidArgument desc = heartbeat time period cannot be a negative duration"
    );
    let refused_by = |spec: Value| refused(json!({ "CAConfig": spec }));
    let external = refused_by(json!({"ExternalCAs": [{"Protocol": "cfssl", "URL": "https://x"}]}));
    assert!(external.starts_with("400 rpc error: code = InvalidArgument desc = external CAs are"));
    let alone = refused_by(json!({"SigningCACert": "x"}));
    assert!(alone.contains("the signing CA certificate and its key must be given together"));
    let nonsense = refused_by(json!({"SigningCACert": "x", "SigningCAKey": "y"}));
    assert!(nonsense.contains("InvalidArgument desc = the signing CA certificate"), "{nonsense}");
    let own = ca::found(AT).unwrap().root;
    let wanted = json!({"SigningCACert": own.certificate, "SigningCAKey": own.key});
    let changed = update(json!({ "CAConfig": wanted }), version).unwrap();
    let Change::Update(store::Object::Cluster(changed)) = &changed[0] else { panic!() };
    assert!(changed.root_rotation_in_progress);
    let next = changed.record.as_ref().unwrap().next_root.as_ref().unwrap();
    assert_eq!(next.certificate, own.certificate);
    assert!(changed.spec.ca_config.signing_ca_key.is_empty(), "the key is shown");
    assert_eq!(
        outcome(state, update(json!({}), version + 1)),
        "500 rpc error: code = Unknown desc = update out of sequence"
    );
    let locked = update(json!({"EncryptionConfig": {"AutoLockManagers": true}}), version).unwrap();
    let Change::Update(store::Object::Cluster(cluster)) = &locked[0] else { panic!("no cluster") };
    assert!(cluster.record.as_ref().unwrap().unlock_key.starts_with("SWMKEY-1-"));
    assert_eq!(cluster.spec.dispatcher.heartbeat_period, 5_000_000_000);
}
