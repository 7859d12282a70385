//! rtnetlink messages for the few things we make: bridges, veth pairs, addresses, routes.
//!
//! What we make carries an alias (`sampan:INSTANCE`), by which a later daemon knows it as ours.

use crate::netlink::{CREATE, Netlink, REPLACE, Request, attrs, find, read_text, read_u32};
use crate::tunnel::{Vxlan, read_vxlan};
use netplan::{BridgePlan, VethPlan};
use nix::errno::Errno;
use nix::sys::socket::SockProtocol;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd};
use types::subnet::{Cidr, Subnet};

// linux/veth.h, linux/if_link.h, linux/rtnetlink.h: not in libc.
pub(crate) const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// linux/if_bridge.h.
const BR_STATE_DISABLED: u8 = 0;

pub(crate) const UP: u32 = libc::IFF_UP as u32;

/// A link as the kernel lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) master: Option<u32>,
    pub(crate) up: bool,
    pub(crate) is_bridge: bool,
    pub(crate) mtu: u32,
    pub(crate) mac: Vec<u8>,
    /// Of a VXLAN device.
    pub(crate) vxlan: Option<Vxlan>,
}

/// The rtnetlink socket of one namespace.
#[derive(Debug)]
pub(crate) struct Route(pub(crate) Netlink);

