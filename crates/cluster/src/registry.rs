//! What a manager's registry shows and asks of its clients: a certificate of the cluster's root, and a token.
//!
//! The token is made of the managers' join token, one way: whoever has it can push and pull images and nothing else, every
//! manager knows it without being told, and `join-token --rotate manager` makes another one.

use crate::{Cluster, error, node};
use ca::{Authority, ServerCertificate};
use engine::Error;
use sha2::{Digest, Sha256};
use std::time::Duration;
use types::swarm::extension::ClusterRecord;

/// Until the next start or, sooner, the next renewal.
const LIFETIME: Duration = Duration::from_secs(90 * 24 * 3600);
const PREFIX: &str = "SMPREG-1-";
/// Digits of a token: 160 bits.
const DIGITS: usize = 40;

/// What a client of the registry needs to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryAccess {
    /// Its password; any user name will do.
    pub token: String,
    /// The root that it is to trust, PEM.
    pub root: String,
}

impl Cluster {
    /// # Errors
    /// dockerd's 503 when this node is no manager.
    pub fn registry_access(&self) -> Result<RegistryAccess, Error> {
        let record = self.record()?;
        let root = record.next_root.as_ref().unwrap_or(&record.root);
        Ok(RegistryAccess { token: token(&record.manager_token), root: root.certificate.clone() })
    }

    /// A certificate for a server that is called by these names, and the root that signed it.
    ///
    /// # Errors
    /// As above; when a name is none.
    pub fn registry_certificate(&self, names: &[String]) -> Result<ServerCertificate, Error> {
        let record = self.record()?;
        let root = record.next_root.as_ref().unwrap_or(&record.root);
        let authority = Authority::load(root).map_err(Error::from_lower)?;
        authority.issue_server(names, LIFETIME, node::now()).map_err(Error::from_lower)
    }

    /// Where this node is reached, without the port.
    pub fn advertised_host(&self) -> Option<String> {
        let node = self.inner.running().ok()?;
        Some(node::guard(&node.shared.state).advertise.ip().to_string())
    }

    fn record(&self) -> Result<ClusterRecord, Error> {
        let node = self.inner.running()?;
        let plane = node.shared.running_plane().ok_or_else(error::a_worker)?;
        let state = plane.raft().snapshot();
        let record = state.clusters().iter().next().and_then(|cluster| cluster.record.clone());
        record.ok_or_else(|| Error::unavailable("this manager does not know its cluster yet"))
    }
}

fn token(manager_token: &str) -> String {
    let hash = Sha256::digest(format!("sampan registry {manager_token}"));
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{}", &hex[..DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_changes_with_the_join_token_and_tells_nothing_of_it() {
        let (one, other) = (token("SWMTKN-1-a-b"), token("SWMTKN-1-a-c"));
        assert!(one != other && one == token("SWMTKN-1-a-b"));
        assert_eq!(one.len(), PREFIX.len() + DIGITS);
        assert!(!one.contains("SWMTKN"));
    }
}
