//! What policies refused of late, as the kernel remembers it in a set of its own: who sent it, to whom, by which port, and
//! how many packets.

use crate::nft::nft;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Packets from one endpoint to another by one port that were dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    /// `tcp`, `udp`, `icmp`; a number of one that has no name.
    pub protocol: String,
    /// Means nothing with protocols that have no ports.
    pub port: u16,
    pub packets: u64,
    /// Since the last one.
    pub ago: Duration,
}

/// All that the set `refused` of a table remembers; `keeps` is for how long it does.
pub(crate) fn refused(table: &str, keeps: Duration) -> io::Result<Vec<Refused>> {
    Ok(read(&nft(&["list", "set", "ip", table, "refused"], b"")?, keeps))
}

/// From `elements = { 10.0.1.5 . 10.0.1.9 . tcp . 80 counter packets 2 bytes 120 expires 9m59s24ms, … }`.
fn read(listing: &str, keeps: Duration) -> Vec<Refused> {
    let elements = listing.split_once("elements = {").map_or("", |(_, elements)| elements);
    let elements = elements.split('}').next().unwrap_or_default();
    elements.split(',').filter_map(|element| read_one(element, keeps)).collect()
}

fn read_one(element: &str, keeps: Duration) -> Option<Refused> {
    let mut words = element.split_whitespace().filter(|word| *word != ".");
    let (from, to) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (protocol, port) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
    let rest: Vec<&str> = words.collect();
    let after = |name: &str| rest.iter().skip_while(|word| **word != name).nth(1).copied();
    let packets = after("packets")?.parse().ok()?;
    let left = after("expires").and_then(time).unwrap_or(keeps);
    Some(Refused { from, to, protocol, port, packets, ago: keeps.saturating_sub(left) })
}

/// `9m59s24ms`
fn time(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let (mut rest, mut millis) = (text, 0);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let count: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let (unit, each) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        millis += count * each;
        rest = rest.get(unit.len()..)?;
    }
    Some(Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_read_as_nft_lists_it() {
        let listing = "table ip t {\n\tset refused {\n\t\tflags dynamic,timeout\n\t\telements = { \
            10.0.1.5 . 10.0.1.9 . udp . 53 counter packets 1 bytes 29 expires 9m59s996ms,\n\t\t\t     \
            10.0.1.5 . 10.0.1.8 . tcp . 5432 counter packets 2 bytes 120 expires 8m }\n\t}\n}\n";
        let read = read(listing, Duration::from_mins(10));
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].protocol.as_str(), read[0].port, read[0].packets), ("udp", 53, 1));
        assert_eq!(read[0].ago, Duration::from_millis(4));
        assert_eq!((read[1].to, read[1].ago), ([10, 0, 1, 8].into(), Duration::from_mins(2)));
        assert_eq!(super::read("table ip t {\n\tset refused {\n\t}\n}\n", Duration::ZERO), []);
    }
}
