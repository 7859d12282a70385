//! What an agent needs of whoever carries its stream.

use async_trait::async_trait;
use std::io;
use tokio::sync::mpsc;
use types::swarm::node::NodeDescription;
use types::swarm::session::{AgentMessage, ManagerMessage, SessionSettings};

/// The way to a manager. The caller of [`crate::Agent::start`] implements it: in-process where this node
/// leads, over the network elsewhere.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Opens a stream to a manager, another one than last time if that failed, and sends `Hello(hello)` as
    /// its first message, with what only the carrier knows (the TLS part) filled in. Either half ends the
    /// stream by being dropped. Called again, with a back-off of the agent's, whenever a stream has ended.
    async fn connect(
        &self,
        hello: NodeDescription,
    ) -> io::Result<(mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>)>;

    /// Managers said how the session goes on: where to turn to, which role and roots this node has. Must
    /// not block.
    fn settings(&self, settings: &SessionSettings);
}
