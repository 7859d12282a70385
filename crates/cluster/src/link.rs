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
    /// Which of the managers is asked next; the leader, as far as it is known, is the first of them.
    turn: AtomicUsize,
    /// Who is asked after the leader, when somebody sent us to it.
    after: AtomicUsize,
}

impl Link {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Link {
            shared: Arc::downgrade(shared),
            turn: AtomicUsize::new(0),
            after: AtomicUsize::new(0),
        }
    }

    /// Whose turn it is. Who sent us to a leader that does not answer is not asked for it again before the others.
    fn next(&self) -> usize {
        match self.turn.load(Ordering::Relaxed) {
            0 => {
                let after = self.after.swap(0, Ordering::Relaxed).max(1);
                self.turn.store(after, Ordering::Relaxed);
                0
            }
            turn => {
                self.turn.store(turn + 1, Ordering::Relaxed);
                turn
            }
        }
    }

    /// A manager has named the managers; `is_new`: another leader than before. The leader is asked next, unless it was just
    /// now.
    fn heed(&self, is_new: bool) {
        let turn = self.turn.load(Ordering::Relaxed);
        if is_new || turn > 1 {
            self.after.store(if is_new { 0 } else { turn }, Ordering::Relaxed);
            self.turn.store(0, Ordering::Relaxed);
        }
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
                self.heed(known.as_ref().and_then(first) != first(settings));
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
        let turn = self.next();
        let manager = managers.get(turn % managers.len().max(1));
        let manager = manager.ok_or_else(|| io::Error::other("no manager is known"))?;
        let expect = Some(&manager.node).filter(|node| !node.as_str().is_empty());
        let session = shared.client.session(&manager.addr, expect).await;
        Ok(session?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_does_not_answer_keeps_nobody_from_asking_the_others() {
        let link =
            Link { shared: Weak::new(), turn: AtomicUsize::new(0), after: AtomicUsize::new(0) };
        assert_eq!([link.next(), link.next(), link.next()], [0, 1, 2]);
        link.heed(false);
        assert_eq!([link.next(), link.next()], [0, 3], "sent to the leader, which is silent");
        link.heed(true);
        assert_eq!([link.next(), link.next()], [0, 1], "another leader");
    }

    #[test]
    fn settings_of_the_leader_itself_change_nothing() {
        let link =
            Link { shared: Weak::new(), turn: AtomicUsize::new(0), after: AtomicUsize::new(0) };
        assert_eq!(link.next(), 0);
        link.heed(false);
        assert_eq!([link.next(), link.next()], [1, 2]);
    }
}
