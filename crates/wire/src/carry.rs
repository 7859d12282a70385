//! The two directions: frames of the device to encrypted datagrams, and back. One thread each.

use crate::peers::{Peers, Session};
use boringtun::noise::{Tunn, TunnResult};
use nix::errno::Errno;
use nix::unistd::{read, write};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Ethernet: destination, source, type.
const FRAME: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// More than any packet, with what is put around it.
const LARGEST: usize = 65_536 + 256;
/// Between two looks at what a session is due to say: WireGuard's own timers are whole seconds.
const TICK: Duration = Duration::from_millis(250);

/// What both directions, and the clock, share.
pub(crate) struct Carrier {
    device: OwnedFd,
    socket: UdpSocket,
    peers: RwLock<Arc<Peers>>,
}

impl Carrier {
    pub(crate) fn new(device: OwnedFd, socket: UdpSocket, peers: Peers) -> Arc<Self> {
        Arc::new(Carrier { device, socket, peers: RwLock::new(Arc::new(peers)) })
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
        let (mut frame, mut out) = (vec![0; LARGEST], vec![0; LARGEST]);
        loop {
            let got = match read(self.device.as_fd(), &mut frame) {
                Ok(got) => got,
                Err(Errno::EINTR) => continue,
                // Not up yet, or just not.
                Err(Errno::EIO) => {
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
            let Some(session) = peers.with_mac(*mac) else { continue };
            let sealed = session.tunnel().encapsulate(packet, &mut out);
            self.send(session, &sealed);
        }
    }

    /// Datagrams in. Ends when the socket does.
    pub(crate) fn carry_in(&self) -> io::Error {
        let (mut datagram, mut frame) = (vec![0; LARGEST], vec![0; LARGEST]);
        loop {
            let (got, from) = match self.socket.recv_from(&mut datagram) {
                Ok(got) => got,
                // Somebody's answer to what we sent: his helper is not there.
                Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return err,
            };
            let IpAddr::V4(from) = from.ip() else { continue };
            let peers = self.peers();
            if let Some(session) = peers.at(from) {
                self.take(&peers, session, from, &datagram[..got], &mut frame);
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
            let to = SocketAddr::from((session.peer.underlay, self.peers().config.port));
            // What cannot be sent now is lost, as on any way.
            let _ = self.socket.send_to(datagram, to);
        }
    }

    /// New keys every two minutes, handshakes again, keepalives: what is due by the clock.
    pub(crate) fn keep_time(&self) {
        let mut out = [0; 256];
        loop {
            std::thread::sleep(TICK);
            let peers = self.peers();
            peers.limiter.reset_count();
            for session in peers.all() {
                let mut tunnel: std::sync::MutexGuard<'_, Tunn> = session.tunnel();
                let due = tunnel.update_timers(&mut out);
                self.send(session, &due);
            }
        }
    }
}
