//! What the daemon tells the helper.

use crate::key::Key;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// All that the helper does. Where it says what it said before, nothing changes: sessions with peers go on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// The TAP device.
    pub interface: String,
    /// Where peers' packets come, UDP, and what ours come from.
    pub local: Ipv4Addr,
    pub port: u16,
    /// The device's own, which frames that come from peers are for.
    pub mac: [u8; 6],
    /// This node's secret.
    pub private: Key,
    pub peers: Vec<Peer>,
}

/// Another node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Peer {
    /// It is known by it: packets come from there and go there, to the same port.
    pub underlay: Ipv4Addr,
    /// Frames for this MAC are for it; those that it sends come from it.
    pub mac: [u8; 6],
    pub public: Key,
}

/// What the daemon says, and what it is answered.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) enum Order {
    Carry(Box<Config>),
    Stop,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Answer {
    /// Of the program that the helper is.
    pub(crate) version: String,
    /// Why it could not.
    pub(crate) error: Option<String>,
}
