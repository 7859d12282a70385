//! The task's end of a pair, from inside its sandbox.

use crate::fib::{Block, Choice, End, MAIN, Owner, Path, Way};
use crate::link::Route;
use crate::six;
use netplan::overlay::{LocalPlan, LocalSix, SANDBOX_GATEWAY, SANDBOX_GATEWAY_SIX};
use std::fs;
use std::io;
use types::subnet::Cidr;

/// A sandbox is all ours: its routes need not be told from others'.
const INSIDE: Owner = Owner { metric: 0, preference: 10_000 };
/// IPv6 takes a metric of 0 for its usual one, and tells that.
const INSIDE_SIX: Owner = Owner { metric: 1024, preference: 10_000 };

/// Address and routes of the plan's interface; fine when they are there.
///
/// The host drops what a task sends as another than the address of the link it comes by. So what has an address
/// leaves by its link (one routing table for each, its number is the IPv4 address), and what has none yet gets that of
/// the network it is sent to.
pub(super) fn configure(plan: &LocalPlan) -> io::Result<()> {
    let interface = plan.interface.as_str();
    let mut route = Route::open()?;
    // Answers may leave by another link than the default route's.
    for name in ["all", interface] {
        fs::write(format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"), "0")?;
    }
    let address = Cidr { address: plan.address, prefix_len: 32 };
    let device = route.ensure_interface(interface, address)?;
    let table = plan.address.to_bits();
    let way =
        Way::Via { gateway: SANDBOX_GATEWAY.into(), device, source: Some(plan.address.into()) };
    let from = Block::only(plan.address);
    lead(&mut route, INSIDE, way, from, (plan.subnet.into(), Block::ALL), table, plan.leads_out)?;
    match &plan.six {
        Some(six) => configure_six(&mut route, interface, device, table, six),
        None => Ok(()),
    }
}

fn configure_six(
    route: &mut Route,
    interface: &str,
    device: u32,
    table: u32,
    plan: &LocalSix,
) -> io::Result<()> {
    six::enable(interface)?;
    six::add_address(route, device, plan.address, 128)?;
    let way =
        Way::Via { gateway: SANDBOX_GATEWAY_SIX.into(), device, source: Some(plan.address.into()) };
    let from = Block::only(plan.address);
    lead(route, INSIDE_SIX, way, from, (plan.subnet.into(), Block::ALL_SIX), table, plan.leads_out)
}

/// The container's `way` to its own network, and from its address `from` to everywhere; to everywhere at all if the
/// network `leads_out`. `to`: the network, and everything.
fn lead(
    route: &mut Route,
    inside: Owner,
    way: Way,
    from: Block,
    to: (Block, Block),
    table: u32,
    leads_out: bool,
) -> io::Result<()> {
    let (network, all) = to;
    let out = leads_out.then_some((MAIN, all));
    for (table, to) in [(MAIN, network), (table, all)].into_iter().chain(out) {
        route.put_path(inside, &Path { table, to, way: way.clone() })?;
    }
    route.put_choice(inside, &Choice { end: End::From(from), mark: 0, table })
}
