//! The task's end of a pair, from inside its sandbox.

use crate::fib::{Choice, MAIN, Owner, Path, Way};
use crate::link::Route;
use netplan::overlay::{LocalPlan, SANDBOX_GATEWAY};
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use types::subnet::{Cidr, Subnet};

/// A sandbox is all ours: its routes need not be told from others'.
const INSIDE: Owner = Owner { metric: 0, preference: 10_000 };

/// Address and routes of the plan's interface; fine when they are there.
///
/// The host drops what a task sends as another than the address of the link it comes by. So what has an address
/// leaves by its link (one routing table for each, its number is the address), and what has none yet gets that of
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
    let way = Way::Via { gateway: SANDBOX_GATEWAY, device, source: Some(plan.address) };
    let everything = Subnet::new(Ipv4Addr::UNSPECIFIED, 0);
    let table = plan.address.to_bits();
    let mut paths = vec![(MAIN, plan.subnet), (table, everything)];
    if plan.leads_out {
        paths.push((MAIN, everything));
    }
    for (table, to) in paths {
        route.put_path(INSIDE, &Path { table, to, way: way.clone() })?;
    }
    let from = Subnet::new(plan.address, 32);
    route.put_choice(INSIDE, &Choice { from, mark: 0, table })
}
