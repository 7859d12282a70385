//! What differs between two rulesets, as messages of one transaction: the same that `nft` would send for the text of the
//! difference, so that a table looks alike whichever way it came about.
//!
//! ```text
//! chains and choices that are new or others ─► elements that go ─► elements that come ─► chains that go
//! ```

use crate::expression::{REGISTER, expression, number, numbers, of_protocol, set, value};
use crate::netlink::Request;
use netplan::overlay::{Chain, Changes, Choice, Datum, Key, OverlayRules};
use std::net::IpAddr;
use types::port::Protocol;

// linux/netfilter/nf_tables.h.
const NEW_CHAIN: u16 = (10 << 8) | 3;
const DELETE_CHAIN: u16 = (10 << 8) | 5;
const NEW_RULE: u16 = (10 << 8) | 6;
const DELETE_RULE: u16 = (10 << 8) | 8;
const NEW_SET: u16 = (10 << 8) | 9;
const NEW_ELEMENTS: u16 = (10 << 8) | 12;
const DELETE_ELEMENTS: u16 = (10 << 8) | 14;
const MAKE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

/// First in every message.
const TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const SET_NAME: u16 = 2;
const SET_DESCRIPTION: u16 = 9;
const SET_NOTES: u16 = 13;
const ELEMENTS_SET: u16 = 2;
const ELEMENTS: u16 = 3;
const ELEMENTS_SET_ID: u16 = 4;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const ELEMENT_FLAGS: u16 = 3;
const ELEMENT_KEY_END: u16 = 10;
const VERDICT: u16 = 2;

/// `NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_MAP`, and with intervals as keys.
const ANONYMOUS_MAP: u32 = 1 | 2 | 8;
const INTERVALS: u32 = 4;
const INTERVAL_END: u32 = 1;
const GOTO: i32 = -4;
/// The kernel puts a number in its place.
const ANONYMOUS: &str = "__map%d";
/// `nft`'s own numbers of types (its `datatype.h`), for those who list the set; the kernel keeps them as they are. Those
/// of several values are six bits each.
const INTEGER: u32 = 4;
const IPV4_ADDR: u32 = 7;
const IPV6_ADDR: u32 = 8;
const INET_SERVICE: u32 = 13;
const IN_TYPE: u32 = 6;

/// Elements in one message, whose length has 16 bits: of the largest ones, a name and an IPv6 address with both ends of an
/// interval.
const AT_ONCE: usize = 256;

/// The messages that make the table `rules` of what it was before, in order.
pub(super) fn requests(rules: &OverlayRules, changes: &Changes<'_>) -> Vec<Request> {
    let of = Table::of(rules);
    let mut requests = Vec::new();
    for (id, (chain, before, choice)) in (1..).zip(&changes.choices) {
        let Some(choice) = choice else { continue };
        requests.push(match before {
            None => of.request(NEW_CHAIN, MAKE).text(CHAIN_NAME, &chain.to_string()),
            Some(_) => of.flush(**chain),
        });
        of.choose(**chain, choice, id, &mut requests);
    }
    for (set, elements) in &changes.elements {
        let gone = elements.iter().filter(|(_, before, _)| before.is_some());
        let gone: Vec<Element> = gone.flat_map(|(key, ..)| Element::of(key, None)).collect();
        requests.extend(of.elements(DELETE_ELEMENTS, set, None, &gone));
    }
    for (set, elements) in &changes.elements {
        let new = elements.iter().filter_map(|(key, _, now)| Some((key, (*now)?)));
        let new: Vec<Element> =
            new.flat_map(|(key, data)| Element::of(key, data.as_ref())).collect();
        requests.extend(of.elements(NEW_ELEMENTS, set, None, &new));
    }
    for (chain, ..) in changes.choices.iter().filter(|(_, _, now)| now.is_none()) {
        requests.push(of.flush(**chain));
        requests.push(of.request(DELETE_CHAIN, 0).text(CHAIN_NAME, &chain.to_string()));
    }
    requests
}

struct Table<'a> {
    family: u8,
    name: &'a str,
}

impl<'a> Table<'a> {
    fn of(rules: &'a OverlayRules) -> Self {
        let family = if rules.family == "ip6" { libc::AF_INET6 } else { libc::AF_INET };
        Table { family: family as u8, name: &rules.table }
    }

    fn request(&self, kind: u16, flags: u16) -> Request {
        // struct nfgenmsg: family, version, resource.
        Request::new(kind, flags, &[self.family, 0, 0, 0]).text(TABLE, self.name)
    }

    /// All rules of a chain go.
    fn flush(&self, chain: Chain) -> Request {
        self.request(DELETE_RULE, 0).text(RULE_CHAIN, &chain.to_string())
    }

    /// The one rule of a chain; `id` is the transaction's own number for the map that it looks endpoints up in.
    fn choose(&self, chain: Chain, choice: &Choice, id: u32, requests: &mut Vec<Request>) {
        if choice.to.len() > 1 {
            requests.push(self.map_of(choice, id));
            requests.extend(self.elements(NEW_ELEMENTS, ANONYMOUS, Some(id), &numbered(choice)));
        }
        let rule = self.request(NEW_RULE, APPEND).text(RULE_CHAIN, &chain.to_string());
        requests.push(rule.nested(RULE_EXPRESSIONS, |list| self.lead(list, choice, id)));
    }

