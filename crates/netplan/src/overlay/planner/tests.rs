use super::*;
use proptest::prelude::*;
use types::port::Protocol;
use types::subnet::Subnet;
use types::swarm::endpoint::{NetworkRow, PeerRow, PolicyRow, Rows, Vip};
use types::swarm::network::{Mode, NodeBlock};
use types::swarm::policy::PolicyPort;
use types::swarm::service::PortConfig;
use types::{ContainerId, NodeId, TaskId};

const NETWORKS: u32 = 4;
const SERVICES: u32 = 30;
const TASKS: u32 = 90;

fn network_id(number: u32) -> NetworkId {
    NetworkId::new(format!("net{}", number % NETWORKS))
}

fn service_id(number: u32) -> ServiceId {
    ServiceId::new(format!("s{:02}", number % SERVICES))
}

fn address(network: u32, host: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + (network % NETWORKS) * 65536 + host)
}

/// The second has IPv6, the third no encapsulation, the last is the ingress network.
fn network(number: u32) -> NetworkRow {
    let six = "fd00:1::/64".parse().unwrap();
    let block = |node: u32| NodeBlock {
        block: Subnet::new(address(number, node * 256), 24),
        node: NodeId::new(format!("n{node}")),
    };
    NetworkRow {
        id: network_id(number),
        name: format!("name{number}"),
        subnet: Subnet::new(address(number, 0), 16),
        gateway: address(number, 1),
        six: (number == 1).then_some(six),
        mode: if number == 2 { Mode::Direct } else { Mode::Vxlan },
        internal: number == 0,
        ingress: number == 3,
        blocks: (1..3).map(block).collect(),
        policy: Vec::new(),
    }
}

fn peer(number: u32) -> PeerRow {
    PeerRow {
        node: NodeId::new(format!("n{number}")),
        underlay: Ipv4Addr::from_bits(0xc000_0200 + number),
        wire_key: String::new(),
    }
}

fn service(number: u32, seed: u32) -> ServiceRow {
    let number = number % SERVICES;
    let vip =
        |network| Vip { network: network_id(network), address: address(network, 60_000 + number) };
    let port = |published: u32| PortConfig {
        // Few, so that services meet.
        published_port: u16::try_from(8000 + published % 5).unwrap(),
        target_port: 80,
        protocol: if published.is_multiple_of(2) { "tcp".to_owned() } else { "udp".to_owned() },
        ..PortConfig::default()
    };
    ServiceRow {
        id: service_id(number),
        name: format!("service{number}"),
        vips: (0..NETWORKS).filter(|network| (seed >> network) & 1 == 0).map(vip).collect(),
        ports: (0..seed % 3).map(|count| port(seed / 8 + count)).collect(),
        check: None,
    }
}

fn endpoint(number: u32, seed: u32) -> EndpointRow {
    let number = number % TASKS;
    let is_outside = seed.is_multiple_of(11);
    EndpointRow {
        task: TaskId::new(format!("t{number:03}")),
        network: network_id(number / 3),
        node: NodeId::new(if is_outside { String::new() } else { format!("n{}", seed % 4) }),
        // Some have an address in common.
        address: address(number / 3, 256 + (number + seed % 2) % 70),
        state: match seed % 5 {
            0 => EndpointState::Starting,
            1 => EndpointState::Draining,
            _ => EndpointState::Healthy,
        },
        weight: seed % 4,
        service: (!seed.is_multiple_of(7)).then(|| service_id(number / 2 + seed % 2)),
        slot: 1,
        name: format!("name{number}"),
        aliases: Vec::new(),
    }
}

fn place(number: u32, seed: u32) -> Here {
    Here {
        container: ContainerId::new(if seed.is_multiple_of(6) {
            String::new()
        } else {
            format!("c{number}")
        }),
        network: network_id(number),
        address: address(number, 512 + number),
        interface: format!("eth{number}"),
        leads_out: seed.is_multiple_of(2),
        leads_out_six: seed.is_multiple_of(2),
        published: (0..seed % 2).map(|port| (Protocol::Tcp, 80 + port as u16)).collect(),
    }
}

fn policy(seed: u32) -> PolicyRow {
    PolicyRow {
        to: vec![service_id(seed)],
        from: (!seed.is_multiple_of(3)).then(|| vec![service_id(seed / 3), service_id(seed / 7)]),
        ports: (0..seed % 2).map(|_| PolicyPort { protocol: Protocol::Tcp, port: 80 }).collect(),
        to_places: vec![TaskId::new(format!("t{:03}", seed % TASKS))],
        from_places: Vec::new(),
    }
}

#[derive(Debug)]
struct World {
    table: EndpointTable,
    me: Me,
    places: Vec<Here>,
}

