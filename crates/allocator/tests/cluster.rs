//! What the cluster gives out, and how it refuses.

#[path = "support/world.rs"]
mod world;

use allocator::cluster::{ClusterAllocError, NetworkBlocks, PublishedPorts, Vnis};
use proptest::prelude::{Strategy, any, prop, prop_assert, proptest};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use types::subnet::{Cidr, Subnet};
use types::swarm::network::NodeBlock;
use types::swarm::service::{EndpointSpec, PortConfig, VirtualIp};
use types::swarm::task::Task;
use types::{NodeId, ServiceId};

fn network(subnet: &str) -> NetworkBlocks {
    let subnet = subnet.parse::<Cidr>().expect("a subnet").subnet();
    let gateway = Ipv4Addr::from_bits(subnet.network().to_bits() + 1);
    NetworkBlocks::new("web", subnet, gateway)
}
fn node(number: usize) -> NodeId {
    NodeId::new(format!("n{number}"))
}
fn service(number: usize) -> ServiceId {
    ServiceId::new(format!("s{number}"))
}
fn port(target: u16, published: u16) -> PortConfig {
    PortConfig { target_port: target, published_port: published, ..PortConfig::default() }
}
fn spec(ports: &[PortConfig]) -> EndpointSpec {
    EndpointSpec { ports: ports.to_vec(), ..EndpointSpec::default() }
}

#[test]
fn nodes_get_blocks_of_64_and_vips_come_from_the_first() {
    let mut web = network("10.0.0.0/16");
    assert_eq!(web.allocate_block(&node(1)).unwrap().to_string(), "10.0.0.64/26");
    assert_eq!(web.allocate_block(&node(2)).unwrap().to_string(), "10.0.0.128/26");
    assert_eq!(web.allocate_vip(&service(1)).unwrap().to_string(), "10.0.0.2");
    assert_eq!(web.allocate_vip(&service(2)).unwrap().to_string(), "10.0.0.3");
    assert_eq!(web.allocate_vip(&service(1)).unwrap().to_string(), "10.0.0.2");
    web.release_node(&node(1));
    assert_eq!(web.allocate_block(&node(3)).unwrap().to_string(), "10.0.0.64/26");
}

#[test]
fn vips_that_fill_their_block_take_one_from_the_top() {
    let mut web = network("10.0.0.0/16");
    let vips: Vec<_> =
        (0..63).map(|at| web.allocate_vip(&service(at)).unwrap().to_string()).collect();
    assert_eq!(vips[61..], ["10.0.0.63", "10.0.255.192"]);
    let top = "10.0.255.192/26".parse::<Cidr>().unwrap().subnet();
    assert!(web.claim_block(&node(1), top).is_err());
    web.release_vip(&service(62));
    assert_eq!(web.claim_block(&node(1), top), Ok(()), "without VIPs it is everybody's again");
}

#[test]
fn a_docker_sized_network_has_room_for_a_small_cluster_and_then_says_how_to_widen_it() {
    let mut web = network("10.0.1.0/24");
    assert_eq!(web.block_prefix(), 29);
    for at in 0..31 {
        web.allocate_block(&node(at)).unwrap();
    }
    assert_eq!(
        web.allocate_block(&node(31)).unwrap_err().to_string(),
        "network web has no free block for a node in 10.0.1.0/24: recreate it with a larger --subnet, or create networks with a larger --default-addr-pool-mask-length"
    );
    for at in 0..6 {
        web.allocate_vip(&service(at)).unwrap();
    }
    assert!(matches!(web.allocate_vip(&service(6)), Err(ClusterAllocError::VipsExhausted { .. })));
}

#[test]
fn what_the_store_holds_is_claimed_and_never_given_again() {
    let mut web = network("10.0.0.0/16");
    let first = web.clone().allocate_block(&node(1)).unwrap();
    web.claim_block(&node(1), first).unwrap();
    web.claim_block(&node(1), first).unwrap();
    assert!(matches!(web.claim_block(&node(2), first), Err(ClusterAllocError::InUse { .. })));
    assert_ne!(web.allocate_block(&node(2)).unwrap(), first);
    let foreign = Subnet::new(Ipv4Addr::new(10, 9, 0, 0), 26);
    assert!(matches!(
        web.claim_block(&node(1), foreign),
        Err(ClusterAllocError::OutOfRange { .. })
    ));
    assert!(matches!(
        web.claim_vip(&service(1), first.network()),
        Err(ClusterAllocError::InUse { .. })
    ));
}

