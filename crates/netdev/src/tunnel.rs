//! rtnetlink messages for an overlay's links: the VXLAN device between nodes, and tasks' pairs.
//!
//! A new link is down: it is raised when the rules that guard it and its sysctls are there.

use crate::link::{Link, Route, UP, VETH_INFO_PEER, existing, ifinfo};
use crate::netlink::{CREATE, Request, find, read_text, read_u32};
use netplan::overlay::{LocalPlan, SANDBOX_GATEWAY, SANDBOX_GATEWAY_SIX, TunnelPlan};
use nix::errno::Errno;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

// linux/if_link.h: not in libc.
const IFLA_VXLAN_ID: u16 = 1;
const IFLA_VXLAN_LOCAL: u16 = 4;
const IFLA_VXLAN_LEARNING: u16 = 7;
const IFLA_VXLAN_PORT: u16 = 15;

/// What of a VXLAN device cannot be changed, or not without losing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vxlan {
    pub(crate) vni: u32,
    pub(crate) port: u16,
    pub(crate) local: Option<Ipv4Addr>,
    pub(crate) learning: bool,
}

impl Vxlan {
    pub(crate) fn of(plan: &TunnelPlan) -> Self {
        Vxlan { vni: plan.vni, port: plan.port, local: Some(plan.local), learning: false }
    }
}

impl Route {
    /// Makes the device, down.
    pub(crate) fn create_tunnel(&mut self, plan: &TunnelPlan, alias: &str) -> io::Result<()> {
        let create = Request::new(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, &plan.interface)
            .attr(libc::IFLA_ADDRESS, &plan.mac)
            .u32(libc::IFLA_MTU, plan.mtu)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "vxlan").nested(libc::IFLA_INFO_DATA, |data| {
                    data.u32(IFLA_VXLAN_ID, plan.vni)
                        .attr(IFLA_VXLAN_LOCAL, &plan.local.octets())
                        .attr(IFLA_VXLAN_LEARNING, &[0])
                        .attr(IFLA_VXLAN_PORT, &plan.port.to_be_bytes())
                })
            });
        self.create(create, &plan.interface, alias)
    }

    /// Makes the wire's device, down; who carries its frames opens it.
    pub(crate) fn create_wire(&mut self, name: &str, alias: &str) -> io::Result<()> {
        let device = sys::tap::open(name)?;
        let own = Request::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .attr(libc::IFLA_IFALIAS, alias.as_bytes());
        self.0.run(own)?;
        sys::tap::keep(device.as_fd())
    }

    /// Makes a container's pair, both ends down: `name` here, the other in `sandbox`.
    pub(crate) fn create_pair(
        &mut self,
        name: &str,
        plan: &LocalPlan,
        sandbox: BorrowedFd<'_>,
        alias: &str,
    ) -> io::Result<()> {
        let netns = u32::try_from(sandbox.as_raw_fd()).map_err(|_| Errno::EBADF)?;
        let peer = |data: Request| {
            data.nested(VETH_INFO_PEER, |peer| {
                peer.raw(&ifinfo(0, 0, 0))
                    .text(libc::IFLA_IFNAME, &plan.interface)
                    .attr(libc::IFLA_ADDRESS, &sandbox_mac(plan.address))
                    .u32(libc::IFLA_MTU, plan.mtu)
                    .u32(libc::IFLA_NET_NS_FD, netns)
            })
        };
        let create = Request::new(libc::RTM_NEWLINK, CREATE, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .u32(libc::IFLA_MTU, plan.mtu)
            .nested(libc::IFLA_LINKINFO, |info| {
                info.text(libc::IFLA_INFO_KIND, "veth").nested(libc::IFLA_INFO_DATA, peer)
            });
        self.create(create, name, alias)
    }

    /// The alias only after a success, or a foreign link of that name would become ours. A kill between the two
    /// leaves a link without alias.
    fn create(&mut self, create: Request, name: &str, alias: &str) -> io::Result<()> {
        self.0.run(create)?;
        let own = Request::new(libc::RTM_SETLINK, 0, &ifinfo(0, 0, 0))
            .text(libc::IFLA_IFNAME, name)
            .attr(libc::IFLA_IFALIAS, alias.as_bytes());
        self.0.run(own)
    }

    /// Size, MAC and state of the tunnel. Its address is nobody's: with a lax `rp_filter` the kernel drops whatever
    /// comes in by a link without one.
    pub(crate) fn raise_tunnel(&mut self, link: &Link, mac: &[u8; 6], mtu: u32) -> io::Result<()> {
        let up = Request::new(libc::RTM_SETLINK, 0, &ifinfo(link.index, UP, UP))
            .attr(libc::IFLA_ADDRESS, mac)
            .u32(libc::IFLA_MTU, mtu);
        for outcome in self.0.call(vec![gateway_address(link.index), up])? {
            existing(outcome)?;
        }
        Ok(())
    }

    /// The host's end of a pair: the sandbox's gateway, of link scope, so that nothing else is sent with it.
    pub(crate) fn raise_pair(&mut self, link: &Link, plan: &LocalPlan) -> io::Result<()> {
        let address = gateway_address(link.index);
        let up = Request::new(libc::RTM_SETLINK, 0, &ifinfo(link.index, UP, UP))
            .u32(libc::IFLA_MTU, plan.mtu);
        for outcome in self.0.call(vec![address, up])? {
            existing(outcome)?;
        }
        match plan.six {
            Some(_) => crate::six::add_address(self, link.index, SANDBOX_GATEWAY_SIX, 64),
            None => Ok(()),
        }
    }
}

/// [`SANDBOX_GATEWAY`] on a link, of link scope.
fn gateway_address(index: u32) -> Request {
    let [i0, i1, i2, i3] = index.to_ne_bytes();
    let header = [libc::AF_INET as u8, 32, 0, libc::RT_SCOPE_LINK, i0, i1, i2, i3];
    let octets = SANDBOX_GATEWAY.octets();
    Request::new(libc::RTM_NEWADDR, CREATE, &header)
        .attr(libc::IFA_LOCAL, &octets)
        .attr(libc::IFA_ADDRESS, &octets)
}

/// Locally administered, and the same whenever the address is: Docker's manner.
fn sandbox_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// From a link's `IFLA_LINKINFO`.
pub(crate) fn read_vxlan(info: &[u8]) -> Option<Vxlan> {
    find(info, libc::IFLA_INFO_KIND).filter(|kind| read_text(kind) == "vxlan")?;
    let data = find(info, libc::IFLA_INFO_DATA)?;
    let local = find(data, IFLA_VXLAN_LOCAL).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
    Some(Vxlan {
        vni: find(data, IFLA_VXLAN_ID).and_then(read_u32)?,
        port: u16::from_be_bytes(find(data, IFLA_VXLAN_PORT)?.try_into().ok()?),
        local: local.map(Ipv4Addr::from),
        learning: find(data, IFLA_VXLAN_LEARNING) != Some(&[0]),
    })
}
