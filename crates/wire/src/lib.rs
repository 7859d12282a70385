//! Encrypted packets between nodes: the WireGuard protocol between a TAP device and UDP.
//!
//! ```text
//! kernel ──frames──► TAP ──► helper: which peer has that MAC ──encrypted IP packets, UDP──► the peer's helper ──► its TAP
//! ```
//! A helper process does it, which outlives the daemon as shims do: who restarts the daemon cuts no connection. The daemon
//! tells it by a socket what it should do ([`Helper::ensure`]), as a whole and as often as it likes. The device is made by
//! `netdev`; when it is deleted the helper ends, so that nothing of it can be left behind.
//!
//! Decides nothing: who may send as whom is for the rules, which know a peer by the MAC that its frames get here.

mod carry;
mod config;
mod control;
mod helper;
mod key;
mod peers;

pub use config::{Config, Peer};
pub use control::Helper;
pub use helper::main;
pub use key::{Key, KeyFile};
