//! Installing a seccomp filter that was compiled earlier.

use nix::errno::Errno;

/// The size of one BPF instruction.
const INSTRUCTION: usize = 8;

/// Loads `bpf` (the kernel's `sock_filter` array as bytes) for this thread and what it becomes. Needs
/// `CAP_SYS_ADMIN` or no_new_privs.
pub fn install(bpf: &[u8]) -> Result<(), Errno> {
    if bpf.is_empty() || !bpf.len().is_multiple_of(INSTRUCTION) {
        return Err(Errno::EINVAL);
    }
    // Copied into a vector of instructions: the bytes may not be aligned for them.
    let mut filter: Vec<libc::sock_filter> = bpf
        .chunks_exact(INSTRUCTION)
        .map(|raw| libc::sock_filter {
            code: u16::from_ne_bytes([raw[0], raw[1]]),
            jt: raw[2],
            jf: raw[3],
            k: u32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
        })
        .collect();
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `program` points to `filter`, alive during the call; the kernel copies and checks it.
    let done = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    Errno::result(done).map(drop)
}

/// Whether the kernel knows the filter mode at all: asking for the availability of an action answers.
pub fn is_available() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one u32 from a valid pointer.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action)
    };
    answer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_filter_is_refused() {
        assert_eq!(install(&[0; 7]), Err(Errno::EINVAL));
        assert_eq!(install(&[]), Err(Errno::EINVAL));
    }
}