    fn lead(&self, list: Request, choice: &Choice, id: u32) -> Request {
        // The second value of what was looked up comes right behind the address, in registers of four bytes (from 8 on),
        // or of sixteen.
        let behind = if self.family == libc::AF_INET6 as u8 { REGISTER + 1 } else { 9 };
        let list = match choice.port {
            Some((protocol, _)) => of_protocol(list, number_of(protocol)),
            None => list,
        };
        let (list, port) = match (choice.to.as_slice(), choice.port) {
            ([(address, _)], None) => (set(list, REGISTER, &octets(*address)), None),
            ([(address, _)], Some((_, port))) => {
                let list = set(list, REGISTER, &octets(*address));
                (set(list, REGISTER + 1, &port.to_be_bytes()), Some(REGISTER + 1))
            }
            (_, port) => (pick(list, choice, id), port.map(|_| behind)),
        };
        const DESTINATION: u32 = 1;
        const PORT_GIVEN: u32 = 2;
        let nat = [(1, DESTINATION), (2, self.family.into()), (3, REGISTER)];
        let port = port.map(|register| (5, register));
        // A flag that `nft` sets where it sees the port, and the kernel by itself.
        let given = port.filter(|_| choice.to.len() == 1).map(|_| (7, PORT_GIVEN));
        let fields: Vec<(u16, u32)> = nat.into_iter().chain(port).chain(given).collect();
        numbers(list, "nat", &fields)
    }

    fn map_of(&self, choice: &Choice, id: u32) -> Request {
        let intervals = if choice.is_weighted() { INTERVALS } else { 0 };
        let (kind, len) =
            if self.family == libc::AF_INET6 as u8 { (IPV6_ADDR, 16) } else { (IPV4_ADDR, 4) };
        let (kind, len) = match choice.port {
            Some(_) => ((kind << IN_TYPE) | INET_SERVICE, len + 4),
            None => (kind, len),
        };
        let fields =
            [(3, ANONYMOUS_MAP | intervals), (4, INTEGER), (5, 4), (6, kind), (7, len), (10, id)];
        let set = self.request(NEW_SET, MAKE).text(SET_NAME, ANONYMOUS);
        let set = fields.into_iter().fold(set, |set, (kind, field)| number(set, kind, field));
        let size = choice.to.len() + usize::from(choice.is_weighted());
        let set = set.nested(SET_DESCRIPTION, |it| number(it, 1, u32::try_from(size).unwrap_or(0)));
        // For `nft` to show: keys in the host's byte order, and data in the network's unless it is of two values.
        let data_order = if choice.port.is_some() { 0 } else { 2 };
        let notes = [(0, 1), (1, data_order), (6, 0)];
        let note = |(kind, value): (u8, u32)| {
            let [a, b, c, d] = value.to_ne_bytes();
            [kind, 4, a, b, c, d]
        };
        set.attr(SET_NOTES, notes.map(note).as_flattened())
    }

    /// Elements of a set, or of the one with that number in the transaction.
    fn elements(
        &self,
        kind: u16,
        set: &str,
        id: Option<u32>,
        elements: &[Element],
    ) -> impl Iterator<Item = Request> {
        let flags = if kind == NEW_ELEMENTS { MAKE } else { 0 };
        elements.chunks(AT_ONCE).map(move |some| {
            let request = self.request(kind, flags).text(ELEMENTS_SET, set);
            let request = match id {
                Some(id) => number(request, ELEMENTS_SET_ID, id),
                None => request,
            };
            let list = |list| some.iter().fold(list, |list, element| element.write(list));
            request.nested(ELEMENTS, list)
        })
    }
}

/// A random number, and whom it leads to.
fn pick(list: Request, choice: &Choice, id: u32) -> Request {
    const RANDOM: u32 = 1;
    const TO_NETWORK_ORDER: u32 = 1;
    let list = numbers(list, "numgen", &[(1, REGISTER), (2, choice.whole()), (3, RANDOM), (4, 0)]);
    // Intervals are compared byte by byte.
    let list = match choice.is_weighted() {
        true => {
            let fields = [(1, REGISTER), (2, REGISTER), (3, TO_NETWORK_ORDER), (4, 4), (5, 4)];
            numbers(list, "byteorder", &fields)
        }
        false => list,
    };
    expression(list, "lookup", |lookup| {
        let lookup = number(number(lookup, 2, REGISTER), 3, REGISTER).text(1, ANONYMOUS);
        number(lookup, 4, id)
    })
}

