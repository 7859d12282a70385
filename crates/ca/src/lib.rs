//! Trust: the cluster's root, join tokens, node certificates, and TLS configurations made of them.
//!
//! What a cluster trusts is `types::swarm::extension::ClusterRecord`, written by managers only; the functions here make
//! and read it. A node's own share is an [`Identity`] on disk and [`Credentials`] in memory, whose certificate and roots
//! may change while connections live.
//!
//! Opens no socket and logs nothing. Secrets (keys, tokens, unlock keys) have no `Debug` that shows them.

mod admission;
mod authority;
mod credentials;
mod digest;
pub mod doctor;
mod error;
mod folder;
mod identity;
mod info;
mod peer;
pub mod renewal;
mod request;
pub mod rotation;
mod sealed;
mod server;
mod token;
mod unlock;
mod verify;

pub use admission::{Admission, admit};
pub use authority::{Authority, Issued};
pub use credentials::{Clock, Credentials};
pub use digest::Digest;
pub use error::Error;
pub use identity::Identity;
pub use info::tls_info;
pub use peer::{Standing, peer_identity, peer_standing};
pub use request::NodeKey;
pub use rotation::{found, issue, trusted_roots};
pub use server::ServerCertificate;
pub use token::JoinToken;
pub use unlock::UnlockKey;