impl Route {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open(SockProtocol::NetlinkRoute).map(Route)
    }

    /// Every link.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let request = Request::new(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0));
        let request = request.u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        self.0.dump(request, |payload| links.extend(read_link(payload)))?;
        Ok(links)
    }

    /// The link named `name`; `None` when there is none.
    pub(crate) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let request = Request::new(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        absent(self.0.get(request, read_link)).map(Option::flatten)
    }

    /// Makes the bridge, or mends one that is there; returns its index.
    pub(crate) fn ensure_bridge(
        &mut self,
        name: &str,
        plan: &BridgePlan,
        alias: &str,
    ) -> io::Result<u32> {
        let create = Request::new(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .nested(libc::IFLA_LINKINFO, |info| info.text(libc::IFLA_INFO_KIND, "bridge"));
        let set = Request::new(libc::RTM_SETLINK, 0, &ifinfo(0, UP, UP))
            .text(libc::IFLA_IFNAME, name)
            .attr(libc::IFLA_ADDRESS, &plan.mac)
            .u32(libc::IFLA_MTU, plan.mtu)
            .attr(libc::IFLA_IFALIAS, alias.as_bytes());
        // One datagram: a kill between the two cannot leave a bridge that nobody knows as ours.
        for outcome in self.0.call(vec![create, set])? {
            existing(outcome)?;
        }
        let link = self.link(name)?.filter(|link| link.is_bridge).ok_or(Errno::EEXIST)?;
        self.ensure_address(link.index, plan.address)?;
        Ok(link.index)
    }

    /// Makes the pair: one end here as a port of `bridge`, the other in `sandbox`, both still down inside.
    pub(crate) fn create_veth(
        &mut self,
        name: &str,
        plan: &VethPlan,
        bridge: u32,
        sandbox: BorrowedFd<'_>,
        alias: &str,
    ) -> io::Result<()> {
        let netns = u32::try_from(sandbox.as_raw_fd()).map_err(|_| Errno::EBADF)?;
        let peer = |data: Request| {
            data.nested(VETH_INFO_PEER, |peer| {
                peer.raw(&ifinfo(0, 0, 0))
                    .text(libc::IFLA_IFNAME, &plan.interface)
                    .attr(libc::IFLA_ADDRESS, &plan.mac)
                    .u32(libc::IFLA_MTU, plan.mtu)
                    .u32(libc::IFLA_NET_NS_FD, netns)
            })
        };
        let create = Request::new(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MTU, plan.mtu)
            .u32(libc::IFLA_MASTER, bridge)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nested(libc::IFLA_INFO_DATA, peer)
            });
        for outcome in self.0.call(vec![create, port_settings(name, plan, bridge, alias)])? {
            outcome?;
        }
        Ok(())
    }

    /// Puts an existing end back on its bridge.
    pub(crate) fn mend_veth(
        &mut self,
        name: &str,
        plan: &VethPlan,
        bridge: u32,
        alias: &str,
    ) -> io::Result<()> {
        let set = Request::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MASTER, bridge);
        for outcome in self.0.call(vec![set, port_settings(name, plan, bridge, alias)])? {
            outcome?;
        }
        Ok(())
    }

    /// Removes links; those that are gone already are fine. Returns what could not be removed.
    pub(crate) fn delete_links<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> io::Result<Vec<(String, Errno)>> {
        let names: Vec<&str> = names.collect();
        let request = |name: &&str| {
            Request::new(libc::RTM_DELLINK, 0, &ifinfo(0, 0, 0)).text(libc::IFLA_IFNAME, name)
        };
        let outcomes = self.0.call(names.iter().map(request).collect())?;
        let failed = |(name, outcome): (&str, Result<(), Errno>)| match outcome {
            Ok(()) | Err(Errno::ENODEV) => None,
            Err(errno) => Some((name.to_owned(), errno)),
        };
        Ok(names.into_iter().zip(outcomes).filter_map(failed).collect())
    }

    /// Removes links by their index; those that are gone already are fine.
    pub(crate) fn delete_indexes(&mut self, indexes: &[u32]) -> io::Result<()> {
        let request = |index: &u32| Request::new(libc::RTM_DELLINK, 0, &ifinfo(*index, 0, 0));
        self.0.call(indexes.iter().map(request).collect()).map(drop)
    }

    /// Takes ports off their bridge's traffic at once; removing a link waits for every CPU, some 20 ms.
    /// Ports that are gone already are fine.
    pub(crate) fn silence_ports<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> io::Result<()> {
        let request = |name| {
            Request::new(libc::RTM_NEWLINK, 0, &ifinfo(0, 0, 0))
                .text(libc::IFLA_IFNAME, name)
                .nested(libc::IFLA_LINKINFO, |info| {
                    info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge").nested(
                        libc::IFLA_INFO_SLAVE_DATA,
                        |data| {
                            data.attr(IFLA_BRPORT_STATE, &[BR_STATE_DISABLED])
                                .attr(IFLA_BRPORT_FLUSH, &[])
                        },
                    )
                })
        };
        for outcome in self.0.call(names.map(request).collect())? {
            match outcome {
                Ok(()) | Err(Errno::ENODEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Raises the loopback device.
    pub(crate) fn raise_loopback(&mut self) -> io::Result<()> {
        // The first device of every namespace.
        self.0.run(Request::new(libc::RTM_SETLINK, 0, &ifinfo(1, UP, UP)))
    }

    /// Address and state of an interface inside a sandbox.
    pub(crate) fn ensure_interface(&mut self, name: &str, address: Cidr) -> io::Result<u32> {
        let link = self.link(name)?.ok_or(Errno::ENODEV)?;
        let up = Request::new(libc::RTM_SETLINK, 0, &ifinfo(link.index, UP, UP));
        for outcome in self.0.call(vec![new_address(link.index, address), up])? {
            existing(outcome)?;
        }
        Ok(link.index)
    }

    /// The index of the link that has `address`.
    pub(crate) fn holder_of(&mut self, address: Ipv4Addr) -> io::Result<Option<u32>> {
        let mut holder = None;
        let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0];
        self.0.dump(Request::new(libc::RTM_GETADDR, 0, &header), |payload| {
            let Some((header, attributes)) = payload.split_at_checked(8) else { return };
            if find(attributes, libc::IFA_LOCAL) == Some(&address.octets()) {
                holder = read_u32(&header[4..]);
            }
        })?;
        Ok(holder)
    }

    fn ensure_address(&mut self, index: u32, address: Cidr) -> io::Result<()> {
        for outcome in self.0.call(vec![new_address(index, address)])? {
            existing(outcome)?;
        }
        Ok(())
    }

    /// The default route, in the place of any other.
    pub(crate) fn set_default_route(&mut self, via: Ipv4Addr, interface: &str) -> io::Result<()> {
        let link = self.link(interface)?.ok_or(Errno::ENODEV)?;
        let route = Request::new(libc::RTM_NEWROUTE, REPLACE, &default_route(libc::AF_INET))
            .attr(libc::RTA_GATEWAY, &via.octets())
            .u32(libc::RTA_OIF, link.index);
        self.0.run(route)
    }

    pub(crate) fn clear_default_route(&mut self) -> io::Result<()> {
        match self.0.run(Request::new(libc::RTM_DELROUTE, 0, &default_route(libc::AF_INET))) {
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            outcome => outcome,
        }
    }

    /// Where the host's routes lead, without the default route.
    pub(crate) fn routed_subnets(&mut self) -> io::Result<Vec<Subnet>> {
        let mut subnets = Vec::new();
        self.0.dump(
            Request::new(libc::RTM_GETROUTE, 0, &default_route(libc::AF_INET)),
            |payload| {
                subnets.extend(read_route(payload));
            },
        )?;
        subnets.sort_unstable();
        subnets.dedup();
        Ok(subnets)
    }
}

/// Up, ours, and the bridge's view of the port. Hairpin: with br_netfilter a translated frame may have to
/// leave by the port it came in by.
fn port_settings(name: &str, plan: &VethPlan, bridge: u32, alias: &str) -> Request {
    Request::new(libc::RTM_NEWLINK, 0, &ifinfo(0, UP, UP))
        .text(libc::IFLA_IFNAME, name)
        .attr(libc::IFLA_IFALIAS, alias.as_bytes())
        .u32(libc::IFLA_MASTER, bridge)
        .nested(libc::IFLA_LINKINFO, |info| {
            info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge").nested(
                libc::IFLA_INFO_SLAVE_DATA,
                |data| {
                    data.attr(IFLA_BRPORT_MODE, &[1])
                        .attr(IFLA_BRPORT_ISOLATED, &[u8::from(plan.isolated)])
                },
            )
        })
}

