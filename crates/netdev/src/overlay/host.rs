//! Addresses that the host itself has in the cluster's networks: on the loopback device, where no link can take them along.
//! They carry a label of the instance.

use crate::error::Failure;
use crate::link::Route;
use crate::netdev::Steps;
use crate::netlink::{CREATE, Request, find, read_text};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;

/// The first device of every namespace.
pub(super) const LOOPBACK: u32 = 1;

/// Makes the loopback device have these and no others of ours.
pub(super) fn ensure(
    route: &mut Route,
    label: &str,
    wanted: &BTreeSet<Ipv4Addr>,
    steps: &mut Steps,
) {
    let Some(have) = steps.take("list the host's addresses", addresses(route, label)) else {
        return;
    };
    for address in wanted.difference(&have) {
        let step = format!("give the host address {address}");
        steps.take(&step, change(route, libc::RTM_NEWADDR, CREATE, *address, label));
    }
    for address in have.difference(wanted) {
        match change(route, libc::RTM_DELADDR, 0, *address, label) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(Errno::EADDRNOTAVAIL as i32) => {}
            Err(source) => {
                let step = format!("take address {address} from the host");
                steps.extend(vec![Failure { step, source }]);
            }
        }
    }
}

fn addresses(route: &mut Route, label: &str) -> io::Result<BTreeSet<Ipv4Addr>> {
    let mut found = BTreeSet::new();
    let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];
    route.0.dump(Request::new(libc::RTM_GETADDR, 0, &header), |payload| {
        let Some(attributes) = payload.get(8..) else { return };
        let is_ours =
            find(attributes, libc::IFA_LABEL).is_some_and(|text| read_text(text) == label);
        let address = find(attributes, libc::IFA_LOCAL).and_then(|it| <[u8; 4]>::try_from(it).ok());
        found.extend(address.filter(|_| is_ours).map(Ipv4Addr::from));
    })?;
    Ok(found)
}

fn change(
    route: &mut Route,
    kind: u16,
    flags: u16,
    address: Ipv4Addr,
    label: &str,
) -> io::Result<()> {
    let [i0, i1, i2, i3] = LOOPBACK.to_ne_bytes();
    // struct ifaddrmsg: family, prefix length, flags, scope, index. Of the link's scope: it is no source for anything else.
    let header = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_LINK, i0, i1, i2, i3];
    let request = Request::new(kind, flags, &header)
        .attr(libc::IFA_LOCAL, &address.octets())
        .attr(libc::IFA_ADDRESS, &address.octets())
        .text(libc::IFA_LABEL, label);
    match route.0.run(request) {
        Err(err) if err.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        outcome => outcome,
    }
}
