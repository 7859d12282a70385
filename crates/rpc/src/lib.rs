//! The cluster's port: gRPC between nodes over mutual TLS, and the Engine API for other nodes on the same port.
//!
//! ```text
//! TCP ─► TLS 1.3 ─► ALPN h2       ─► Trust (anyone) · Dispatch (any node) · Consensus, Membership (managers)
//!                └► ALPN http/1.1 ─► the caller's HTTP service (any node), upgrades included
//! ```
//!
//! [`Server`] owns the listener and one task per connection; [`Client`] owns one connection per peer and the tasks that
//! drive them. What the services mean is the implementers' business: payloads are the JSON of `types`' messages.
//! Reads no files and decides nothing about trust: TLS configurations and identities come in as [`Tls`].

mod client;
mod cut;
mod error;
mod explain;
mod frame;
mod peer;
mod server;
mod services;

pub use client::{Client, HttpConnection, fetch_root};
pub use error::{Code, Error};
pub use peer::{Identify, Peer, Tls};
pub use server::{Body, Server};
pub use services::{Consensus, Dispatch, Http, IssueRequest, Issued, Membership, Services, Trust};
