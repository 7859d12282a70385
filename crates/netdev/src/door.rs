//! The resolver's door in a sandbox: what is sent to 127.0.0.11:53 arrives at the resolver's own port, and its answers come
//! from 53 again.
//!
//! A program of the container may bind port 53 on all addresses (a DNS server does); a socket of ours at 127.0.0.11:53
//! would be in its way. The rules rewrite ports without tracking connections, which would cost every packet of the
//! container. They are written as netlink messages: running `nft` for each start would cost more than the rest of it.

use crate::expression::{REGISTER, compare, expression, number, of_protocol, set};
use crate::netlink::{CREATE, Netlink, Request};
use nix::sys::socket::SockProtocol;
use std::io;
use std::net::Ipv4Addr;

const TABLE: &str = "sampan_resolver";
const CHAIN: &str = "output";

// linux/netfilter/nfnetlink.h and nf_tables.h.
const NEW_TABLE: u16 = 10 << 8;
const DELETE_TABLE: u16 = (10 << 8) | 2;
const NEW_CHAIN: u16 = (10 << 8) | 3;
const NEW_RULE: u16 = (10 << 8) | 6;
const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;
const MAKE: u16 = libc::NLM_F_CREATE as u16;
/// struct nfgenmsg: family, version, resource.
const HEADER: [u8; 4] = [libc::AF_INET as u8, 0, 0, 0];
const NAME: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const LOCAL_OUT: u32 = 3;
/// Before everything else that looks at ports.
const RAW: i32 = -300;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const CHECKSUM_INTERNET: u32 = 1;

/// Where in their headers: a packet's addresses, a segment's or datagram's ports, and their checksums.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;
const PROTOCOLS: [(i32, u32); 2] = [(libc::IPPROTO_UDP, 6), (libc::IPPROTO_TCP, 16)];

/// In the namespace of the calling thread: `address`:`from` leads to `address`:`to`, UDP and TCP. Safe to do again.
pub fn lead_to_resolver(address: Ipv4Addr, from: u16, to: u16) -> io::Result<()> {
    let mut netlink = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let mut rules = vec![
        Request::new(NEW_CHAIN, MAKE, &HEADER)
            .text(NAME, TABLE)
            .text(CHAIN_NAME, CHAIN)
            .nested(CHAIN_HOOK, |hook| {
                hook.attr(HOOK_NUMBER, &LOCAL_OUT.to_be_bytes())
                    .attr(HOOK_PRIORITY, &RAW.to_be_bytes())
            })
            .text(CHAIN_TYPE, "filter"),
    ];
    for (protocol, checksum) in PROTOCOLS {
        let asked = Rewrite { side: DESTINATION, port: DESTINATION_PORT, from, to };
        let answered = Rewrite { side: SOURCE, port: SOURCE_PORT, from: to, to: from };
        for rewrite in [asked, answered] {
            rules.push(rule(address, protocol, checksum, &rewrite));
        }
    }
    let after = |tables: Vec<Request>| tables.into_iter().chain(rules.clone()).collect();
    // What is removed is waited for when the socket is closed, some 13 ms: so only where there is something.
    match netlink.transact(after(vec![table(NEW_TABLE, CREATE)]), None) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            let anew = vec![table(DELETE_TABLE, 0), table(NEW_TABLE, CREATE)];
            netlink.transact(after(anew), None)
        }
        done => done,
    }
}

/// Of packets whose address on one side is the resolver's: one port becomes another.
struct Rewrite {
    side: u32,
    port: u32,
    from: u16,
    to: u16,
}

fn table(kind: u16, flags: u16) -> Request {
    Request::new(kind, flags, &HEADER).text(NAME, TABLE)
}

fn rule(address: Ipv4Addr, protocol: i32, checksum: u32, rewrite: &Rewrite) -> Request {
    Request::new(NEW_RULE, APPEND, &HEADER).text(NAME, TABLE).text(RULE_CHAIN, CHAIN).nested(
        RULE_EXPRESSIONS,
        |list| {
            let list = load(list, NETWORK_HEADER, rewrite.side, 4);
            let list = compare(list, &address.octets());
            let list = of_protocol(list, protocol as u8);
            let list = load(list, TRANSPORT_HEADER, rewrite.port, 2);
            let list = compare(list, &rewrite.from.to_be_bytes());
            let list = set(list, REGISTER, &rewrite.to.to_be_bytes());
            expression(list, "payload", |write| {
                // Base, offset, length; from a register; and what of the checksum.
                let fields = [(2, TRANSPORT_HEADER), (3, rewrite.port), (4, 2), (5, REGISTER)];
                let sums = [(6, CHECKSUM_INTERNET), (7, checksum)];
                let fields = fields.into_iter().chain(sums);
                fields.fold(write, |write, (kind, field)| number(write, kind, field))
            })
        },
    )
}

fn load(list: Request, base: u32, offset: u32, len: u32) -> Request {
    expression(list, "payload", |read| {
        let fields = [(1, REGISTER), (2, base), (3, offset), (4, len)];
        fields.into_iter().fold(read, |read, (kind, field)| number(read, kind, field))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Sandboxes, run_in};
    use types::ContainerId;

    #[test]
    fn a_door_that_is_there_is_put_in_the_place_of_itself() {
        let dir = tempfile::tempdir().unwrap();
        let sandboxes = Sandboxes::open(dir.path()).unwrap();
        let id = ContainerId::new("smp-door");
        let sandbox = sandboxes.ensure(&id).unwrap();
        let made = |to| {
            run_in(&sandbox, || {
                lead_to_resolver(Ipv4Addr::new(127, 0, 0, 11), 53, to)?;
                crate::nft::nft(&["list", "table", "ip", TABLE], b"")
            })
        };
        let (first, other, again) = (made(8053), made(8054), made(8053));
        sandboxes.remove(&id).unwrap();
        let first = first.unwrap();
        assert_eq!(first.matches("8053").count(), 4, "{first}");
        assert_eq!(other.unwrap(), first.replace("8053", "8054"));
        assert_eq!(again.unwrap(), first);
    }
}
