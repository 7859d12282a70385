//! Netlink by hand: requests in batches, replies checked, attributes written and read.
//!
//! Some ten message types of three families are all we speak; a library per family would weigh more than
//! the writer and the reader below. Layouts: `netlink(7)`, `linux/netlink.h`.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockopt, recv,
    send, setsockopt, socket, sockopt,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

const HEADER: usize = 16;
const NLA_HEADER: usize = 4;
const NLA_F_NESTED: u16 = 1 << 15;
/// Without the nested and byte-order flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Acknowledgements wait in the socket's receive buffer; this many fit whatever its limit.
const BATCH: usize = 32;

const ERROR: u16 = libc::NLMSG_ERROR as u16;
const DONE: u16 = libc::NLMSG_DONE as u16;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ACK: u16 = libc::NLM_F_ACK as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

/// Fail when it is there already.
pub(crate) const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
/// Make it, or put it in the place of what is there.
pub(crate) const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;

/// A socket of one family, in the namespace it was opened in.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One request, with its attributes.
#[derive(Debug, Clone)]
pub(crate) struct Request(Vec<u8>);

impl Request {
    /// `header` is the family's own fixed part.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(header);
        Request(bytes)
    }
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        let start = self.open(kind);
        self.0.extend_from_slice(value);
        self.close(start);
        self
    }
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }
    /// With the zero byte that the kernel's strings end with.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        self.attr(kind, &[value.as_bytes(), b"\0"].concat())
    }
    pub(crate) fn nested(mut self, kind: u16, inner: impl FnOnce(Request) -> Request) -> Self {
        let start = self.open(kind | NLA_F_NESTED);
        let mut whole = inner(self);
        whole.close(start);
        whole
    }
    /// Bytes that are no attribute: the header of a message inside a message.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&0u16.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        start
    }
    fn close(&mut self, start: usize) {
        // Our attributes are names and numbers: far below 64 KiB.
        let len = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
    fn finish(&mut self, flags: u16, sequence: u32) {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        let flags = u16::from_ne_bytes([self.0[6], self.0[7]]) | flags;
        self.0[6..8].copy_from_slice(&flags.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
    }
}

impl Netlink {
    pub(crate) fn open(protocol: SockProtocol) -> io::Result<Self> {
        let socket =
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0, buffer: vec![0; 32 * 1024] })
    }

    /// Sends the requests in order and returns how each ended. The kernel goes on after one that failed.
    pub(crate) fn call(&mut self, requests: Vec<Request>) -> io::Result<Vec<Result<(), Errno>>> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            let first = self.sequence + 1;
            let mut bytes = Vec::new();
            for request in batch {
                self.sequence += 1;
                let mut request = request.clone();
                request.finish(ACK, self.sequence);
                bytes.extend_from_slice(&request.0);
            }
            send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
            let last = self.sequence;
            let mut waiting = batch.len();
            while waiting > 0 {
                self.receive(|sequence, kind, payload| {
                    if kind == ERROR && (first..=last).contains(&sequence) {
                        outcomes.push(outcome(payload));
                        waiting -= 1;
                    }
                })?;
            }
        }
        Ok(outcomes)
    }

    /// All of the requests in one transaction of nf_tables, or none. With `since`, the count of changes after which they
    /// were decided on, none when there was another since (`ERESTART`).
    pub(crate) fn transact(
        &mut self,
        requests: Vec<Request>,
        since: Option<u32>,
    ) -> io::Result<()> {
        const BEGIN: u16 = 16;
        const END: u16 = 17;
        const BATCH_GENERATION: u16 = 1;
        // struct nfgenmsg: family, version, and the subsystem whose requests these are.
        let frame = |kind| Request::new(kind, 0, &[libc::AF_UNSPEC as u8, 0, 0, 10]);
        let begin = match since {
            Some(count) => frame(BEGIN).attr(BATCH_GENERATION, &count.to_be_bytes()),
            None => frame(BEGIN),
        };
        let first = self.sequence + 1;
        let mut bytes = Vec::new();
        let count = requests.len();
        let whole = [begin].into_iter().chain(requests).chain([frame(END)]);
        for (position, mut request) in whole.enumerate() {
            self.sequence += 1;
            // Older kernels do not acknowledge the frame; errors come without being asked for.
            request.finish(if position == count { ACK } else { 0 }, self.sequence);
            bytes.extend_from_slice(&request.0);
        }
        self.make_room_to_send(bytes.len())?;
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let last = self.sequence - 1;
        let mut end = None;
        while end.is_none() {
            self.receive(|sequence, kind, payload| {
                if kind == ERROR && (first..=last).contains(&sequence) {
                    let outcome = outcome(payload);
                    if end.is_none() && (outcome.is_err() || sequence == last) {
                        end = Some(outcome);
                    }
                }
            })?;
        }
        Ok(end.unwrap_or(Ok(()))?)
    }

    /// A transaction is sent at once, whatever the limit for others is.
    fn make_room_to_send(&self, bytes: usize) -> io::Result<()> {
        // The kernel doubles what it is told, for its own use.
        if getsockopt(&self.socket, sockopt::SndBuf)? < bytes.saturating_mul(2) {
            setsockopt(&self.socket, sockopt::SndBufForce, &bytes.saturating_mul(2))?;
        }
        Ok(())
    }

    /// One request that must succeed.
    pub(crate) fn run(&mut self, request: Request) -> io::Result<()> {
        Ok(self.call(vec![request])?.into_iter().collect::<Result<(), Errno>>()?)
    }

    /// One request that is answered by one message, whose payload `read` gets.
    pub(crate) fn get<T>(
        &mut self,
        mut request: Request,
        mut read: impl FnMut(&[u8]) -> T,
    ) -> io::Result<T> {
        self.sequence += 1;
        let expected = self.sequence;
        request.finish(0, expected);
        send(self.socket.as_raw_fd(), &request.0, MsgFlags::empty())?;
        let mut answer: Option<Result<T, Errno>> = None;
        while answer.is_none() {
            self.receive(|sequence, kind, payload| {
                if sequence == expected {
                    answer = Some(match kind {
                        ERROR => outcome(payload).and(Err(Errno::ENODATA)),
                        _ => Ok(read(payload)),
                    });
                }
            })?;
        }
        Ok(answer.unwrap_or(Err(Errno::ENODATA))?)
    }

    /// A request that is answered by a list; `each` gets every payload.
    pub(crate) fn dump(
        &mut self,
        mut request: Request,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence += 1;
        let expected = self.sequence;
        request.finish(DUMP, expected);
        send(self.socket.as_raw_fd(), &request.0, MsgFlags::empty())?;
        let mut end: Option<Result<(), Errno>> = None;
        while end.is_none() {
            self.receive(|sequence, kind, payload| match kind {
                _ if sequence != expected || end.is_some() => {}
                DONE | ERROR => end = Some(outcome(payload)),
                _ => each(payload),
            })?;
        }
        Ok(end.unwrap_or(Ok(()))?)
    }

    /// Reads one datagram and shows its messages: sequence, type, payload.
    fn receive(&mut self, mut each: impl FnMut(u32, u16, &[u8])) -> io::Result<()> {
        let got = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
            Err(Errno::EINTR) => return Ok(()),
            got => got?,
        };
        let mut rest = &self.buffer[..got];
        while let Some((header, _)) = rest.split_first_chunk::<HEADER>() {
            let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *header;
            let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
            let Some(payload) = rest.get(HEADER..len) else { break };
            each(u32::from_ne_bytes([s0, s1, s2, s3]), u16::from_ne_bytes([k0, k1]), payload);
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The number at the start of an error or done message.
fn outcome(payload: &[u8]) -> Result<(), Errno> {
    match read_i32(payload) {
        Some(0) | None => Ok(()),
        Some(code) => Err(Errno::from_raw(-code)),
    }
}

/// The attributes in `bytes`: type without flags, value.
pub(crate) fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1] = *bytes.first_chunk::<NLA_HEADER>()?;
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(NLA_HEADER..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK, value))
    })
}

/// The value of the first attribute of type `kind`.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(have, _)| *have == kind).map(|(_, value)| value)
}

pub(crate) fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

fn read_i32(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes))
}

pub(crate) fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let request = Request::new(16, 0, b"head")
            .text(3, "eth0")
            .nested(18, |inner| inner.u32(1, 7).nested(2, |inner| inner.attr(4, &[1])));
        let body = &request.0[HEADER + 4..];
        assert_eq!(find(body, 3).map(read_text).as_deref(), Some("eth0"));
        let nested = find(body, 18).unwrap();
        assert_eq!(find(nested, 1).and_then(read_u32), Some(7));
        assert_eq!(find(find(nested, 2).unwrap(), 4), Some(&[1u8][..]));
        assert_eq!(request.0.len() % 4, 0);
    }

    #[test]
    fn a_cut_attribute_ends_the_list() {
        assert_eq!(attrs(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(attrs(&[4, 0, 1, 0]).count(), 1);
        assert_eq!(attrs(&[0, 0, 0, 0]).count(), 0);
    }
}
