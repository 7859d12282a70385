//! Terminals: their size.

use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd};

/// Sets the size of the terminal behind `tty`; its foreground processes get SIGWINCH.
pub fn set_window_size(tty: impl AsFd, rows: u16, cols: u16) -> Result<(), Errno> {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize from a valid pointer.
    let done = unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    Errno::result(done).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_no_terminal() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(set_window_size(&file, 24, 80), Err(Errno::ENOTTY));
    }
}
