//! The agent's handle.

use crate::Connect;
use engine::Engine;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use types::NodeId;

/// What an agent works with.
pub struct Options {
    /// The agent's own; survives reboots.
    pub dir: PathBuf,
    /// This node, as its certificate has it.
    pub node: NodeId,
    pub engine: Engine,
    pub connect: Arc<dyn Connect>,
}

/// A running agent. Dropping it ends it as [`Agent::stop`] does, without waiting.
pub struct Agent {}

impl Agent {
    /// Takes up what the last agent left, then whatever managers say.
    pub async fn start(_options: Options) -> io::Result<Agent> {
        Err(io::Error::other("not yet"))
    }

    /// Ends; containers go on, and the next agent takes them up.
    pub async fn stop(self) {}

    /// The node leaves the cluster: stops and removes every task's container, and all the agent made.
    pub async fn leave(self) {}
}
