use super::*;
use netplan::overlay::LocalSix;
use std::net::Ipv6Addr;
use types::ContainerId;
use types::six::SixSubnet;
use types::subnet::Subnet;

#[test]
fn a_kernel_without_ipv6_gets_the_rest() {
    let subnet = Subnet::new(Ipv4Addr::new(10, 0, 0, 0), 24);
    let six = SixSubnet::new(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0), 64);
    let local = LocalPlan {
        container: ContainerId::new("c"),
        interface: "eth0".to_owned(),
        address: Ipv4Addr::new(10, 0, 0, 9),
        subnet,
        leads_out: true,
        mtu: 1450,
        six: Some(LocalSix { address: six.gateway(), subnet: six, leads_out: true }),
    };
    let back = ReturnPath {
        peer: Ipv4Addr::new(192, 168, 0, 2),
        by: Mode::Vxlan,
        mark: 7,
        table: 7,
        from: [subnet].into(),
        to: BTreeSet::new(),
        from_six: [six].into(),
    };
    let mut plan = OverlayPlan::default();
    plan.unreachable.insert(subnet);
    plan.locals.insert("smt0a000009".to_owned(), local.clone());
    plan.returns.insert(back.clone());
    plan.six.unreachable.insert(six);
    plan.six.rules.table = "sampan_overlay_0a1b2c3d".to_owned();
    assert_eq!(*without_six(&plan, true), plan);

    let mut rest = OverlayPlan::default();
    rest.unreachable.insert(subnet);
    rest.locals.insert("smt0a000009".to_owned(), LocalPlan { six: None, ..local });
    rest.returns.insert(ReturnPath { from_six: BTreeSet::new(), ..back });
    assert_eq!(*without_six(&plan, false), rest);
}
