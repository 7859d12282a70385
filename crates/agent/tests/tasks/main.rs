//! The agent with real containers, and the managers' part played by the test.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod files;
mod life;
mod networks;
mod restart;
mod session;
mod world;