impl World {
    fn new() -> Self {
        let table = EndpointTable {
            version: 1,
            networks: (0..NETWORKS).map(network).collect(),
            peers: (1..3).map(peer).collect(),
            services: (0..SERVICES / 2).map(|number| service(number, number * 5)).collect(),
            endpoints: (0..TASKS / 2).map(|number| endpoint(number, number * 3)).collect(),
            ..EndpointTable::default()
        };
        let me = Me {
            node: NodeId::new("n1"),
            instance: "0a1b2c3d".to_owned(),
            underlay_mtu: 1500,
            tunnel_port: 4789,
        };
        World { table, me, places: vec![place(1, 1)] }
    }

    fn step(&mut self, kind: u8, number: u32, seed: u32) {
        self.table.version += 1;
        let table = &mut self.table;
        match kind {
            0..=5 => table.endpoints.put(Arc::new(endpoint(number, seed))),
            6 | 7 => {
                let row = endpoint(number, 0);
                table.endpoints.remove(&(row.task, row.network));
            }
            // Many at once.
            8 => (0..number % TASKS)
                .for_each(|number| table.endpoints.put(Arc::new(endpoint(number, seed + number)))),
            9 | 10 => table.services.put(Arc::new(service(number, seed))),
            11 => table.services.remove(&service_id(number)),
            12 => self.places.push(place(number % 200, seed)),
            13 => drop(self.places.pop()),
            14 => {
                let mut row = network(number % NETWORKS);
                row.policy = (0..seed % 3).map(|count| policy(seed + count)).collect();
                table.networks.put(Arc::new(row));
            }
            15 => table.networks.remove(&network_id(number)),
            16 => table.peers.put(Arc::new(peer(1 + number % 4))),
            // Told anew: the same, and nothing of it the same in memory.
            17 => table.endpoints = table.endpoints.iter().cloned().collect(),
            18 => table.services = table.services.iter().cloned().collect(),
            19 => table.networks = table.networks.iter().cloned().collect(),
            20 => self.me.underlay_mtu = 1400 + number % 3,
            21 => table.endpoints = Rows::default(),
            // In no order that anybody knows.
            _ => table.endpoints = table.endpoints.shared().iter().rev().cloned().collect(),
        }
    }
}

fn is_same(one: &OverlayRules, two: &OverlayRules) -> bool {
    (Arc::ptr_eq(&one.choices, &two.choices) || one.family.is_empty())
        && one.elements.iter().all(|(set, elements)| Arc::ptr_eq(elements, &two.elements[set]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happened before, a plan says what a new planner's first plan says; and what it says as the last one
    /// did is the same in memory.
    #[test]
    fn a_planner_says_what_a_new_one_would(
        steps in proptest::collection::vec((0u8..23, 0u32..1000, 0u32..100_000), 1..40)
    ) {
        let mut world = World::new();
        let mut planner = Planner::default();
        planner.plan(&world.table, &world.me, &world.places);
        for (kind, number, seed) in steps {
            world.step(kind, number, seed);
            let planned = planner.plan(&world.table, &world.me, &world.places);
            prop_assert_eq!(&planned, &plan(&world.table, &world.me, &world.places));
            let again = planner.plan(&world.table, &world.me, &world.places);
            prop_assert!(Arc::ptr_eq(&again.offered, &planned.offered));
            prop_assert!(Arc::ptr_eq(&again.held, &planned.held));
            prop_assert!(is_same(&again.rules, &planned.rules));
            prop_assert!(is_same(&again.six.rules, &planned.six.rules));
        }
    }
}

/// One endpoint drains: only its services' choices are others, and what does not say who is offered stays in memory.
#[test]
fn what_did_not_change_is_the_same_in_memory() {
    let mut world = World::new();
    let mut planner = Planner::default();
    let before = planner.plan(&world.table, &world.me, &world.places);
    let row = world.table.endpoints.iter().find(|row| is_offered(row) && row.service.is_some());
    let row = EndpointRow { state: EndpointState::Draining, ..row.unwrap().clone() };
    world.table.endpoints.put(Arc::new(row));
    world.table.version += 1;
    world.places.push(place(7, 1));
    let after = planner.plan(&world.table, &world.me, &world.places);
    assert!(Arc::ptr_eq(&before.held, &after.held));
    assert!(!Arc::ptr_eq(&before.rules.choices, &after.rules.choices));
    for (set, elements) in &before.rules.elements {
        // Places' own, and those of a service that has nobody to lead to any more.
        if !["tasks", "owners", "itself", "mesh", "ports", "vips"].contains(set) {
            assert!(Arc::ptr_eq(elements, &after.rules.elements[set]), "{set}");
        }
    }
    // A whole table that says the same, after a new session's first message.
    world.table.endpoints = world.table.endpoints.iter().cloned().collect();
    world.table.networks = world.table.networks.iter().cloned().collect();
    world.me.underlay_mtu -= 1;
    let told_again = planner.plan(&world.table, &world.me, &world.places);
    assert!(
        is_same(&after.rules, &told_again.rules)
            && is_same(&after.six.rules, &told_again.six.rules)
    );
    assert!(Arc::ptr_eq(&after.offered, &told_again.offered));
}
