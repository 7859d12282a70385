//! The two directions: frames of the device to encrypted datagrams, and back. One thread each.

use crate::peers::{Peers, Session};
use boringtun::noise::TunnResult;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use nix::unistd::{read, write};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Ethernet: destination, source, type.
const FRAME: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// More than any packet, with what is put around it.
const LARGEST: usize = 65_536 + 256;
/// Datagrams that the kernel takes at once (`UDP_MAX_SEGMENTS`, and what one may hold).
const AT_ONCE: usize = 64;
const AT_ONCE_BYTES: usize = 65_000;
/// What WireGuard puts around a packet, and its least room.
const AROUND: usize = 32;
const LEAST: usize = 256;
/// Between two looks at what a session is due to say: WireGuard's own timers are whole seconds.
const TICK: Duration = Duration::from_millis(250);

/// What both directions, and the clock, share.
pub(crate) struct Carrier {
    device: OwnedFd,
    socket: UdpSocket,
    peers: RwLock<Arc<Peers>>,
}

impl Carrier {
    pub(crate) fn new(device: OwnedFd, socket: UdpSocket, peers: Peers) -> io::Result<Arc<Self>> {
        // Until there is nothing to read, so that what is sent together can be sent at once.
        fcntl(&device, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // What comes together is read at once, if the kernel can do that.
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
        Ok(Arc::new(Carrier { device, socket, peers: RwLock::new(Arc::new(peers)) }))
    }

    pub(crate) fn peers(&self) -> Arc<Peers> {
        Arc::clone(&self.peers.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_peers(&self, peers: Peers) {
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(peers);
        self.greet();
    }

    /// Sessions are made before the first packet asks for one: after a restart the others would go on with the old ones.
    pub(crate) fn greet(&self) {
        let mut out = [0; 256];
        for session in self.peers().all() {
            let mut tunnel = session.tunnel();
            if tunnel.time_since_last_handshake().is_none() {
                self.send(session, &tunnel.format_handshake_initiation(&mut out, false));
            }
        }
    }

    /// Frames out. Ends when the device is gone.
    pub(crate) fn carry_out(&self) -> io::Error {
        let mut frame = vec![0; LARGEST];
        let mut batch = Batch::default();
        loop {
            let got = match read(self.device.as_fd(), &mut frame) {
                Ok(got) => got,
                Err(Errno::EAGAIN) => {
                    batch.send(self);
                    match self.await_frame() {
                        Ok(()) => continue,
                        Err(err) => return err,
                    }
                }
                Err(Errno::EINTR) => continue,
                // Down, for now.
                Err(Errno::EIO) => {
                    batch.send(self);
                    std::thread::sleep(TICK);
                    continue;
                }
                Err(err) => return err.into(),
            };
            let Some((head, packet)) = frame[..got].split_first_chunk::<FRAME>() else { continue };
            let Some(mac) = head.first_chunk::<6>() else { continue };
            // Neighbours are known; nobody need be asked on this link.
            if head[12..] != IPV4 && head[12..] != IPV6 {
                continue;
            }
            let peers = self.peers();
            if let Some(session) = peers.with_mac(*mac) {
                batch.seal(self, session, packet);
            }
        }
    }

    fn await_frame(&self) -> io::Result<()> {
        let mut device = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
        match poll(&mut device, PollTimeout::NONE) {
            Err(err) if err != Errno::EINTR => return Err(err.into()),
            _ => {}
        }
        let is_broken = |events: PollFlags| events.intersects(PollFlags::POLLNVAL);
        match device[0].revents().is_some_and(is_broken) {
            true => Err(io::ErrorKind::NotFound.into()),
            false => Ok(()),
        }
    }

    /// Datagrams in. Ends when the socket does.
    pub(crate) fn carry_in(&self) -> io::Error {
        let (mut datagrams, mut frame) = (vec![0; LARGEST], vec![0; LARGEST]);
        let mut space = cmsg_space!(libc::c_int);
        loop {
            let mut into = [IoSliceMut::new(&mut datagrams)];
            let socket = self.socket.as_raw_fd();
            let got = recvmsg::<SockaddrIn>(socket, &mut into, Some(&mut space), MsgFlags::empty());
            let (from, len, each) = match got {
                Ok(got) => {
                    let Some(from) = got.address else { continue };
                    let mut said = got.cmsgs().into_iter().flatten();
                    let each = said.find_map(|it| match it {
                        ControlMessageOwned::UdpGroSegments(each) => usize::try_from(each).ok(),
                        _ => None,
                    });
                    (from.ip(), got.bytes, each.unwrap_or(got.bytes))
                }
                // Somebody's answer to what we sent: his helper is not there.
                Err(Errno::ECONNREFUSED | Errno::EINTR | Errno::EHOSTUNREACH) => continue,
                Err(err) => return err.into(),
            };
            let peers = self.peers();
            if let Some(session) = peers.at(from) {
                for datagram in datagrams[..len].chunks(each.max(1)) {
                    self.take(&peers, session, from, datagram, &mut frame);
                }
            }
        }
    }

    fn take(
        &self,
        peers: &Peers,
        session: &Session,
        from: Ipv4Addr,
        datagram: &[u8],
        frame: &mut [u8],
    ) {
        let (head, body) = frame.split_at_mut(FRAME);
        let mut tunnel = session.tunnel();
        let mut opened = tunnel.decapsulate(Some(from.into()), datagram, body);
        loop {
            match opened {
                TunnResult::WriteToNetwork(_) => self.send(session, &opened),
                TunnResult::WriteToTunnelV4(packet, _) => {
                    let len = packet.len();
                    drop(tunnel);
                    head[12..].copy_from_slice(&IPV4);
                    return self.deliver(peers, session, frame, len);
                }
                TunnResult::WriteToTunnelV6(packet, _) => {
                    let len = packet.len();
                    drop(tunnel);
                    head[12..].copy_from_slice(&IPV6);
                    return self.deliver(peers, session, frame, len);
                }
                // What cannot be opened is nobody's, or of a session that is no more.
                TunnResult::Done | TunnResult::Err(_) => return,
            }
            // What waited for the session.
            opened = tunnel.decapsulate(None, &[], body);
        }
    }

    /// The frame comes from the peer that the packet was encrypted by, whatever is written in it.
    fn deliver(&self, peers: &Peers, session: &Session, frame: &mut [u8], len: usize) {
        frame[..6].copy_from_slice(&peers.config.mac);
        frame[6..12].copy_from_slice(&session.peer.mac);
        // A device that is down or full drops it, as any link does.
        let _ = write(self.device.as_fd(), &frame[..FRAME + len]);
    }

    fn send(&self, session: &Session, sealed: &TunnResult<'_>) {
        if let TunnResult::WriteToNetwork(datagram) = sealed {
            // What cannot be sent now is lost, as on any way.
            let _ = self.socket.send_to(datagram, self.address(session));
        }
    }

    fn address(&self, session: &Session) -> SocketAddrV4 {
        SocketAddrV4::new(session.peer.underlay, self.peers().config.port)
    }

    /// New keys every two minutes, handshakes again, keepalives: what is due by the clock.
    pub(crate) fn keep_time(&self) {
        let mut out = [0; 256];
        loop {
            std::thread::sleep(TICK);
            let peers = self.peers();
            peers.limiter.reset_count();
            for session in peers.all() {
                let mut tunnel = session.tunnel();
                let due = tunnel.update_timers(&mut out);
                self.send(session, &due);
            }
        }
    }
}

/// Datagrams of one size for one peer, handed to the kernel together; the last one may be smaller.
#[derive(Default)]
struct Batch {
    session: Option<Arc<Session>>,
    datagrams: Vec<u8>,
    each: usize,
    count: usize,
}

impl Batch {
    /// Encrypts the packet and keeps it, or sends what was kept before it.
    fn seal(&mut self, carrier: &Carrier, session: &Arc<Session>, packet: &[u8]) {
        let is_same = self.session.as_ref().is_some_and(|before| Arc::ptr_eq(before, session));
        let room = packet.len() + AROUND;
        let is_full = self.count == AT_ONCE || self.datagrams.len() + room > AT_ONCE_BYTES;
        if !is_same || is_full || room > self.each {
            self.send(carrier);
            self.session = Some(Arc::clone(session));
        }
        let from = self.datagrams.len();
        self.datagrams.resize(from + room.max(LEAST), 0);
        let sealed = session.tunnel().encapsulate(packet, &mut self.datagrams[from..]);
        let TunnResult::WriteToNetwork(datagram) = sealed else {
            // It waits for the session.
            return self.datagrams.truncate(from);
        };
        let len = datagram.len();
        self.datagrams.truncate(from + len);
        self.count += 1;
        match self.count {
            1 => self.each = len,
            // A handshake, or the last of a size.
            _ if len != self.each => self.send(carrier),
            _ => {}
        }
    }

    fn send(&mut self, carrier: &Carrier) {
        if let Some(session) = self.session.take().filter(|_| self.count > 0) {
            let to = carrier.address(&session);
            let each = u16::try_from(self.each).unwrap_or(u16::MAX);
            let whole = [IoSlice::new(&self.datagrams)];
            let pieces = [ControlMessage::UdpGsoSegments(&each)];
            let pieces = if self.count > 1 { &pieces[..] } else { &[] };
            let socket = carrier.socket.as_raw_fd();
            let sent =
                sendmsg(socket, &whole, pieces, MsgFlags::empty(), Some(&SockaddrIn::from(to)));
            // A kernel or a way that takes them one by one only.
            if sent.is_err() && self.count > 1 {
                for datagram in self.datagrams.chunks(self.each.max(1)) {
                    let _ = carrier.socket.send_to(datagram, to);
                }
            }
        }
        self.datagrams.clear();
        (self.each, self.count) = (0, 0);
    }
}