#[test]
fn a_published_port_belongs_to_one_service_and_an_open_one_keeps_its_number() {
    let mut ports = PublishedPorts::default();
    let fixed = spec(&[port(80, 80)]);
    assert_eq!(ports.allocate(&service(1), &fixed, &[]).unwrap(), [port(80, 80)]);
    let before = ports.clone();
    assert_eq!(
        ports
            .allocate(&service(2), &spec(&[port(1, 0), port(80, 80)]), &[])
            .unwrap_err()
            .to_string(),
        "port '80' is already in use by service 's1' as an ingress port"
    );
    assert_eq!(ports, before);
    let open = spec(&[port(80, 0), port(81, 0)]);
    let given = ports.allocate(&service(2), &open, &[]).unwrap();
    assert_eq!(given, [port(80, 30000), port(81, 30001)]);
    let fewer = spec(&[port(81, 0)]);
    assert_eq!(ports.allocate(&service(2), &fewer, &given).unwrap(), [port(81, 30001)]);
    ports.release(&service(1));
    assert_eq!(ports.allocate(&service(3), &fixed, &[]).unwrap(), [port(80, 80)]);
}

#[test]
fn vnis_begin_above_the_vlans_and_holes_are_filled() {
    let mut vnis = Vnis::default();
    assert_eq!((vnis.allocate(), vnis.allocate(), vnis.allocate()), (Ok(4097), Ok(4098), Ok(4099)));
    vnis.release(4098);
    assert_eq!((vnis.allocate(), vnis.claim(4098)), (Ok(4098), Err(ClusterAllocError::Vni(4098))));
}

proptest! {
    /// Whatever is taken and given back, no two nodes share an address, and no VIP lies in a node's block.
    #[test]
    fn nothing_is_owned_twice(steps in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..20), 0..200)) {
        let mut web = network("10.0.1.0/24");
        let (mut blocks, mut vips) = (BTreeMap::new(), BTreeMap::new());
        for (take, of_node, which) in steps {
            match (take, of_node) {
                (true, true) => {
                    if let Ok(block) = web.allocate_block(&node(which)) {
                        prop_assert!(blocks.insert(block, which).is_none());
                    }
                }
                (true, false) => {
                    if let Ok(vip) = web.allocate_vip(&service(which)) {
                        prop_assert!(vips.insert(vip, which).is_none_or(|holder| holder == which));
                    }
                }
                (false, true) => {
                    web.release_node(&node(which));
                    blocks.retain(|_, holder| *holder != which);
                }
                (false, false) => {
                    web.release_vip(&service(which));
                    vips.retain(|_, holder| *holder != which);
                }
            }
            prop_assert!(!vips.keys().any(|vip| blocks.keys().any(|block| block.contains(*vip))));
        }
    }
}

/// What the store says is held: network and address of each task and VIP, ports; each once.
fn held(world: &world::World) -> Vec<String> {
    let of_tasks = live(world).flat_map(|task| &task.networks_attachments);
    let addresses = of_tasks
        .flat_map(|of| of.addresses.iter().map(|address| format!("{} {address}", of.network)));
    let endpoints = || world.services.values().map(|service| &service.endpoint);
    let vips = endpoints()
        .flat_map(|endpoint| &endpoint.virtual_ips)
        .map(|vip| format!("{} {}", vip.network_id, vip.addr));
    let ports = endpoints()
        .flat_map(|endpoint| &endpoint.ports)
        .map(|port| format!("port {}", port.published_port));
    addresses.chain(vips).chain(ports).collect()
}

/// Commands on three networks, one of them small. The last number is of the wanted address, or of none.
type Command = (u8, usize, usize, usize, u8);

fn command() -> impl Strategy<Value = Command> {
    (0u8..8, 0usize..24, 0usize..5, 0usize..4, 0u8..64)
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    prop::collection::vec(command(), 1..80)
}

fn play(world: &mut world::World, commands: &[Command]) {
    for (what, which, node, networks, wanted) in commands {
        // Four blocks of `web` and all of `small`.
        let wish = |network: &str, step: u8| match wanted {
            0..32 => format!("=10.{network}.0.{}", wanted * step),
            _ => String::new(),
        };
        let (web, small) = (format!("web{}", wish("0", 8)), format!("small{}", wish("1", 1)));
        let both = format!("{web},{small}");
        let networks = [web.as_str(), &small, &both, "db"][*networks];
        match what {
            0..=2 | 7 => {
                world.run(&format!("gone-if-there {which}"));
                world.run(&format!("task t{which} at n{node} on {networks}"));
            }
            3 => drop(world.run(&format!("end-if-there t{which}"))),
            4 => drop(world.run(&format!("service s{node} on={networks} publish=:80"))),
            5 => drop(world.run(&format!("unserve s{node}"))),
            _ => drop(world.run("leader")),
        }
        match what {
            7 => world.lose_blocks(),
            _ => world.write_blocks(),
        }
        let settled = *what == 7 || world.allocator.changed_blocks().is_empty();
        assert!(settled, "what was written is to be written again: {:?}", world.networks);
    }
}

