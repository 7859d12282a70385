use super::*;
use types::TaskId;
use types::swarm::service::{PortConfig, VirtualIp};
use types::swarm::task::NetworkAttachment;

fn node(name: &str, state: NodeState) -> Node {
    let mut node = Node { id: NodeId::new(name), ..Node::default() };
    (node.status.state, node.status.addr) = (state, "192.168.0.1".to_owned());
    node
}

fn task(name: &str, node: &str, state: TaskState, desired: TaskState) -> Task {
    let attachment = NetworkAttachment {
        network: "net".to_owned(),
        addresses: vec!["10.0.0.9/24".to_owned()],
        ..NetworkAttachment::default()
    };
    let mut task = Task { id: TaskId::new(name), node_id: NodeId::new(node), ..Task::default() };
    (task.service_id, task.slot) = (ServiceId::new("web"), 1);
    (task.status.state, task.desired_state) = (state, desired);
    task.networks_attachments = vec![attachment];
    task
}

#[test]
fn a_row_says_whether_anything_new_may_come() {
    use TaskState::{Failed, Pending, Preparing, Running, Shutdown};
    let mut service = Service { id: ServiceId::new("web"), ..Service::default() };
    service.spec.name = "web".to_owned();
    let vip = VirtualIp { network_id: "net".to_owned(), addr: "10.0.0.2/24".to_owned() };
    service.endpoint.virtual_ips = vec![vip];
    service.endpoint.ports = vec![PortConfig::default()];
    let mut nodes = [node("gone", NodeState::Down), node("n1", NodeState::Ready)];
    nodes[0].status.addr = "192.168.0.2".to_owned();
    let tasks = [
        task("drains", "n1", Running, Shutdown),
        task("ended", "n1", Failed, Running),
        task("lost", "gone", Running, Running),
        task("runs", "n1", Running, Running),
        task("starts", "n1", Preparing, Running),
        task("waits", "n1", Pending, Running),
    ];
    let table = rows(7, [].iter(), nodes.iter(), [service].iter(), tasks.iter());
    let told: Vec<String> = table
        .endpoints
        .iter()
        .map(|row| format!("{} {} {:?}", row.name, row.address, row.state))
        .collect();
    assert_eq!(
        told,
        [
            "web.1.drains 10.0.0.9 Draining",
            "web.1.runs 10.0.0.9 Healthy",
            "web.1.starts 10.0.0.9 Starting"
        ]
    );
    assert_eq!(table.services[0].vips[0].address, Ipv4Addr::new(10, 0, 0, 2));
    assert_eq!((table.version, table.peers.len()), (7, 2));
}

/// A machine that left by force and joined again is two nodes until the older one is removed; its routes to itself would be none.
#[test]
fn a_machine_is_one_peer_the_node_that_it_is_by_now() {
    use NodeState::{Down, Ready};
    let peers = |nodes: &[(&str, NodeState, i64)]| {
        let made = |(name, state, at): &(&str, NodeState, i64)| {
            let mut made = node(name, *state);
            made.meta.created_at = types::Timestamp::from_seconds(*at);
            made
        };
        let mut nodes: Vec<Node> = nodes.iter().map(made).collect();
        nodes.push(node("other", Ready));
        nodes.last_mut().unwrap().status.addr = "192.168.0.2".to_owned();
        let tasks = [task("runs", "other", TaskState::Running, TaskState::Running)];
        let table = rows(1, [].iter(), nodes.iter(), [].iter(), tasks.iter());
        table.peers.iter().map(|row| row.node.to_string()).collect::<Vec<_>>()
    };
    for (nodes, want) in [
        ([("a", Down, 1), ("b", Ready, 2)], "b"),
        ([("a", Ready, 2), ("b", Down, 1)], "a"),
        // Nobody has missed it yet.
        ([("a", Ready, 2), ("b", Ready, 1)], "a"),
        // One that is there goes before one that is not, whichever came first.
        ([("a", Down, 2), ("b", Ready, 1)], "b"),
        // Its containers may still run, and send.
        ([("a", Down, 1), ("b", Down, 2)], "b"),
    ] {
        assert_eq!(peers(&nodes), [want, "other"], "{nodes:?}");
    }
}

#[test]
fn published_ports_have_ipv6_once_there_is_one() {
    let network = |name: &str, ingress| {
        let mut network = ClusterNetwork { id: NetworkId::new(name), ..ClusterNetwork::default() };
        (network.subnet, network.gateway) = ("10.0.0.0/24".to_owned(), "10.0.0.1".to_owned());
        network.six = "fd00::/64".parse().ok();
        network.spec.ingress = ingress;
        network
    };
    let networks = [network("net", true), network("other", false), network("third", true)];
    let nodes = [node("n1", NodeState::Ready)];
    let tasks = [task("starts", "n1", TaskState::Preparing, TaskState::Running)];
    let table = rows(7, networks.iter(), nodes.iter(), [].iter(), tasks.iter());
    let told: Vec<_> =
        table.networks.iter().map(|row| (row.id.as_str(), row.six.is_some())).collect();
    assert_eq!(told, [("net", true), ("other", true), ("third", false)]);
}

#[test]
fn a_policy_means_the_services_that_have_its_name_or_label_by_now() {
    let service = |name: &str, tier: &str| {
        let mut service =
            Service { id: ServiceId::new(format!("id-{name}")), ..Service::default() };
        service.spec.name = name.to_owned();
        service.spec.labels.insert("tier".to_owned(), tier.to_owned());
        service
    };
    let services = [service("a", "front"), service("b", "front"), service("db", "back")];
    let words = |text: &[&str]| text.iter().map(|text| (*text).to_owned()).collect();
    let rule = |to: &str, from: &[&str], ports: &[&str]| PolicyRule {
        to: to.to_owned(),
        from: words(from),
        ports: words(ports),
        ..PolicyRule::default()
    };
    let network = ClusterNetwork {
        id: NetworkId::new("net"),
        subnet: "10.0.0.0/24".to_owned(),
        gateway: "10.0.0.1".to_owned(),
        policies: vec![
            rule("db", &["label=tier=front", "a"], &["5432"]),
            rule("label=tier", &[], &[]),
        ],
        ..ClusterNetwork::default()
    };
    let table = rows(1, [network].iter(), [].iter(), services.iter(), [].iter());
    let ids = |names: &[&str]| -> Vec<ServiceId> {
        names.iter().map(|name| ServiceId::new(format!("id-{name}"))).collect()
    };
    let port = PolicyPort { protocol: types::port::Protocol::Tcp, port: 5432 };
    let expected = [
        PolicyRow {
            to: ids(&["db"]),
            from: Some(ids(&["a", "b"])),
            ports: vec![port],
            ..PolicyRow::default()
        },
        PolicyRow {
            to: ids(&["a", "b", "db"]),
            from: None,
            ports: Vec::new(),
            ..PolicyRow::default()
        },
    ];
    assert_eq!(table.networks[0].policy, expected);
}
