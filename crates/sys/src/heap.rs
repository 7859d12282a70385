//! The C library's heap: how many arenas it keeps, and what it gives back to the kernel.
//!
//! glibc makes an arena for every thread that contends for one (up to eight for each CPU) and keeps what
//! was freed in the middle of each: a daemon that once unpacked an image would weigh it for ever
//! (`mallopt(3)`, `malloc_trim(3)`). Other C libraries have no such words; there these do nothing.

use std::ffi::c_int;

/// Keeps to `arenas` from now on. To be called before the first thread starts.
pub fn limit_arenas(arenas: c_int) {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter of the allocator, under its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
    }
    #[cfg(not(target_env = "gnu"))]
    let _ = arenas;
}

/// Gives the pages of freed memory back to the kernel. Takes milliseconds: for after work that used much.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim walks the allocator's own lists, under its locks, and touches no memory in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
