//! One query, one answer.
//!
//! | asked | known name | unknown |
//! |---|---|---|
//! | `A`, `AAAA` | all addresses of that family, rotated | forwarded |
//! | `SRV` | all places of the service's port, rotated | forwarded |
//! | any other type | empty answer (NODATA), never NXDOMAIN | forwarded |
//! | `PTR` of an address of ours | `container.network` | forwarded |

use crate::{Place, Zone};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Seconds. An endpoint that goes away must not be remembered by the caller.
const TTL: u32 = 1;

/// What we tell a client that speaks EDNS to keep to: fits any path's MTU (DNS flag day 2020).
const MAX_PAYLOAD: u16 = 1232;

/// What to do with a query.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Send this.
    Answer(Message),
    /// Not ours: ask the upstream servers.
    Forward,
}

/// Answers `query` from `zones`, those of the asker's networks: of several that know a name the first
/// counts. `turn` rotates the addresses: count it up with each query.
pub fn answer(zones: &[Arc<Zone>], query: &Message, turn: usize) -> Reply {
    if query.metadata.message_type != MessageType::Query {
        return Reply::Answer(refuse(query, ResponseCode::FormErr));
    }
    if query.metadata.op_code != OpCode::Query {
        return Reply::Answer(refuse(query, ResponseCode::NotImp));
    }
    let [question] = query.queries.as_slice() else {
        return Reply::Answer(refuse(query, ResponseCode::FormErr));
    };
    if question.query_class != DNSClass::IN {
        return Reply::Forward;
    }
    match records(zones, question, turn) {
        Some(records) => {
            let mut reply = refuse(query, ResponseCode::NoError);
            reply.metadata.authoritative = true;
            reply.add_answers(records);
            Reply::Answer(reply)
        }
        None => Reply::Forward,
    }
}

/// A reply to `query` without any record.
pub fn refuse(query: &Message, code: ResponseCode) -> Message {
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = code;
    reply.add_queries(query.queries.iter().cloned());
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_PAYLOAD);
        reply.set_edns(edns);
    }
    reply
}

/// `None` when no zone knows the name; empty when it does but has nothing of that type.
fn records(zones: &[Arc<Zone>], question: &Query, turn: usize) -> Option<Vec<Record>> {
    let name = text(&question.name);
    let record = |data| Record::from_rdata(question.name.clone(), TTL, data);
    if let Some(address) = reversed(&name) {
        let target = zones.iter().find_map(|zone| zone.pointer(address))?;
        let pointer = Name::from_ascii(format!("{target}."))
            .ok()
            .filter(|_| question.query_type == RecordType::PTR);
        return Some(pointer.map(|target| record(RData::PTR(PTR(target)))).into_iter().collect());
    }
    if let Some(places) = zones.iter().find_map(|zone| zone.places(&name)) {
        let server = |place: &Place| {
            let target = Name::from_ascii(format!("{}.", place.target)).ok()?;
            Some(record(RData::SRV(SRV::new(0, 0, place.port, target))))
        };
        let is_asked = question.query_type == RecordType::SRV;
        let places = rotated(places, turn).filter(|_| is_asked);
        return Some(places.filter_map(server).collect());
    }
    let (zone, addresses) = zones.iter().find_map(|zone| Some((zone, zone.addresses(&name)?)))?;
    let four = |address: &Ipv4Addr| record(RData::A(A(*address)));
    let six = |address: &Ipv6Addr| record(RData::AAAA(AAAA(*address)));
    Some(match question.query_type {
        RecordType::A => rotated(addresses, turn).map(four).collect(),
        RecordType::AAAA => rotated(zone.six_addresses(&name), turn).map(six).collect(),
        _ => Vec::new(),
    })
}

/// All of them, beginning with another one each turn.
fn rotated<T>(all: &[T], turn: usize) -> impl Iterator<Item = &T> {
    let (before, from) = all.split_at(turn % all.len().max(1));
    from.iter().chain(before)
}

/// Lower case, no trailing dot.
fn text(name: &Name) -> String {
    let labels: Vec<_> =
        name.iter().map(|label| String::from_utf8_lossy(label).to_ascii_lowercase()).collect();
    labels.join(".")
}

/// `2.0.18.172.in-addr.arpa` is 172.18.0.2; `….ip6.arpa` has a label for each hexadecimal digit.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".ip6.arpa") {
        let digits: Vec<u128> = digits
            .split('.')
            .map(|digit| u128::from_str_radix(digit, 16).ok().filter(|_| digit.len() == 1))
            .collect::<Option<_>>()?;
        let address = digits.iter().rev().fold(0, |address, digit| address << 4 | digit);
        return (digits.len() == 32).then(|| Ipv6Addr::from(address).into());
    }
    let octets: Vec<u8> = name
        .strip_suffix(".in-addr.arpa")?
        .split('.')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [d, c, b, a] = octets.try_into().ok()?;
    Some(Ipv4Addr::new(a, b, c, d).into())
}

#[cfg(test)]
mod tests;
