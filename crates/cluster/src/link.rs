//! The agent's way to a dispatcher: in this process where this node leads, else over the port.

use crate::node::Shared;
use agent::Connect;
use async_trait::async_trait;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use tokio::sync::mpsc;
use types::swarm::node::NodeDescription;
use types::swarm::session::{AgentMessage, ManagerMessage, SessionSettings};

/// Messages under way between an agent and the dispatcher of its own process.
const QUEUE: usize = 64;

pub(crate) struct Link {
    /// The agent must not keep the node alive.
    shared: Weak<Shared>,
    /// Which of the managers is asked next.
    turn: AtomicUsize,
}

impl Link {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Link { shared: Arc::downgrade(shared), turn: AtomicUsize::new(0) }
    }
}

type Stream = (mpsc::Sender<AgentMessage>, mpsc::Receiver<ManagerMessage>);

#[async_trait]
impl Connect for Link {
    async fn connect(&self, mut hello: NodeDescription) -> io::Result<Stream> {
        let shared = self.shared.upgrade().ok_or_else(|| io::Error::other("the node has ended"))?;
        hello.tls_info = Some(ca::tls_info(crate::node::guard(&shared.identity).roots()));
        hello.addr = shared.advertised();
        hello.data_path_addr = shared.data_path();
        let (to_manager, from_manager) = self.dial(&shared).await?;
        let sent = to_manager.send(AgentMessage::Hello(hello)).await;
        sent.map_err(|_| io::Error::other("the session ended at once"))?;
        Ok((to_manager, from_manager))
    }

    fn settings(&self, settings: &SessionSettings) {
        if let Some(shared) = self.shared.upgrade() {
            shared.settings.send_if_modified(|known| {
                let first = |settings: &SessionSettings| settings.managers.first().cloned();
                // The list has the leader first: another one is asked first the next time.
                if known.as_ref().and_then(first) != first(settings) {
                    self.turn.store(0, Ordering::Relaxed);
                }
                let is_new = known.as_ref() != Some(settings);
                *known = Some(settings.clone());
                is_new
            });
        }
    }
}

impl Link {
    async fn dial(&self, shared: &Shared) -> io::Result<Stream> {
        if let Some(plane) = shared.running_plane().filter(|plane| plane.leads()) {
            let (to_manager, messages) = mpsc::channel(QUEUE);
            let answers = plane.dispatcher().session(shared.me(), messages).await?;
            return Ok((to_manager, answers));
        }
        // This node does not lead: asking itself would go round in circles.
        let me = shared.me().node;
        let managers: Vec<_> =
            shared.managers().into_iter().filter(|manager| manager.node != me).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let manager = managers.get(turn % managers.len().max(1));
        let manager = manager.ok_or_else(|| io::Error::other("no manager is known"))?;
        let expect = Some(&manager.node).filter(|node| !node.as_str().is_empty());
        let session = shared.client.session(&manager.addr, expect).await;
        Ok(session?)
    }
}
