//! The kernel's corners that std and nix do not cover safely: the only crate with `unsafe`.
//!
//! One module per subject; each wraps a call so that a caller needs no `unsafe`, or refuses when the
//! call's condition does not hold. Nothing here decides anything.
#![expect(unsafe_code, reason = "this crate exists to hold the workspace's unsafe code")]

pub mod bpf;
pub mod filesystem;
pub mod heap;
pub mod mount;
pub mod process;
pub mod seccomp;
pub mod socket;
pub mod systemd;
pub mod tap;
pub mod tty;
