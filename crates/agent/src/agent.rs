//! The agent's handle: what is put together at its start, and how it ends.

use crate::connect::Connect;
use crate::description;
use crate::executor::Executor;
use crate::files::Files;
use crate::follower;
use crate::journal::Journal;
use crate::pulls::Pulls;
use crate::session::Session;
use crate::spec::NodeFacts;
use crate::worker::{Input, Mail, Worker};
use engine::Engine;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::NodeId;

/// Messages that the worker may be behind before the stream is read no further.
const BEHIND: usize = 16;
/// Where secrets and configs lie, below the engine's own directory of what ends with a reboot.
const FILES: &str = "swarm";
/// A removal that cannot succeed must not keep a node in a cluster that it leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(60);

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
pub struct Agent {
    dir: PathBuf,
    engine: Engine,
    stop: CancellationToken,
    tasks: TaskTracker,
    worker: Option<JoinHandle<()>>,
    inputs: mpsc::UnboundedSender<Input>,
    connected: watch::Receiver<bool>,
}

impl Agent {
    /// Takes up what the last agent left, then whatever managers say.
    pub async fn start(options: Options) -> io::Result<Agent> {
        let Options { dir, node, engine, connect } = options;
        crate::protect::daemon();
        let (journal, kept) = Journal::open(&dir)?;
        let files = Files::open(engine.config().exec_root.join(FILES))?;
        let described = description::describe(&engine).await;
        let facts = NodeFacts {
            id: node.clone(),
            hostname: described.hostname,
            os: described.platform.os,
            architecture: described.platform.architecture,
        };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let mail = Arc::new(Mail::default());
        // Not bounded, but never long: each task has one job at a time, each container one watcher.
        let (inputs, jobs) = mpsc::unbounded_channel();
        let (send, messages) = mpsc::channel(BEHIND);
        let (tell_connected, connected) = watch::channel(false);
        let pulls = Pulls::new(engine.clone(), tasks.clone(), &stop);
        let executor = Executor::new(engine.clone(), files, pulls, stop.clone());
        let worker = Worker::new(
            facts,
            journal,
            kept,
            executor,
            mail.clone(),
            tasks.clone(),
            stop.clone(),
            inputs.clone(),
        );
        let worker = tasks.spawn(worker.run(messages, jobs));
        let (news, heard) = watch::channel(());
        let (tell_applied, applied) = watch::channel(None);
        tasks.spawn(follower::run(engine.clone(), heard, tell_applied, stop.clone()));
        let session = Session {
            engine: engine.clone(),
            node,
            connect,
            mail,
            worker: send,
            news,
            applied,
            connected: tell_connected,
            stop: stop.clone(),
        };
        tasks.spawn(session.run());
        Ok(Agent { dir, engine, stop, tasks, worker: Some(worker), inputs, connected })
    }

    /// Whether a manager has taken the node in. It goes on without.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    /// Ends; containers go on, and the next agent takes them up. Waits for what is half done.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The node leaves the cluster: stops and removes every task's container, and all the agent made.
    pub async fn leave(mut self) -> io::Result<()> {
        // An agent that has ended has nothing to take away.
        let _ended = self.inputs.send(Input::Leave);
        if let Some(worker) = self.worker.take() {
            match tokio::time::timeout(LEAVE_WITHIN, worker).await {
                Ok(Ok(())) => {}
                Ok(Err(err)) => tracing::error!(error = %err, "the agent's worker failed"),
                Err(_) => tracing::warn!(
                    "not every container of the cluster that is left can be removed: the next start of the daemon tries again"
                ),
            }
        }
        let (dir, engine) = (self.dir.clone(), self.engine.clone());
        self.stop().await;
        // Last: until its session has ended the node is told of endpoints, and would follow them again.
        if let Err(err) = engine.forget_endpoints().await {
            tracing::warn!(error = %err, "failed to remove the cluster's networks");
        }
        match std::fs::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