/// The map's elements: numbers, or where their intervals begin and the last one ends.
fn numbered(choice: &Choice) -> Vec<Element> {
    let data = |address| {
        let port = choice.port.map(|(_, port)| Datum::Port(port));
        Key([Datum::Address(address)].into_iter().chain(port).collect())
    };
    let number = |number: u32| match choice.is_weighted() {
        true => number.to_be_bytes(),
        false => number.to_ne_bytes(),
    };
    let one = |(first, _, address)| Element {
        key: number(first).to_vec(),
        data: Some(Data::Value(side_by_side(&data(address), first_of))),
        ..Element::default()
    };
    let end = Element { key: number(choice.whole()).to_vec(), ends: true, ..Element::default() };
    choice.ranges().map(one).chain(choice.is_weighted().then_some(end)).collect()
}

#[derive(Default)]
struct Element {
    key: Vec<u8>,
    /// The last one, where several values side by side are intervals.
    key_end: Option<Vec<u8>>,
    data: Option<Data>,
    /// It is the first one behind an interval.
    ends: bool,
}

enum Data {
    Value(Vec<u8>),
    Goto(String),
}

impl Element {
    /// One, or of an interval by itself its begin and its end.
    fn of(key: &Key, data: Option<&Datum>) -> impl Iterator<Item = Element> {
        let data = data.map(|data| match data {
            Datum::Goto(chain) => Data::Goto(chain.to_string()),
            data => Data::Value(first_of(data)),
        });
        let mut element = Element { key: side_by_side(key, first_of), data, ..Element::default() };
        let is_interval = key.0.iter().any(|part| matches!(part, Datum::Block(..)));
        let mut end = None;
        match key.0.as_slice() {
            [Datum::Block(..)] => {
                let ends = |key| Element { key, ends: true, ..Element::default() };
                end = behind(&side_by_side(key, last_of)).map(ends);
            }
            _ if is_interval => element.key_end = Some(side_by_side(key, last_of)),
            _ => {}
        }
        [element].into_iter().chain(end)
    }

    fn write(&self, list: Request) -> Request {
        list.nested(ELEMENT, |mut element| {
            if self.ends {
                element = number(element, ELEMENT_FLAGS, INTERVAL_END);
            }
            element = value(element, ELEMENT_KEY, &self.key);
            if let Some(end) = &self.key_end {
                element = value(element, ELEMENT_KEY_END, end);
            }
            match &self.data {
                None => element,
                Some(Data::Value(bytes)) => value(element, ELEMENT_DATA, bytes),
                Some(Data::Goto(chain)) => element.nested(ELEMENT_DATA, |data| {
                    data.nested(VERDICT, |verdict| {
                        verdict.attr(1, &GOTO.to_be_bytes()).text(2, chain)
                    })
                }),
            }
        })
    }
}

/// Several values are filled up to four bytes each.
fn side_by_side(key: &Key, bytes: impl Fn(&Datum) -> Vec<u8>) -> Vec<u8> {
    let mut all = Vec::new();
    for part in &key.0 {
        all.extend(bytes(part));
        if key.0.len() > 1 {
            all.resize(all.len().next_multiple_of(4), 0);
        }
    }
    all
}

/// A value's bytes; of a block its first address.
fn first_of(datum: &Datum) -> Vec<u8> {
    match datum {
        Datum::Interface(name) => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(libc::IFNAMSIZ, 0);
            bytes
        }
        Datum::Address(address) | Datum::Block(address, _) => octets(*address),
        Datum::Mac(mac) => mac.to_vec(),
        Datum::Protocol(protocol) => vec![number_of(*protocol)],
        Datum::Port(port) => port.to_be_bytes().to_vec(),
        Datum::Mark(mark) => mark.to_ne_bytes().to_vec(),
        // A verdict, which is no value.
        Datum::Goto(_) => Vec::new(),
    }
}

/// The same; of a block its last address.
fn last_of(datum: &Datum) -> Vec<u8> {
    let Datum::Block(address, prefix_len) = datum else { return first_of(datum) };
    let mut bytes = octets(*address);
    for (position, byte) in bytes.iter_mut().enumerate() {
        let fixed = usize::from(*prefix_len).saturating_sub(8 * position).min(8);
        *byte |= 0xff_u16.checked_shr(fixed as u32).map_or(0, |rest| rest as u8);
    }
    bytes
}

/// The next larger number of as many bytes; `None` behind the largest.
fn behind(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut next = bytes.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(next);
        }
    }
    None
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn number_of(protocol: Protocol) -> u8 {
    let number = match protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    number as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blocks_end_is_its_last_address_and_nothing_is_behind_the_last_of_all() {
        let block = |a, b, c, d, len| Datum::Block(IpAddr::from([a, b, c, d]), len);
        assert_eq!(last_of(&block(10, 1, 0, 0, 16)), [10, 1, 255, 255]);
        assert_eq!(last_of(&block(10, 1, 2, 16, 29)), [10, 1, 2, 23]);
        assert_eq!(last_of(&block(10, 1, 2, 3, 32)), [10, 1, 2, 3]);
        assert_eq!(last_of(&block(0, 0, 0, 0, 0)), [255; 4]);
        assert_eq!(behind(&[10, 1, 255, 255]), Some(vec![10, 2, 0, 0]));
        assert_eq!(behind(&[255; 4]), None);
    }
}
