//! Forgets flows. A flow that the kernel remembers keeps going where it went, whatever the rules say
//! by now: a client that sends from one UDP port again and again would never reach the new container.

use crate::netlink::{Netlink, Request, find};
use netplan::Forward;
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use types::port::Protocol;

// linux/netfilter/nfnetlink_conntrack.h.
const CT_GET: u16 = (1 << 8) | 1;
const CT_DELETE: u16 = (1 << 8) | 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

// linux/netfilter/nf_conntrack_common.h.
const IPS_SEEN_REPLY: u32 = 1 << 1;

/// Above the time that a first packet and its answer are on their way; who misses the answer sends again after a second
/// (RFC 6298).
const ON_THE_WAY: Duration = Duration::from_millis(50);

const UDP: u8 = libc::IPPROTO_UDP as u8;
const FOUR: i32 = libc::AF_INET;
const SIX: i32 = libc::AF_INET6;

/// struct nfgenmsg: family, version, resource.
const fn header(family: i32) -> [u8; 4] {
    [family as u8, 0, 0, 0]
}

#[derive(Debug, Clone, Copy)]
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    destination_port: u16,
}

#[derive(Debug, Clone)]
struct Flow {
    protocol: u8,
    original: Tuple,
    /// The same as the kernel has it.
    original_bytes: Vec<u8>,
    reply: Tuple,
    answered: bool,
}

/// Forgets the flows to the host ports of the UDP ports among `forwards`. Other protocols close by
/// themselves.
pub(crate) fn forget<'a>(
    netlink: &mut Netlink,
    forwards: impl Iterator<Item = &'a Forward>,
) -> io::Result<()> {
    let udp: Vec<&Forward> = forwards.filter(|forward| forward.protocol == Protocol::Udp).collect();
    match udp.is_empty() {
        true => Ok(()),
        false => {
            let about = |flow: &Flow| udp.iter().any(|forward| is_about(flow, forward));
            let stale = find_flows(netlink, FOUR, about)?;
            delete(netlink, FOUR, stale)
        }
    }
}

/// Forgets what was translated to endpoints: everything to those that are `gone`; to those that are `withdrawn` UDP, and
/// what they have not answered yet. A client whose SYN was lost sends it again, seconds later, and the kernel would send
/// that after the first one, by then to nobody. One whose answer is on its way is let go on: it would lose the rest of it.
pub(crate) fn forget_endpoints(
    netlink: &mut Netlink,
    withdrawn: &BTreeSet<IpAddr>,
    gone: &BTreeSet<IpAddr>,
) -> io::Result<()> {
    for (family, is_four) in [(FOUR, true), (SIX, false)] {
        if !withdrawn.iter().chain(gone).any(|address| address.is_ipv4() == is_four) {
            continue;
        }
        let leads_to = |flow: &Flow, endpoints: &BTreeSet<IpAddr>| {
            flow.original.destination != flow.reply.source && endpoints.contains(&flow.reply.source)
        };
        let mut unanswered = Vec::new();
        let stale = find_flows(netlink, family, |flow| {
            let is_withdrawn = leads_to(flow, withdrawn);
            if is_withdrawn && flow.protocol != UDP && !flow.answered {
                unanswered.push(flow.original_bytes.clone());
            }
            leads_to(flow, gone) || (is_withdrawn && flow.protocol == UDP)
        })?;
        delete(netlink, family, stale)?;
        if !unanswered.is_empty() {
            std::thread::sleep(ON_THE_WAY);
            forget_unanswered(netlink, family, unanswered)?;
        }
    }
    Ok(())
}

/// Of flows that were unanswered, those that still are.
fn forget_unanswered(
    netlink: &mut Netlink,
    family: i32,
    originals: Vec<Vec<u8>>,
) -> io::Result<()> {
    for original in originals {
        let found = netlink.get(about(CT_GET, family, &original), |payload| {
            payload.get(4..).and_then(read_flow).is_some_and(|flow| !flow.answered)
        });
        match found {
            Ok(true) => delete(netlink, family, vec![original])?,
            Ok(false) => {}
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Of the namespace that the thread is in.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

/// The tuples, as the kernel has them, by which flows began that `is_wanted`.
fn find_flows(
    netlink: &mut Netlink,
    family: i32,
    mut is_wanted: impl FnMut(&Flow) -> bool,
) -> io::Result<Vec<Vec<u8>>> {
    // The kernel has one table for all namespaces, and goes through all of it to say that nothing is there.
    if std::fs::read_to_string(COUNT).is_ok_and(|count| count.trim() == "0") {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    netlink.dump(Request::new(CT_GET, 0, &header(family)), |payload| {
        let flow = payload.get(4..).and_then(read_flow);
        found.extend(flow.filter(&mut is_wanted).map(|flow| flow.original_bytes));
    })?;
    Ok(found)
}

/// A request about the flow that began by this tuple.
fn about(kind: u16, family: i32, original: &[u8]) -> Request {
    Request::new(kind, 0, &header(family)).nested(CTA_TUPLE_ORIG, |tuple| tuple.raw(original))
}

fn delete(netlink: &mut Netlink, family: i32, originals: Vec<Vec<u8>>) -> io::Result<()> {
    let requests = originals.iter().map(|original| about(CT_DELETE, family, original));
    for outcome in netlink.call(requests.collect())? {
        match outcome {
            // It ended meanwhile.
            Ok(()) | Err(nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A flow to the host's port, translated to the container or (from before the port was published) not.
fn is_about(flow: &Flow, forward: &Forward) -> bool {
    let Flow { protocol, original, reply, .. } = flow;
    let to_container =
        reply.source == IpAddr::V4(forward.to) && reply.source_port == forward.to_port;
    let to_host =
        forward.host_ip.is_unspecified() || original.destination == IpAddr::V4(forward.host_ip);
    *protocol == UDP
        && original.destination_port == forward.host_port
        && (to_container || (to_host && reply.source == original.destination))
}

fn read_flow(attributes: &[u8]) -> Option<Flow> {
    let original_bytes = find(attributes, CTA_TUPLE_ORIG)?;
    let (protocol, original) = read_tuple(original_bytes)?;
    let (_, reply) = read_tuple(find(attributes, CTA_TUPLE_REPLY)?)?;
    let status = find(attributes, CTA_STATUS).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let answered = status.is_some_and(|bytes| u32::from_be_bytes(bytes) & IPS_SEEN_REPLY != 0);
    Some(Flow { protocol, original, original_bytes: original_bytes.to_vec(), reply, answered })
}

/// With its protocol. What has no ports has 0.
fn read_tuple(bytes: &[u8]) -> Option<(u8, Tuple)> {
    let (addresses, protocol) = (find(bytes, CTA_TUPLE_IP)?, find(bytes, CTA_TUPLE_PROTO)?);
    let number = *find(protocol, CTA_PROTO_NUM)?.first()?;
    let address = |four, six| match find(addresses, four) {
        Some(octets) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into()),
        None => Some(Ipv6Addr::from(<[u8; 16]>::try_from(find(addresses, six)?).ok()?).into()),
    };
    let port = |kind| {
        let bytes = find(protocol, kind).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
        bytes.map_or(0, u16::from_be_bytes)
    };
    let tuple = Tuple {
        source: address(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
        destination: address(CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        source_port: port(CTA_PROTO_SRC_PORT),
        destination_port: port(CTA_PROTO_DST_PORT),
    };
    Some((number, tuple))
}

#[cfg(test)]
mod tests;
