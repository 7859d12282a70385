//! Unix sockets that carry descriptors.

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The most descriptors in one message that [`recv_with_fds`] takes (the kernel's own limit is 253).
pub const MAX_FDS: usize = 64;

/// Sends `data` with `fds` on a stream socket; returns the bytes sent. The descriptors go with the
/// first byte, so `data` must not be empty.
pub fn send_with_fds(
    socket: impl AsFd,
    data: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let slices = [IoSlice::new(data)];
    sendmsg::<()>(socket.as_fd().as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Receives into `buf`; appends received descriptors, close-on-exec, to `fds`. 0 is end of file.
pub fn recv_with_fds(
    socket: impl AsFd,
    buf: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(buf)];
    let raw = socket.as_fd().as_raw_fd();
    let message = recvmsg::<()>(raw, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            fds.extend(received.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    Ok(message.bytes)
}

/// How much of what was sent on `socket` is still on its way: not read by a local peer (`AF_UNIX`), or not
/// acknowledged by a remote one (TCP). The kernel counts its own overhead too: only 0 has a meaning of its own.
pub fn unsent(socket: impl AsFd) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to a valid pointer.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    Errno::result(done)?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_the_peer_has_read_is_not_on_its_way() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        assert_eq!(unsent(&near), Ok(0));
        near.write_all(b"head").unwrap();
        assert_ne!(unsent(&near), Ok(0));
        far.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(unsent(&near), Ok(0));
    }

    #[test]
    fn a_descriptor_arrives_usable() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        assert_eq!(send_with_fds(&left, b"hi", &[far.as_fd()]), Ok(2));
        let (mut buf, mut fds) = ([0; 8], Vec::new());
        assert_eq!(recv_with_fds(&right, &mut buf, &mut fds), Ok(2));
        let mut far = UnixStream::from(fds.remove(0));
        far.write_all(b"x").unwrap();
        let mut got = [0; 1];
        near.read_exact(&mut got).unwrap();
        assert_eq!((&buf[..2], &got), (&b"hi"[..], b"x"));
    }
}