fn networks() -> world::World {
    let mut world = world::World::default();
    world.run("network web 10.0.0.0/16");
    world.run("network small 10.1.0.0/27");
    world.run("network db");
    world
}

/// Whether the task has an address of the block, on the block's node.
fn is_in(task: &Task, block: &NodeBlock, network: &str) -> bool {
    let mut there = task.networks_attachments.iter().filter(|of| of.network == network);
    task.node_id == block.node
        && there.any(|of| {
            of.addresses
                .iter()
                .any(|text| block.block.contains(text.parse::<Cidr>().expect("an address").address))
        })
}

fn live(world: &world::World) -> impl Iterator<Item = &Task> {
    world.tasks.values().filter(|task| !task.status.state.is_terminal())
}

proptest! {
    /// Whatever comes and goes, whatever the store refuses, and whoever leads: nothing is held twice, every task's
    /// address lies in a block of its node, a node without tasks has no block, and no VIP lies in a node's.
    #[test]
    fn no_two_hold_the_same(commands in commands()) {
        let mut world = networks();
        play(&mut world, &commands);
        world.write_blocks();
        let held = held(&world);
        let once: BTreeSet<&String> = held.iter().collect();
        prop_assert!(once.len() == held.len(), "{held:?}");
        for task in live(&world) {
            for of in &task.networks_attachments {
                let blocks = &world.networks[&of.network].blocks;
                prop_assert!(blocks.iter().any(|block| is_in(task, block, &of.network)), "{task:?}");
            }
        }
        let vips = || world.services.values().flat_map(|service| &service.endpoint.virtual_ips);
        for (name, network) in &world.networks {
            for it in &network.blocks {
                prop_assert!(live(&world).any(|task| is_in(task, it, name)), "{name} {it:?}");
                let in_it = |vip: &VirtualIp| {
                    vip.network_id == *name && it.block.contains(vip.addr.parse::<Cidr>().unwrap().address)
                };
                prop_assert!(!vips().any(in_it), "{name} {it:?}");
                let overlap = |other: &NodeBlock| {
                    other != it && other.block.overlaps(it.block)
                        && (other.block.prefix_len() == it.block.prefix_len() || other.node == it.node)
                };
                prop_assert!(!network.blocks.iter().any(overlap), "{name} {it:?}");
            }
        }
    }

    /// Whoever comes, with whatever address: nobody loses a block in which he has tasks.
    #[test]
    fn a_block_with_tasks_stays_its_nodes(before in commands(), then in command()) {
        let mut world = networks();
        play(&mut world, &before);
        world.write_blocks();
        let before = world.networks.clone();
        play(&mut world, &[then]);
        world.write_blocks();
        for (name, network) in &before {
            for it in network.blocks.iter().filter(|it| it.block.prefix_len() < 32) {
                let is_used = live(&world).any(|task| is_in(task, it, name));
                prop_assert!(!is_used || world.networks[name].blocks.contains(it), "{name} {it:?}");
            }
        }
    }

    /// A leader that followed every change and one that begins with the snapshot answer alike, and neither has
    /// anything left to write.
    #[test]
    fn following_changes_equals_starting_anew(commands in commands(), last in commands()) {
        let (mut followed, mut anew) = (networks(), networks());
        play(&mut followed, &commands);
        play(&mut anew, &commands);
        followed.write_blocks();
        anew.write_blocks();
        anew.new_leader();
        prop_assert!(followed.allocator.changed_blocks().is_empty());
        prop_assert!(anew.allocator.changed_blocks().is_empty());
        let last: Vec<_> = last.into_iter().filter(|(what, ..)| *what != 6).collect();
        play(&mut followed, &last);
        play(&mut anew, &last);
        prop_assert!(held(&followed) == held(&anew));
        let blocks = |world: &world::World| -> Vec<Vec<NodeBlock>> {
            world.networks.values().map(|network| network.blocks.clone()).collect()
        };
        prop_assert!(blocks(&followed) == blocks(&anew));
    }

    /// A full network that is emptied again has room for as much as before, whoever comes.
    #[test]
    fn what_is_given_back_is_given_again(count in 1usize..80) {
        let mut world = networks();
        let fill = |world: &mut world::World, kind: &str| {
            (0..count).filter(|at| world.attach(&format!("{kind}{at}"), &format!("n{}", at % 3), "small").is_ok()).count()
        };
        let first = fill(&mut world, "a");
        world.write_blocks();
        let names: Vec<String> = world.tasks.keys().cloned().collect();
        for name in names {
            world.run(&format!("ends {name}"));
        }
        world.write_blocks();
        prop_assert!(world.networks["small"].blocks.is_empty());
        prop_assert!(fill(&mut world, "b") == first);
    }
}

