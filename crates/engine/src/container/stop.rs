//! stop, kill, restart, pause, unpause.

use super::options::StopOptions;
use super::record::Container;
use super::signal;
use super::wait::stopped_within;
use crate::{Engine, Error, Result};
use std::sync::Arc;
use std::time::Duration;
use types::container::Status;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Docker's grace between the stop signal and SIGKILL.
const STOP_TIMEOUT: i64 = 10;
/// How long a killed process may take to vanish (it can be in uninterruptible IO).
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the exit of a container whose shim is gone may take to be dealt with.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Engine {
    /// `POST /containers/{id}/stop`: 304 when it does not run.
    pub async fn container_stop(&self, id: &str, options: StopOptions) -> Result<()> {
        let container = self.0.containers.find(id)?;
        let status = container.status();
        if status == Status::Restarting {
            return self.give_up_restart(&container, &options).await;
        }
        if !container.record().state.running {
            return Err(Error::not_modified("container already stopped"));
        }
        self.stop(&container, &options)
            .await
            .map_err(|err| err.context(format!("cannot stop container: {id}")))
    }

    /// The stop signal, the grace, SIGKILL. Returns when the exit has been dealt with.
    pub(crate) async fn stop(
        &self,
        container: &Arc<Container>,
        options: &StopOptions,
    ) -> Result<()> {
        let (number, timeout) = stop_terms(container, options)?;
        note_stop(container);
        self.unfreeze(container).await?;
        self.send(container, number).await?;
        let grace = u64::try_from(timeout).ok().map(Duration::from_secs);
        if !stopped_within(container, grace).await {
            self.send(container, SIGKILL).await?;
            if !stopped_within(container, Some(KILL_TIMEOUT)).await {
                return Err(Error::system(format!(
                    "tried to kill container, but did not receive an exit event (container {})",
                    container.id.short()
                )));
            }
        }
        self.0.events.emit("container", "stop", container.id.as_str(), container.attributes());
        Ok(())
    }

    /// `POST /containers/{id}/kill`.
    pub async fn container_kill(&self, id: &str, signal: &str) -> Result<()> {
        let number = match signal {
            "" => SIGKILL,
            text => signal::parse(text)
                .ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))?,
        };
        let container = self.0.containers.find(id)?;
        if container.status() == Status::Restarting && number == SIGKILL {
            let at_once = StopOptions { timeout: Some(0), signal: Some("SIGKILL".to_owned()) };
            return self.give_up_restart(&container, &at_once).await;
        }
        if !container.record().state.running {
            let text = format!("container {} is not running", container.id);
            return Err(Error::conflict(text));
        }
        let stop_signal = signal::parse(&container.record().config.stop_signal).unwrap_or(SIGTERM);
        if number == SIGKILL || number == stop_signal {
            note_stop(&container);
        }
        if number == SIGKILL {
            self.unfreeze(&container).await?;
        }
        self.send(&container, number).await?;
        if number == SIGKILL {
            stopped_within(&container, Some(KILL_TIMEOUT)).await;
        }
        Ok(())
    }

    /// `POST /containers/{id}/restart`.
    pub async fn container_restart(&self, id: &str, options: StopOptions) -> Result<()> {
        let container = self.0.containers.find(id)?;
        stop_terms(&container, &options)?;
        let failed = |err: Error| err.context(format!("Cannot restart container {id}"));
        // A container that takes itself away on exit must outlive its restart.
        let _by_hand = container.restarting_by_hand();
        let stopped = match container.status() {
            Status::Restarting => self.give_up_restart(&container, &options).await,
            Status::Running | Status::Paused => self.stop(&container, &options).await,
            _ => Ok(()),
        };
        stopped.map_err(failed)?;
        self.start(&container).await.map_err(failed)?;
        self.0.events.emit("container", "restart", container.id.as_str(), container.attributes());
        Ok(())
    }

    /// `POST /containers/{id}/pause`.
    pub async fn container_pause(&self, id: &str) -> Result<()> {
        let container = self.0.containers.find(id)?;
        let _one_at_a_time = container.op.lock().await;
        match container.status() {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {} is already paused",
                    container.id
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => {}
        }
        container.running_shim()?.pause().await.map_err(|err| {
            Error::from_lower(err).context(format!("cannot pause container {id}"))
        })?;
        container.update(|record| {
            record.state.paused = true;
            record.state.status = Status::Paused;
        })?;
        self.0.events.emit("container", "pause", container.id.as_str(), container.attributes());
        Ok(())
    }

    /// Pauses a running container; false when it does not run, or ends in this moment.
    pub(crate) async fn pause_if_running(&self, container: &Arc<Container>) -> Result<bool> {
        if container.status() != Status::Running {
            return Ok(false);
        }
        match self.container_pause(container.id.as_str()).await {
            Ok(()) => Ok(true),
            Err(_) if stopped_within(container, Some(EXIT_TIMEOUT)).await => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// `POST /containers/{id}/unpause`.
    pub async fn container_unpause(&self, id: &str) -> Result<()> {
        let container = self.0.containers.find(id)?;
        if container.status() != Status::Paused {
            return Err(Error::conflict(format!("container {} is not paused", container.id)));
        }
        self.unfreeze(&container).await
    }

    /// A frozen process takes no signal: thaw it first. Nothing to do when it is not paused.
    pub(crate) async fn unfreeze(&self, container: &Arc<Container>) -> Result<()> {
        if container.status() != Status::Paused {
            return Ok(());
        }
        let thawed = match container.running_shim() {
            Ok(shim) => shim.resume().await.map_err(Error::from_lower),
            Err(ended) => Err(ended),
        };
        if let Err(err) = thawed {
            // What was about to end when it was frozen cannot be thawed.
            if stopped_within(container, Some(EXIT_TIMEOUT)).await {
                return Ok(());
            }
            return Err(err.context(format!("cannot unpause container {}", container.id)));
        }
        container.update(|record| {
            // It may have ended in between.
            if record.state.running {
                record.state.paused = false;
                record.state.status = Status::Running;
            }
        })?;
        self.0.events.emit("container", "unpause", container.id.as_str(), container.attributes());
        Ok(())
    }

    async fn send(&self, container: &Arc<Container>, number: i32) -> Result<()> {
        // It may have ended in between: then the wish is fulfilled.
        let Ok(shim) = container.running_shim() else { return Ok(()) };
        let mut attributes = container.attributes();
        attributes.insert("signal".to_owned(), number.to_string());
        match shim.signal(number).await {
            Ok(()) => self.0.events.emit("container", "kill", container.id.as_str(), attributes),
            // The shim goes with its container: an exit that is being dealt with right now looks like this.
            Err(_) if stopped_within(container, Some(EXIT_TIMEOUT)).await => {}
            Err(err) => return Err(Error::from_lower(err)),
        }
        Ok(())
    }

    /// Ends the wait of a container that its restart policy is about to start.
    async fn give_up_restart(
        &self,
        container: &Arc<Container>,
        options: &StopOptions,
    ) -> Result<()> {
        note_stop(container);
        container.cancel_restart.notify_one();
        let op = container.op.lock().await;
        if container.record().state.running {
            drop(op);
            return self.stop(container, options).await;
        }
        container.give_up_restart();
        self.0.events.emit("container", "stop", container.id.as_str(), container.attributes());
        Ok(())
    }
}

/// From now on only `always` starts it again, after the daemon's own restart. A full disk is no reason not
/// to stop.
fn note_stop(container: &Container) {
    if let Err(err) = container.update(|record| record.stopped_by_user = true) {
        tracing::warn!(container = container.id.short(), error = %errdefs::chain(&err), "failed to save a stop");
    }
}

/// Signal and seconds: the caller's, else the container's, else Docker's.
fn stop_terms(container: &Container, options: &StopOptions) -> Result<(i32, i64)> {
    let record = container.record();
    let text = options
        .signal
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(&record.config.stop_signal);
    let number = match text {
        "" => SIGTERM,
        text => {
            signal::parse(text).ok_or_else(|| Error::invalid(format!("invalid signal: {text}")))?
        }
    };
    Ok((number, options.timeout.or(record.config.stop_timeout).unwrap_or(STOP_TIMEOUT)))
}
