//! Loading and attaching one kind of BPF program: the device rules of a cgroup (v2).

use nix::errno::Errno;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// From the kernel's `linux/bpf.h`.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
/// Programs of cgroups above keep their say: a device is usable only if all of them allow it.
const ALLOW_MULTI: u32 = 2;

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`; what follows is optional.
#[repr(C)]
struct Load {
    kind: u32,
    instructions: u32,
    first: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Lets `program` (the kernel's `bpf_insn` array, one number each) decide which devices the processes of
/// the cgroup v2 directory `cgroup` may use. It lives as long as the cgroup. Needs `CAP_BPF` and
/// `CAP_NET_ADMIN`, or `CAP_SYS_ADMIN`; `EINVAL` if the kernel's verifier refuses the program.
pub fn attach_device_rules(cgroup: BorrowedFd<'_>, program: &[u64]) -> Result<(), Errno> {
    let load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        first: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: the pointers in `load` are alive during the call; the kernel copies and verifies the program,
    // and returns a descriptor that is ours.
    let loaded = unsafe {
        let fd = Errno::result(bpf(PROG_LOAD, &load))?;
        OwnedFd::from_raw_fd(i32::try_from(fd).map_err(|_| Errno::EOVERFLOW)?)
    };
    let number = |fd: i32| u32::try_from(fd).map_err(|_| Errno::EBADF);
    let attach = Attach {
        target: number(cgroup.as_raw_fd())?,
        program: number(loaded.as_raw_fd())?,
        kind: ATTACH_CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    // SAFETY: the kernel reads `attach`; both descriptors are open.
    Errno::result(unsafe { bpf(PROG_ATTACH, &attach) }).map(drop)
}

/// # Safety
/// `attributes` is what `command` expects, and what it points to is alive.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> libc::c_long {
    // SAFETY: as the caller promises.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) }
}
