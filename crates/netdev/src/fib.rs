//! rtnetlink messages for where an overlay's packets go: routes, routing rules, neighbours, forwarding entries.
//!
//! Routes are known as ours by their origin and metric, rules by their origin and preference: both follow from the
//! instance, so that daemons in one namespace do not meet. Both families: an address tells which.

use crate::link::Route;
use crate::netlink::{CREATE, REPLACE, Request, find, read_u32};
use nix::errno::Errno;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use types::six::SixSubnet;
use types::subnet::Subnet;

/// Who made a route or rule, in the kernel's books: a number that no routing daemon has.
const ORIGIN: u8 = 83;

// linux/fib_rules.h, linux/rtnetlink.h: not in libc.
const FRA_DST: u16 = 1;
const FRA_SRC: u16 = 2;
const FRA_GOTO: u16 = 4;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;
const FR_ACT_TO_TBL: u8 = 1;
const FR_ACT_GOTO: u8 = 2;
const FR_ACT_NOP: u8 = 3;
const RTNH_F_ONLINK: u32 = 4;

pub(crate) const MAIN: u32 = libc::RT_TABLE_MAIN as u32;

/// What tells one instance's routes and rules from another's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner {
    /// Of routes.
    pub(crate) metric: u32,
    /// Of routing rules; before that of the main table, 32766. The one before and the one behind are the owner's, too.
    pub(crate) preference: u32,
}

/// A block of addresses of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    first: IpAddr,
    prefix_len: u8,
}

impl Block {
    /// All addresses of IPv4.
    pub(crate) const ALL: Block = Block { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_len: 0 };
    /// All addresses of IPv6.
    pub(crate) const ALL_SIX: Block =
        Block { first: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix_len: 0 };

    /// `address` alone.
    pub(crate) fn only(address: impl Into<IpAddr>) -> Self {
        let first = address.into();
        Block { first, prefix_len: if first.is_ipv4() { 32 } else { 128 } }
    }

    pub(crate) fn is_six(&self) -> bool {
        self.first.is_ipv6()
    }
}

impl From<Subnet> for Block {
    fn from(subnet: Subnet) -> Self {
        Block { first: subnet.network().into(), prefix_len: subnet.prefix_len() }
    }
}

impl From<SixSubnet> for Block {
    fn from(subnet: SixSubnet) -> Self {
        Block { first: subnet.network().into(), prefix_len: subnet.prefix_len() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Path {
    pub(crate) table: u32,
    pub(crate) to: Block,
    pub(crate) way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// Whether the device has an address of the gateway's subnet or not.
    Via {
        gateway: IpAddr,
        device: u32,
        source: Option<IpAddr>,
    },
    Device(u32),
    Unreachable,
}

/// `from FROM fwmark MARK lookup TABLE`, or `to TO …`; without a mark if that is 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Choice {
    pub(crate) end: End,
    pub(crate) mark: u32,
    pub(crate) table: u32,
}

/// Which end of a packet's way a choice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    From(Block),
    To(Block),
}

/// Half of what leads packets without a mark past an owner's choices, so that these cost them nothing, however many there
/// are. The kernel goes through routing rules one by one, for each packet twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bypass {
    pub(crate) half: Half,
    pub(crate) is_six: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Half {
    /// Right behind the choices; does nothing.
    Exit,
    /// Right before them: `fwmark 0/0xffffffff goto` the exit.
    Entry,
}

/// On the tunnel: a next hop's MAC.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Neighbour {
    pub(crate) address: IpAddr,
    /// `None` of one that the kernel looks for by itself.
    pub(crate) mac: Option<[u8; 6]>,
}

/// Of the tunnel: where a MAC's packets go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Forwarding {
    pub(crate) mac: [u8; 6],
    pub(crate) to: Ipv4Addr,
}

impl Route {
    /// The routes of `owner`, in all tables.
    pub(crate) fn paths(&mut self, owner: Owner) -> io::Result<BTreeSet<Path>> {
        let mut paths = BTreeSet::new();
        self.dump_families(libc::RTM_GETROUTE, head, |payload| {
            paths.extend(read_path(payload, owner.metric));
        })?;
        Ok(paths)
    }

