//! Questions from inside a namespace: names of the resolver, and who answers at an address.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const RESOLVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 11), 53);
/// For an answer that must come.
const LONG: Duration = Duration::from_secs(10);
/// For one that must not come: a refusal comes at once, and nothing at all is as good.
const SHORT: Duration = Duration::from_millis(300);

// RFC 1035, 3.2.2.
const A: u16 = 1;
const PTR: u16 = 12;
const HEADER: usize = 12;

/// The addresses of a name; none when it is not known.
pub(super) fn addresses(name: &str) -> Result<BTreeSet<Ipv4Addr>> {
    let reply = query(name, A)?;
    let found = records(&reply, A)?.into_iter();
    let read = |at: usize| Some(Ipv4Addr::from(*reply.get(at..)?.first_chunk::<4>()?));
    Ok(found.filter_map(read).collect())
}

/// The name of an address, if it has one.
pub(super) fn pointer(address: Ipv4Addr) -> Result<Option<String>> {
    let [a, b, c, d] = address.octets();
    let reply = query(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), PTR)?;
    let mut found = records(&reply, PTR)?.into_iter();
    found.next().map(|at| name_at(&reply, at)).transpose()
}

/// Who answers at an address; an error when nobody does.
pub(super) fn say(to: SocketAddr, is_expected: bool) -> Result<String> {
    let patience = if is_expected { LONG } else { SHORT };
    let mut stream = TcpStream::connect_timeout(&to, patience)?;
    stream.set_read_timeout(Some(LONG))?;
    stream.write_all(b"GET /id HTTP/1.0\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (head, body) = said.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains(" 200 "), "{head}");
    Ok(body.trim().to_owned())
}

fn query(name: &str, kind: u16) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(RESOLVER)?;
    socket.set_read_timeout(Some(LONG))?;
    // Number 7, recursion desired, one question.
    let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len())?);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&1u16.to_be_bytes());
    socket.send(&message)?;
    let mut reply = vec![0; 4096];
    let len = socket.recv(&mut reply).with_context(|| format!("asking for {name}"))?;
    reply.truncate(len);
    Ok(reply)
}

/// Where the data of each record of that type begins.
fn records(reply: &[u8], kind: u16) -> Result<Vec<usize>> {
    let number = |at: usize| -> Result<u16> {
        let bytes = reply.get(at..).and_then(|rest| rest.first_chunk::<2>());
        Ok(u16::from_be_bytes(*bytes.context("a reply that was cut short")?))
    };
    let mut at = HEADER;
    for _ in 0..number(4)? {
        at = skip_name(reply, at)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        at = skip_name(reply, at)?;
        let len = usize::from(number(at + 8)?);
        if number(at)? == kind {
            found.push(at + 10);
        }
        at += 10 + len;
    }
    Ok(found)
}

fn skip_name(reply: &[u8], mut at: usize) -> Result<usize> {
    loop {
        match usize::from(*reply.get(at).context("a reply that was cut short")?) {
            0 => return Ok(at + 1),
            pointer if pointer >= 0xc0 => return Ok(at + 2),
            len => at += 1 + len,
        }
    }
}

fn name_at(reply: &[u8], mut at: usize) -> Result<String> {
    let mut labels = Vec::new();
    // No name has more.
    for _ in 0..128 {
        match usize::from(*reply.get(at).context("a reply that was cut short")?) {
            0 => break,
            high if high >= 0xc0 => {
                let low = usize::from(*reply.get(at + 1).context("half a pointer")?);
                at = ((high & 0x3f) << 8) | low;
            }
            len => {
                let label = reply.get(at + 1..at + 1 + len).context("half a label")?;
                labels.push(String::from_utf8_lossy(label).into_owned());
                at += 1 + len;
            }
        }
    }
    Ok(labels.join("."))
}
