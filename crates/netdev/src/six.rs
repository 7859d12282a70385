//! Applies the IPv6 plan: addresses on bridges and in sandboxes, default routes, the table of rules.
//!
//! Everything is `ensure`: a step that was done before is done again without harm. What belongs to a bridge or a sandbox
//! that is removed goes with it; only the rules have to be taken away.

use crate::link::{Route, UP, default_route, existing, ifinfo};
use crate::netdev::NetDev;
use crate::netlink::{CREATE, REPLACE, Request};
use crate::nft::Ledger;
use crate::sandbox::{Sandboxes, run_in};
use netplan::{SixEndpoint, SixPlan};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Command, Stdio};

/// linux/if_addr.h: usable at once. Nobody else gives out these addresses, so nobody need be asked.
const IFA_F_NODAD: u8 = 0x02;

/// IPv6 of one network namespace, as far as it is ours.
#[derive(Debug)]
pub struct Six {
    sandboxes: Sandboxes,
    /// Told of each change of rules, so that it is not taken for a stranger's.
    ledger: Ledger,
    /// `None` before the first plan and after a failure: then nothing is taken for done.
    applied: Option<SixPlan>,
}

impl Six {
    /// In the namespace of `device`, with its sandboxes.
    pub fn beside(device: &NetDev) -> Self {
        Six { sandboxes: device.sandboxes().clone(), ledger: device.ledger(), applied: None }
    }

    /// Makes the calling thread's namespace and the sandboxes hold `plan`; `again`: also what was done before. Goes on
    /// after a failure and returns the first.
    pub fn apply(&mut self, plan: &SixPlan, again: bool) -> io::Result<()> {
        let before = self.applied.take().filter(|_| !again);
        if before.as_ref() == Some(plan) {
            self.applied = before;
            return Ok(());
        }
        let mut outcome = Ok(());
        let mut note = |done: io::Result<()>| {
            if outcome.is_ok() {
                outcome = done;
            }
        };
        if !plan.is_empty() {
            note(forward());
        }
        note(address_bridges(plan));
        let done: BTreeSet<&SixEndpoint> =
            before.iter().flat_map(|before| &before.endpoints).collect();
        for endpoint in plan.endpoints.iter().filter(|endpoint| !done.contains(endpoint)) {
            let path = self.sandboxes.path(&endpoint.sandbox);
            note(run_in(&path, || address_endpoint(endpoint)).map_err(|err| err.source));
        }
        let text = plan.ruleset();
        let wanted = match &before {
            Some(before) => before.ruleset() != text,
            // A daemon before this one may have left a table.
            None => !plan.is_empty() || is_there(&plan.table()),
        };
        if wanted {
            note(self.ledger.around(|| nft(&text)));
        }
        outcome?;
        self.applied = Some(plan.clone());
        Ok(())
    }
}

/// Lets the host forward. It then no longer listens to router advertisements unless told that it still should.
pub(crate) fn forward() -> io::Result<()> {
    let conf = Path::new("/proc/sys/net/ipv6/conf");
    let all = conf.join("all/forwarding");
    if fs::read_to_string(&all)?.trim() == "1" {
        return Ok(());
    }
    for entry in fs::read_dir(conf)?.flatten() {
        let accept = entry.path().join("accept_ra");
        let listens = fs::read_to_string(&accept).is_ok_and(|value| value.trim() == "1");
        let named = entry.file_name() != "all" && entry.file_name() != "default";
        if listens && named {
            fs::write(accept, "2")?;
        }
    }
    fs::write(all, "1")
}

fn address_bridges(plan: &SixPlan) -> io::Result<()> {
    if plan.is_empty() {
        return Ok(());
    }
    let mut route = Route::open()?;
    for (name, bridge) in &plan.bridges {
        enable(name)?;
        let link = route.link(name)?.ok_or(Errno::ENODEV)?;
        add_address(&mut route, link.index, bridge.gateway, bridge.prefix_len)?;
    }
    Ok(())
}

fn address_endpoint(endpoint: &SixEndpoint) -> io::Result<()> {
    enable(&endpoint.interface)?;
    let mut route = Route::open()?;
    let link = route.link(&endpoint.interface)?.ok_or(Errno::ENODEV)?;
    route.0.run(Request::new(libc::RTM_SETLINK, 0, &ifinfo(link.index, UP, UP)))?;
    add_address(&mut route, link.index, endpoint.address, endpoint.prefix_len)?;
    let Some(gateway) = endpoint.gateway else { return Ok(()) };
    let default = Request::new(libc::RTM_NEWROUTE, REPLACE, &default_route(libc::AF_INET6))
        .attr(libc::RTA_GATEWAY, &gateway.octets())
        .u32(libc::RTA_OIF, link.index);
    route.0.run(default)
}

/// Sandboxes and some hosts have IPv6 switched off for new interfaces.
pub(crate) fn enable(interface: &str) -> io::Result<()> {
    let conf = Path::new("/proc/sys/net/ipv6/conf").join(interface);
    fs::write(conf.join("accept_dad"), "0")?;
    fs::write(conf.join("disable_ipv6"), "0")
}

pub(crate) fn add_address(
    route: &mut Route,
    index: u32,
    address: Ipv6Addr,
    prefix_len: u8,
) -> io::Result<()> {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let header = [libc::AF_INET6 as u8, prefix_len, IFA_F_NODAD, 0, i0, i1, i2, i3];
    let request = Request::new(libc::RTM_NEWADDR, CREATE, &header)
        .attr(libc::IFA_LOCAL, &address.octets())
        .attr(libc::IFA_ADDRESS, &address.octets());
    for outcome in route.0.call(vec![request])? {
        existing(outcome)?;
    }
    Ok(())
}

fn is_there(table: &str) -> bool {
    let listed = Command::new("nft").args(["list", "tables", "ip6"]).output();
    listed.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(table))
}

fn nft(text: &str) -> io::Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
