//! The stream to a manager, for as long as the agent lives: one after the other, with a pause in between
//! that grows while none can be had.
//!
//! The endpoint table is handed to the engine before what comes after it is read: a task that is assigned then finds
//! its network and its names. That the kernel follows it is told later ([`crate::follower`]).
//!
//! Heartbeats, statuses and what comes in share no work with containers: a slow disk delays no beat. That
//! the worker is behind holds back only the reading.

use crate::connect::Connect;
use crate::description;
use crate::worker::{Input, Mail};
use engine::Engine;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use types::NodeId;
use types::swarm::endpoint::EndpointTable;
use types::swarm::session::{AgentMessage, ManagerMessage};

/// The first pause after a lost stream, and the longest one. Who was cut off and is not any more must be heard within a moment.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_millis(500);
/// A stream that lived this long was a good one.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// How long a manager may take to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Until managers say otherwise. Docker's.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Between two messages of statuses, so that those of a burst travel together.
const GATHER: Duration = Duration::from_millis(20);
/// Statuses without an answer are said again.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// What this node has of the cluster's networks is said again: an answer that gave a place may have been lost.
const TELL_ATTACHMENTS: Duration = Duration::from_secs(60);

pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) node: NodeId,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) worker: mpsc::Sender<Input>,
    /// The engine has another endpoint table.
    pub(crate) news: watch::Sender<()>,
    /// The version of the table that the kernel follows.
    pub(crate) applied: watch::Receiver<Option<u64>>,
    pub(crate) connected: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
}

/// How far a stream came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Served {
    #[default]
    Nothing,
    /// Whom to turn to.
    Settings,
    /// What a leader has to say.
    Cluster,
}

impl Session {
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.streams() => {}
        }
    }

    async fn streams(&self) {
        let mut pause = PAUSE_FIRST;
        let mut round = 0;
        let mut was_sent_on = false;
        loop {
            let began = Instant::now();
            let hello = description::describe(&self.engine).await;
            let opened = tokio::time::timeout(CONNECT_WITHIN, self.connect.connect(hello)).await;
            match opened {
                Ok(Ok((send, receive))) => {
                    let served = watch::Sender::new(Served::default());
                    round = self.stream(send, receive, round, &served).await;
                    self.connected.send_replace(false);
                    tracing::debug!("the stream to the manager has ended");
                    // A manager that does not lead says who does, and lets go. Two that name each other are not asked
                    // without end.
                    let is_sent_on = *served.borrow() == Served::Settings;
                    was_sent_on = is_sent_on && !was_sent_on;
                    if was_sent_on {
                        continue;
                    }
                }
                Ok(Err(err)) => tracing::debug!(error = %err, "no manager can be reached"),
                Err(_late) => tracing::debug!("no manager answers"),
            }
            if began.elapsed() >= GOOD_STREAM {
                pause = PAUSE_FIRST;
            }
            // Nodes that lost one manager do not all turn to the next one at once.
            tokio::time::sleep(jittered(pause, 0.5)).await;
            pause = (pause * 2).min(PAUSE_LAST);
        }
    }

    /// One stream, to its end. Rounds of the outbox count on from `round`.
    async fn stream(
        &self,
        send: mpsc::Sender<AgentMessage>,
        receive: mpsc::Receiver<ManagerMessage>,
        round: u64,
        served: &watch::Sender<Served>,
    ) -> u64 {
        let (period, beats) = watch::channel(HEARTBEAT);
        let mut last = round + 1;
        tokio::select! {
            () = self.read(receive, &period, served) => {}
            () = beat(&send, beats) => {}
            () = self.speak(&send, &mut last) => {}
            () = self.acknowledge(&send) => {}
            () = self.tell_attachments(&send) => {}
        }
        last
    }

    /// Ends when the stream does, or brings something that does not fit what came before.
    async fn read(
        &self,
        mut receive: mpsc::Receiver<ManagerMessage>,
        period: &watch::Sender<Duration>,
        served: &watch::Sender<Served>,
    ) {
        let mut version = None;
        let mut table = Arc::new(EndpointTable::default());
        while let Some(message) = receive.recv().await {
            served.send_if_modified(|served| {
                *served = (*served).max(match message {
                    ManagerMessage::Settings(_) => Served::Settings,
                    _ => Served::Cluster,
                });
                false
            });
            let input = match message {
                ManagerMessage::Settings(settings) => {
                    if let Ok(nanos @ 1..) = u64::try_from(settings.heartbeat_period) {
                        period.send_replace(Duration::from_nanos(nanos));
                    }
                    self.connect.settings(&settings);
                    self.connected.send_replace(true);
                    continue;
                }
                ManagerMessage::Assignments(message) => {
                    if !message.complete && version != Some(message.from) {
                        tracing::info!(
                            have = version,
                            from = message.from,
                            "assignments do not fit"
                        );
                        return;
                    }
                    version = Some(message.to);
                    Input::Assignments(message)
                }
                ManagerMessage::Written(reports) => Input::Written(reports),
                ManagerMessage::Endpoints(update) => {
                    if Arc::make_mut(&mut table).apply(&update).is_err() {
                        tracing::info!(
                            have = table.version,
                            from = update.from,
                            "endpoints do not fit"
                        );
                        return;
                    }
                    self.engine.hear_endpoints(&self.node, table.clone()).await;
                    self.news.send_replace(());
                    continue;
                }
            };
            if self.worker.send(input).await.is_err() {
                return;
            }
        }
    }

    /// Tells which places in the cluster's networks this node has asked for: at first, and now and then.
    async fn tell_attachments(&self, send: &mpsc::Sender<AgentMessage>) {
        loop {
            let attached = AgentMessage::Attached(self.engine.attachments().await);
            if send.send(attached).await.is_err() {
                return;
            }
            tokio::time::sleep(TELL_ATTACHMENTS).await;
        }
    }

    /// Tells which table the kernel follows, whenever that is another; a new manager is told it first.
    async fn acknowledge(&self, send: &mpsc::Sender<AgentMessage>) {
        let mut applied = self.applied.clone();
        loop {
            let version = *applied.borrow_and_update();
            if let Some(version) = version
                && send.send(AgentMessage::Applied(version)).await.is_err()
            {
                return;
            }
            if applied.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sends statuses as they come.
    async fn speak(&self, send: &mpsc::Sender<AgentMessage>, round: &mut u64) {
        let mut again = Instant::now() + SAY_AGAIN;
        loop {
            let batch = self.mail.with(|outbox| outbox.batch(*round));
            if !batch.is_empty() {
                if send.send(AgentMessage::Statuses(batch)).await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
                continue;
            }
            tokio::select! {
                () = self.mail.news.notified() => {}
                () = send.closed() => return,
                () = tokio::time::sleep_until(again) => {
                    *round += 1;
                    again = Instant::now() + SAY_AGAIN;
                }
            }
        }
    }
}

/// Beats until nobody takes the beats any more.
async fn beat(send: &mpsc::Sender<AgentMessage>, mut period: watch::Receiver<Duration>) {
    loop {
        let every = *period.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep(jittered(every, 0.2)) => {}
            changed = period.changed() => {
                if changed.is_err() {
                    return;
                }
                continue;
            }
        }
        // A stream that takes no message for three beats is stuck.
        let sent = tokio::time::timeout(every * 3, send.send(AgentMessage::Heartbeat)).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
    }
}

/// Between `1 - part` and 1 of `duration`.
fn jittered(duration: Duration, part: f64) -> Duration {
    duration.mul_f64(1.0 - part * rand::rng().random::<f64>())
}
