//! TAP devices: Ethernet interfaces whose frames a process reads and writes.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const DEVICE: &str = "/dev/net/tun";

/// Attaches to the TAP device `name` of the calling thread's network namespace, and makes it if it is not there. Frames
/// come and go bare. One that this makes goes with the descriptor, unless it is [`keep`]t.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    // SAFETY: `ifreq` is plain data, for which zeroes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the call reads and writes one `ifreq`, which outlives it.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device.into())
}

/// The device stays when the last descriptor is closed, until it is deleted as any link.
pub fn keep(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the call takes a number.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETPERSIST, 1) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