    /// The way that packets to `address` take by now; `None` if there is none.
    pub(crate) fn way_to(&mut self, address: Ipv4Addr) -> io::Result<Option<Way>> {
        let mut header = head(libc::AF_INET);
        header[1] = 32;
        let request =
            Request::new(libc::RTM_GETROUTE, 0, &header).attr(libc::RTA_DST, &address.octets());
        match self.0.get(request, |payload| read_way(payload.get(12..)?, address)) {
            Ok(way) => Ok(way),
            Err(err) if err.raw_os_error() == Some(libc::ENETUNREACH) => Ok(None),
            Err(err) if err.raw_os_error() == Some(libc::EHOSTUNREACH) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Asks for all entries of IPv4, and of IPv6 if the kernel has it.
    fn dump_families<const N: usize>(
        &mut self,
        kind: u16,
        header: impl Fn(i32) -> [u8; N],
        mut read: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.0.dump(Request::new(kind, 0, &header(libc::AF_INET)), &mut read)?;
        match self.0.dump(Request::new(kind, 0, &header(libc::AF_INET6)), &mut read) {
            Err(err) if err.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
            outcome => outcome,
        }
    }

    /// Makes the route, in the place of another of the same owner to the same place.
    pub(crate) fn put_path(&mut self, owner: Owner, path: &Path) -> io::Result<()> {
        self.0.run(path_request(libc::RTM_NEWROUTE, REPLACE, owner, path))
    }

    /// Exactly this one; fine when it is gone.
    pub(crate) fn remove_path(&mut self, owner: Owner, path: &Path) -> io::Result<()> {
        gone(self.0.run(path_request(libc::RTM_DELROUTE, 0, owner, path)))
    }

    pub(crate) fn choices(&mut self, owner: Owner) -> io::Result<BTreeSet<Choice>> {
        let mut choices = BTreeSet::new();
        self.dump_families(libc::RTM_GETRULE, head, |payload| {
            choices.extend(read_choice(payload, owner.preference));
        })?;
        Ok(choices)
    }

    pub(crate) fn put_choice(&mut self, owner: Owner, choice: &Choice) -> io::Result<()> {
        match self.0.run(choice_request(libc::RTM_NEWRULE, CREATE, owner, choice)) {
            Err(err) if err.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) fn remove_choice(&mut self, owner: Owner, choice: &Choice) -> io::Result<()> {
        gone(self.0.run(choice_request(libc::RTM_DELRULE, 0, owner, choice)))
    }

    pub(crate) fn bypasses(&mut self, owner: Owner) -> io::Result<BTreeSet<Bypass>> {
        let mut bypasses = BTreeSet::new();
        self.dump_families(libc::RTM_GETRULE, head, |payload| {
            bypasses.extend(read_bypass(payload, owner.preference));
        })?;
        Ok(bypasses)
    }

    pub(crate) fn put_bypass(&mut self, owner: Owner, bypass: Bypass) -> io::Result<()> {
        match self.0.run(bypass_request(libc::RTM_NEWRULE, CREATE, owner, bypass)) {
            Err(err) if err.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            outcome => outcome,
        }
    }

    pub(crate) fn remove_bypass(&mut self, owner: Owner, bypass: Bypass) -> io::Result<()> {
        gone(self.0.run(bypass_request(libc::RTM_DELRULE, 0, owner, bypass)))
    }

    /// Neighbours on `device`, but for those that no packet goes to.
    pub(crate) fn neighbours(&mut self, device: u32) -> io::Result<BTreeSet<Neighbour>> {
        let mut neighbours = BTreeSet::new();
        let header = |family| ndmsg(family, 0, 0, 0);
        self.dump_families(libc::RTM_GETNEIGH, header, |payload| {
            let Some((state, address, mac)) = read_neighbour(payload, device) else { return };
            if let Some(address) = address.filter(|address| !address.is_multicast()) {
                let mac = mac.filter(|_| state & libc::NUD_PERMANENT != 0);
                neighbours.insert(Neighbour { address, mac });
            }
        })?;
        Ok(neighbours)
    }

    pub(crate) fn put_neighbour(&mut self, device: u32, neighbour: &Neighbour) -> io::Result<()> {
        let header = ndmsg(family_of(neighbour.address), device, libc::NUD_PERMANENT, 0);
        let request = Request::new(libc::RTM_NEWNEIGH, REPLACE, &header)
            .attr(libc::NDA_DST, &octets(neighbour.address));
        self.0.run(match neighbour.mac {
            Some(mac) => request.attr(libc::NDA_LLADDR, &mac),
            None => request,
        })
    }

    pub(crate) fn remove_neighbour(&mut self, device: u32, address: IpAddr) -> io::Result<()> {
        let header = ndmsg(family_of(address), device, 0, 0);
        gone(self.0.run(
            Request::new(libc::RTM_DELNEIGH, 0, &header).attr(libc::NDA_DST, &octets(address)),
        ))
    }

    pub(crate) fn forwarding(&mut self, device: u32) -> io::Result<BTreeSet<Forwarding>> {
        let mut entries = BTreeSet::new();
        let request = Request::new(libc::RTM_GETNEIGH, 0, &ndmsg(libc::AF_BRIDGE, 0, 0, 0));
        self.0.dump(request, |payload| {
            if let Some((_, Some(IpAddr::V4(to)), Some(mac))) = read_neighbour(payload, device) {
                entries.insert(Forwarding { mac, to });
            }
        })?;
        Ok(entries)
    }

    pub(crate) fn put_forwarding(&mut self, device: u32, entry: &Forwarding) -> io::Result<()> {
        self.0.run(forwarding_request(libc::RTM_NEWNEIGH, REPLACE, device, entry))
    }

    pub(crate) fn remove_forwarding(&mut self, device: u32, entry: &Forwarding) -> io::Result<()> {
        gone(self.0.run(forwarding_request(libc::RTM_DELNEIGH, 0, device, entry)))
    }
}

fn path_request(kind: u16, flags: u16, owner: Owner, path: &Path) -> Request {
    let (scope, class, route_flags) = match path.way {
        // A link-local gateway is on its link.
        Way::Via { gateway: IpAddr::V6(_), .. } => (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0),
        Way::Via { .. } => (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, RTNH_F_ONLINK),
        Way::Device(_) => (libc::RT_SCOPE_LINK, libc::RTN_UNICAST, 0),
        Way::Unreachable => (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNREACHABLE, 0),
    };
    let [f0, f1, f2, f3] = route_flags.to_ne_bytes();
    // struct rtmsg: family, destination's and source's length, TOS, table, origin, scope, type, flags. A deletion
    // matches flags by nothing.
    let header = [
        family_of(path.to.first) as u8,
        path.to.prefix_len,
        0,
        0,
        libc::RT_TABLE_UNSPEC,
        ORIGIN,
        scope,
        class,
        f0,
        f1,
        f2,
        f3,
    ];
    let request = Request::new(kind, flags, &header)
        .attr(libc::RTA_DST, &octets(path.to.first))
        .u32(libc::RTA_TABLE, path.table)
        .u32(libc::RTA_PRIORITY, owner.metric);
    match path.way {
        Way::Via { gateway, device, source } => {
            let request =
                request.attr(libc::RTA_GATEWAY, &octets(gateway)).u32(libc::RTA_OIF, device);
            match source {
                Some(source) => request.attr(libc::RTA_PREFSRC, &octets(source)),
                None => request,
            }
        }
        Way::Device(device) => request.u32(libc::RTA_OIF, device),
        Way::Unreachable => request,
    }
}

fn read_path(payload: &[u8], metric: u32) -> Option<Path> {
    let (header, attributes) = payload.split_first_chunk::<12>()?;
    let [family, prefix_len, _, _, _, origin, _, class, ..] = *header;
    let number = |kind| find(attributes, kind).and_then(read_u32);
    let ours = origin == ORIGIN && number(libc::RTA_PRIORITY).unwrap_or_default() == metric;
    if !ours {
        return None;
    }
    let address = |kind| find(attributes, kind).and_then(read_address);
    let device = number(libc::RTA_OIF);
    let way = match (class, address(libc::RTA_GATEWAY), device) {
        (libc::RTN_UNREACHABLE, _, _) => Way::Unreachable,
        (_, Some(gateway), Some(device)) => {
            Way::Via { gateway, device, source: address(libc::RTA_PREFSRC) }
        }
        (_, _, device) => Way::Device(device?),
    };
    let to = Block { first: address(libc::RTA_DST).unwrap_or(nowhere(family)), prefix_len };
    Some(Path { table: number(libc::RTA_TABLE)?, to, way })
}

/// The way to `address`: by a gateway, or on the link itself.
fn read_way(attributes: &[u8], address: Ipv4Addr) -> Option<Way> {
    let device = find(attributes, libc::RTA_OIF).and_then(read_u32)?;
    let gateway = find(attributes, libc::RTA_GATEWAY).and_then(read_address);
    Some(Way::Via { gateway: gateway.unwrap_or(address.into()), device, source: None })
}

fn choice_request(kind: u16, flags: u16, owner: Owner, choice: &Choice) -> Request {
    let (block, from, to, attribute) = match choice.end {
        End::From(block) => (block, block.prefix_len, 0, FRA_SRC),
        End::To(block) => (block, 0, block.prefix_len, FRA_DST),
    };
    // struct fib_rule_hdr: family, destination's and source's length, TOS, table, two reserved, action, flags.
    let family = family_of(block.first) as u8;
    let header = [family, to, from, 0, 0, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
    let request = Request::new(kind, flags, &header)
        .attr(attribute, &octets(block.first))
        .u32(FRA_PRIORITY, owner.preference)
        .u32(FRA_TABLE, choice.table)
        .attr(FRA_PROTOCOL, &[ORIGIN]);
    match choice.mark {
        0 => request,
        mark => request.u32(FRA_FWMARK, mark),
    }
}

fn read_choice(payload: &[u8], preference: u32) -> Option<Choice> {
    let (header, attributes) = payload.split_first_chunk::<12>()?;
    let number = |kind| find(attributes, kind).and_then(read_u32);
    let origin = find(attributes, FRA_PROTOCOL) == Some(&[ORIGIN]);
    if !origin || number(FRA_PRIORITY) != Some(preference) {
        return None;
    }
    let block = |kind, prefix_len| {
        let first = find(attributes, kind).and_then(read_address);
        Block { first: first.unwrap_or(nowhere(header[0])), prefix_len }
    };
    Some(Choice {
        end: match find(attributes, FRA_DST) {
            Some(_) => End::To(block(FRA_DST, header[1])),
            None => End::From(block(FRA_SRC, header[2])),
        },
        mark: number(FRA_FWMARK).unwrap_or_default(),
        table: number(FRA_TABLE)?,
    })
}

fn bypass_request(kind: u16, flags: u16, owner: Owner, bypass: Bypass) -> Request {
    let family = if bypass.is_six { libc::AF_INET6 } else { libc::AF_INET } as u8;
    let (action, preference) = match bypass.half {
        Half::Exit => (FR_ACT_NOP, owner.preference + 1),
        Half::Entry => (FR_ACT_GOTO, owner.preference - 1),
    };
    let header = [family, 0, 0, 0, 0, 0, 0, action, 0, 0, 0, 0];
    let request = Request::new(kind, flags, &header)
        .u32(FRA_PRIORITY, preference)
        .attr(FRA_PROTOCOL, &[ORIGIN]);
    match bypass.half {
        Half::Exit => request,
        Half::Entry => {
            request.u32(FRA_GOTO, owner.preference + 1).u32(FRA_FWMARK, 0).u32(FRA_FWMASK, u32::MAX)
        }
    }
}

fn read_bypass(payload: &[u8], preference: u32) -> Option<Bypass> {
    let (header, attributes) = payload.split_first_chunk::<12>()?;
    let number = |kind| find(attributes, kind).and_then(read_u32);
    if find(attributes, FRA_PROTOCOL) != Some(&[ORIGIN]) {
        return None;
    }
    let half = match (header[7], number(FRA_PRIORITY)?) {
        (FR_ACT_NOP, at) if at == preference + 1 => Half::Exit,
        (FR_ACT_GOTO, at) if at == preference - 1 => Half::Entry,
        _ => return None,
    };
    Some(Bypass { half, is_six: i32::from(header[0]) == libc::AF_INET6 })
}

fn forwarding_request(kind: u16, flags: u16, device: u32, entry: &Forwarding) -> Request {
    let header = ndmsg(libc::AF_BRIDGE, device, libc::NUD_PERMANENT, libc::NTF_SELF);
    Request::new(kind, flags, &header)
        .attr(libc::NDA_LLADDR, &entry.mac)
        .attr(libc::NDA_DST, &entry.to.octets())
}

/// struct ndmsg: family, padding, device, state, flags, type.
fn ndmsg(family: i32, device: u32, state: u16, flags: u8) -> [u8; 12] {
    let [d0, d1, d2, d3] = device.to_ne_bytes();
    let [s0, s1] = state.to_ne_bytes();
    [family as u8, 0, 0, 0, d0, d1, d2, d3, s0, s1, flags, 0]
}

/// State, address and MAC of a neighbour on `device`.
fn read_neighbour(payload: &[u8], device: u32) -> Option<(u16, Option<IpAddr>, Option<[u8; 6]>)> {
    let (header, attributes) = payload.split_first_chunk::<12>()?;
    if read_u32(header.get(4..8)?)? != device {
        return None;
    }
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let mac = find(attributes, libc::NDA_LLADDR).and_then(|mac| mac.try_into().ok());
    Some((state, find(attributes, libc::NDA_DST).and_then(read_address), mac))
}

/// struct rtmsg, and of the same size struct fib_rule_hdr, that name but a family.
fn head(family: i32) -> [u8; 12] {
    [family as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn family_of(address: IpAddr) -> i32 {
    if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What an address that is left out means.
fn nowhere(family: u8) -> IpAddr {
    if i32::from(family) == libc::AF_INET {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    }
}

fn read_address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|octets| Ipv4Addr::from(octets).into()),
        _ => <[u8; 16]>::try_from(octets).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

/// What is gone already is what was wanted.
fn gone(outcome: io::Result<()>) -> io::Result<()> {
    const GONE: [i32; 3] = [Errno::ESRCH as i32, Errno::ENOENT as i32, Errno::ENODEV as i32];
    match outcome {
        Err(err) if err.raw_os_error().is_some_and(|code| GONE.contains(&code)) => Ok(()),
        outcome => outcome,
    }
}
