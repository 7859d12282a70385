//! The stream to a manager, for as long as the agent lives: one after the other, with a pause in between
//! that grows while none can be had.
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
use types::swarm::session::{AgentMessage, ManagerMessage};

/// The first pause after a lost stream, and the longest one.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_LAST: Duration = Duration::from_secs(3);
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

pub(crate) struct Session {
    pub(crate) engine: Engine,
    pub(crate) connect: Arc<dyn Connect>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) worker: mpsc::Sender<Input>,
    pub(crate) connected: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
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
        loop {
            let began = Instant::now();
            let hello = description::describe(&self.engine).await;
            let opened = tokio::time::timeout(CONNECT_WITHIN, self.connect.connect(hello)).await;
            match opened {
                Ok(Ok((send, receive))) => {
                    round = self.stream(send, receive, round).await;
                    self.connected.send_replace(false);
                    tracing::debug!("the stream to the manager has ended");
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
    ) -> u64 {
        let (period, beats) = watch::channel(HEARTBEAT);
        let mut last = round + 1;
        tokio::select! {
            () = self.read(receive, &period) => {}
            () = beat(&send, beats) => {}
            () = self.speak(&send, &mut last) => {}
        }
        last
    }

    /// Ends when the stream does, or brings something that does not fit what came before.
    async fn read(
        &self,
        mut receive: mpsc::Receiver<ManagerMessage>,
        period: &watch::Sender<Duration>,
    ) {
        let mut version = None;
        while let Some(message) = receive.recv().await {
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
                ManagerMessage::Endpoints(_) => continue,
            };
            if self.worker.send(input).await.is_err() {
                return;
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
