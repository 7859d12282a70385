//! Encrypted networks: this node's key, and the helper process that carries their packets.

use super::Networks;
use crate::{Engine, Error, Result};
use netplan::overlay::{OverlayPlan, wire_mac};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wire::{Config, Helper, Key, KeyFile, Peer};

/// Below the networks' directory.
const KEY: &str = "wire.key";
/// Below the engine's runtime directory.
const HELPER: &str = "wire";
/// Without it there is no device for the helper.
const DEVICE: &str = "/dev/net/tun";

/// What this node has for encrypted networks.
pub(super) struct Wire {
    key: KeyFile,
    helper: Arc<Mutex<Helper>>,
}

impl Wire {
    pub(super) fn open(networks: &Path, exec_root: &Path) -> Self {
        // The daemon's own program, also when its file was replaced.
        let helper = Helper::at(exec_root.join(HELPER), PathBuf::from("/proc/self/exe"));
        Wire { key: KeyFile::at(networks.join(KEY)), helper: Arc::new(Mutex::new(helper)) }
    }

    /// The node's private key.
    fn key(&self) -> Result<Key> {
        self.key.ensure().map_err(|err| Error::caused("failed to read the node's key", err))
    }

    /// The node is in no cluster any more.
    pub(super) fn forget(&self) -> Result<()> {
        self.key.remove().map_err(|err| Error::caused("failed to remove the node's key", err))
    }
}

impl Engine {
    /// What other nodes encrypt for this one with, base64; `None` of a machine that cannot take part in encrypted networks.
    pub async fn wire_key(&self) -> Option<String> {
        let key = Path::new(DEVICE).exists().then(|| self.0.networks.wire.key())?;
        key.inspect_err(|err| tracing::error!(error = %err, "no encrypted networks on this node"))
            .ok()
            .map(|key| key.public().to_text())
    }
}

impl Networks {
    /// Has the helper carry what the plan says; without encrypted networks there is none.
    pub(super) async fn carry(&self, plan: &OverlayPlan) -> Result<()> {
        let config = plan.wire.as_ref().map(|wire| {
            let peer = |(underlay, key): (&std::net::Ipv4Addr, &String)| {
                // What is no key was made by nobody: nothing goes there.
                let public = Key::parse(key)?;
                Some(Peer { underlay: *underlay, mac: wire_mac(*underlay), public })
            };
            Ok(Config {
                interface: wire.interface.clone(),
                local: wire.local,
                port: wire.port,
                mac: wire.mac,
                private: self.wire.key()?,
                peers: wire.peers.iter().filter_map(peer).collect(),
            })
        });
        let config = config.transpose()?;
        let helper = self.wire.helper.clone();
        let ensure = move || {
            let mut helper = helper.lock().unwrap_or_else(PoisonError::into_inner);
            helper.ensure(config.as_ref())
        };
        let done = tokio::task::spawn_blocking(ensure).await;
        done.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))
            .map_err(|err| Error::caused("failed to carry the encrypted networks' packets", err))
    }
}
