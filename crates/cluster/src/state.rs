//! What this node remembers of its membership: `swarm/state.json`, written before it acts on it.
//!
//! Its certificate says who it is and in which role; the log and the assignments are kept by their own rooms.

use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use types::swarm::session::ManagerAddress;

const FILE: &str = "state.json";

/// Written at `init` and `join`, and when the managers change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct State {
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: SocketAddr,
    /// Where containers' packets are sent to, if not to the address above.
    #[serde(default)]
    pub(crate) data_path: Option<IpAddr>,
    /// Whom to turn to after a restart.
    #[serde(default)]
    pub(crate) managers: Vec<ManagerAddress>,
}

impl State {
    /// [`None`] when this node is in no cluster.
    pub(crate) fn load(dir: &Path) -> io::Result<Option<State>> {
        match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(err) => Err(err),
        }
    }

    pub(crate) fn remove(dir: &Path) -> io::Result<()> {
        std::fs::remove_file(dir.join(FILE))
    }

    /// Replaces the file whole.
    pub(crate) fn save(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        let new = dir.join(format!("{FILE}.new"));
        let file = std::fs::File::create(&new)?;
        io::Write::write_all(&mut &file, &text)?;
        file.sync_all()?;
        std::fs::rename(&new, dir.join(FILE))?;
        std::fs::File::open(dir)?.sync_all()
    }
}