fn new_address(index: u32, address: Cidr) -> Request {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let header = [libc::AF_INET as u8, address.prefix_len, 0, 0, i0, i1, i2, i3];
    let octets = address.address.octets();
    Request::new(libc::RTM_NEWADDR, CREATE, &header)
        .attr(libc::IFA_LOCAL, &octets)
        .attr(libc::IFA_ADDRESS, &octets)
        .attr(libc::IFA_BROADCAST, &address.subnet().broadcast().octets())
}

/// struct ifinfomsg.
pub(crate) fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

/// struct rtmsg of a default route in the main table.
pub(crate) fn default_route(family: libc::c_int) -> [u8; 12] {
    let mut header = [0; 12];
    header[0] = family as u8;
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    header
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let index = read_u32(payload.get(4..8)?)?;
    let flags = read_u32(payload.get(8..12)?)?;
    let mut link = Link { index, up: flags & UP != 0, ..Link::default() };
    for (kind, value) in attrs(payload.get(16..)?) {
        match kind {
            libc::IFLA_IFNAME => link.name = read_text(value),
            libc::IFLA_IFALIAS => link.alias = read_text(value),
            libc::IFLA_MASTER => link.master = read_u32(value),
            libc::IFLA_MTU => link.mtu = read_u32(value).unwrap_or_default(),
            libc::IFLA_ADDRESS => link.mac = value.to_vec(),
            libc::IFLA_LINKINFO => {
                link.is_bridge = find(value, libc::IFLA_INFO_KIND)
                    .is_some_and(|kind| read_text(kind) == "bridge");
                link.vxlan = read_vxlan(value);
            }
            _ => {}
        }
    }
    Some(link)
}

fn read_route(payload: &[u8]) -> Option<Subnet> {
    let (table, prefix_len) = (*payload.get(4)?, *payload.get(1)?);
    let destination: [u8; 4] = find(payload.get(12..)?, libc::RTA_DST)?.try_into().ok()?;
    let wanted = table == libc::RT_TABLE_MAIN && prefix_len > 0;
    wanted.then(|| Subnet::new(destination.into(), prefix_len))
}

/// What is there already is what was wanted.
pub(crate) fn existing(outcome: Result<(), Errno>) -> Result<(), Errno> {
    match outcome {
        Err(Errno::EEXIST) => Ok(()),
        outcome => outcome,
    }
}

fn absent<T>(got: io::Result<T>) -> io::Result<Option<T>> {
    match got {
        Err(err) if err.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        got => got.map(Some),
    }
}
