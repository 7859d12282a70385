//! Whole filesystems.

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// `EXT4_IOC_SHUTDOWN`, the same as `XFS_IOC_GOINGDOWN` (`linux/fs/ext4/ext4.h`: `_IOR('X', 125, __u32)`).
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
/// Neither data nor journal are written out any more.
const WITHOUT_FLUSHING: u32 = 2;

/// Ends all writing to the filesystem of `dir` at once, as a loss of power does: after the next mount it holds what
/// had been made durable, and of the rest what the kernel happened to have written. Until then every write fails.
pub fn lose_power(dir: impl AsFd) -> Result<(), Errno> {
    let how = WITHOUT_FLUSHING;
    // SAFETY: the request reads one u32 from a valid pointer.
    let done = unsafe { libc::ioctl(dir.as_fd().as_raw_fd(), SHUTDOWN, &raw const how) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filesystem_without_a_disk_has_no_power_to_lose() {
        let proc = std::fs::File::open("/proc").unwrap();
        assert_eq!(lose_power(&proc), Err(Errno::ENOTTY));
    }
}