#[test]
fn a_range_within_the_subnet_is_all_that_is_given_out() {
    let subnet = "10.9.0.0/16".parse::<Cidr>().unwrap().subnet();
    let range = "10.9.4.0/24".parse::<Cidr>().unwrap().subnet();
    let mut web = NetworkBlocks::within("web", subnet, Ipv4Addr::new(10, 9, 0, 1), range);
    web.reserve(Ipv4Addr::new(10, 9, 4, 1));
    assert_eq!(web.allocate_vip(&service(1)).unwrap().to_string(), "10.9.4.0");
    assert_eq!(web.allocate_vip(&service(2)).unwrap().to_string(), "10.9.4.2");
    for at in 0..31 {
        assert!(range.contains(web.allocate_block(&node(at)).unwrap().network()));
    }
    assert!(web.allocate_block(&node(31)).is_err());
}

#[test]
fn a_wanted_address_in_anothers_block_is_a_block_of_one() {
    let mut web = network("10.0.0.0/16");
    let wanted = Ipv4Addr::new(10, 0, 0, 70);
    web.allocate_block(&node(1)).unwrap();
    web.pin(&node(1), wanted).unwrap();
    assert_eq!(web.pins().count(), 0, "it is in the node's own block");
    web.pin(&node(2), wanted).unwrap();
    let pins: Vec<String> = web.pins().map(|(block, node)| format!("{block} {node}")).collect();
    assert_eq!(pins, ["10.0.0.70/32 n2"]);
    web.pin(&node(2), Ipv4Addr::new(10, 0, 0, 2)).unwrap();
    assert_eq!(web.allocate_vip(&service(1)).unwrap().to_string(), "10.0.0.3");
    for taken in [Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 1)] {
        let refused = web.pin(&node(2), taken).unwrap_err().to_string();
        assert_eq!(refused, format!("address {taken} of network web is already in use"));
    }
    let outside = web.pin(&node(2), Ipv4Addr::new(192, 0, 2, 1)).unwrap_err().to_string();
    assert_eq!(outside, "address 192.0.2.1 does not belong to network web (10.0.0.0/16)");
}

fn blocks_of(world: &world::World, network: &str) -> Vec<String> {
    let blocks = world.networks[network].blocks.iter();
    blocks.map(|of| format!("{} {}", of.block, of.node)).collect()
}

#[test]
fn a_wanted_address_stays_a_block_of_one_whoever_leads() {
    let mut world = networks();
    world.run("task t1 at n1 on web=10.0.0.70");
    world.write_blocks();
    assert_eq!(blocks_of(&world, "web"), ["10.0.0.70/32 n1"]);
    assert_eq!(world.allocator.changed_blocks(), [], "written once");
    world.run("leader");
    assert_eq!(world.allocator.changed_blocks(), [], "the block is not taken with it");
    world.run("task t2 at n2 on web");
    world.write_blocks();
    assert_eq!(blocks_of(&world, "web"), ["10.0.0.64/26 n2", "10.0.0.70/32 n1"]);
    // The block's node goes, and with it the block; then the address's node takes it.
    world.run("ends t2");
    world.write_blocks();
    assert_eq!(blocks_of(&world, "web"), ["10.0.0.70/32 n1"]);
    world.run("task t3 at n1 on web");
    world.write_blocks();
    assert_eq!(blocks_of(&world, "web"), ["10.0.0.64/26 n1"]);
}

#[test]
fn blocks_full_of_wanted_addresses_are_passed_over() {
    let mut world = networks();
    for at in 4..8 {
        world.run(&format!("task low{at} at n1 on small=10.1.0.{at}"));
    }
    for at in 28..31 {
        world.run(&format!("task high{at} at n1 on small=10.1.0.{at}"));
    }
    let told = world.run("task t1 at n2 on small");
    assert!(
        ["8", "9", "10", "11"].iter().any(|at| told.contains(&format!("10.1.0.{at}/"))),
        "{told}"
    );
    let vips: String = (1..=3).map(|at| world.run(&format!("service s{at} on=small"))).collect();
    assert_eq!(vips, "10.1.0.2/27 on small\n10.1.0.3/27 on small\n10.1.0.24/27 on small\n");
}
