//! What the cluster gives out, and how it refuses.

use allocator::cluster::{ClusterAllocError, NetworkBlocks, PublishedPorts, Vnis};
use proptest::prelude::{any, prop, prop_assert, proptest};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use types::subnet::{Cidr, Subnet};
use types::swarm::service::{EndpointSpec, PortConfig};
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
