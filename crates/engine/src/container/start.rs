//! Starting a container: file system, network, files, OCI bundle, shim, process. What a failure leaves is
//! swept by the same code that sweeps after an exit.

use super::record::{Container, Record};
use crate::{Engine, Error, Result};
use errdefs::{Classify, ErrorKind};
use lifecycle::Backoff;
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
use types::Timestamp;
use types::container::{Status, WaitResponse};

/// Exit codes of a process that could not be started, as a shell has them, and Docker's for the rest.
const START_FAILED: i64 = 128;

impl Engine {
    /// `POST /containers/{id}/start`: 304 when it runs.
    pub async fn container_start(&self, id: &str) -> Result<()> {
        let container = self.0.containers.find(id)?;
        self.start(&container).await
    }

    pub(crate) async fn start(&self, container: &Arc<Container>) -> Result<()> {
        if container.status() == Status::Restarting {
            // The policy waits: it starts now instead.
            container.cancel_restart.notify_one();
        }
        let _one_at_a_time = container.op.lock().await;
        let status = container.status();
        match status {
            Status::Paused => {
                return Err(Error::conflict(
                    "cannot start a paused container, try unpause instead",
                ));
            }
            Status::Running => return Err(Error::not_modified("container already started")),
            Status::Removing | Status::Dead => {
                return Err(Error::conflict(
                    "container is marked for removal and cannot be started",
                ));
            }
            Status::Created | Status::Exited | Status::Restarting => {}
        }
        container.modify(|record| record.restart_count = 0);
        self.start_locked(container, Backoff::default()).await
    }

    /// The caller holds the operation lock of a container that does not run.
    pub(crate) async fn start_locked(
        &self,
        container: &Arc<Container>,
        backoff: Backoff,
    ) -> Result<()> {
        container.modify(Record::clear_network);
        let brought_up = Box::pin(self.bring_up(container)).await;
        let shim = match brought_up {
            Ok(shim) => shim,
            Err(err) => return Err(self.start_failed(container, err).await),
        };
        self.tell_linked(container);
        self.0.events.emit("container", "start", container.id.as_str(), container.attributes());
        self.watch(container.clone(), shim, backoff);
        Ok(())
    }

    async fn bring_up(&self, container: &Arc<Container>) -> Result<runtime::Shim> {
        crate::engine::private_dir(&container.run_dir)?;
        let rootfs = self.mount_rootfs(&container.id).await?;
        self.prepare_volumes(container, &rootfs).await?;
        let sandbox = self.attach_network(container).await?;
        let record = container.snapshot();
        let spec = self.oci_spec(container, &record, &rootfs, &sandbox)?;
        let launch = self.launch(container, &record, spec, sandbox)?;
        let shim = self.0.runtime.create(launch).await.map_err(Error::from_lower)?;
        self.grant_pending(container, &shim).await;
        let started = shim.start().await.map_err(Error::from_lower);
        if let Err(err) = started {
            // Whoever attached in between must see the end.
            container.shim.lock().unwrap_or_else(PoisonError::into_inner).take();
            shim.delete()
                .await
                .unwrap_or_else(|err| tracing::debug!(error = %err, "the shim went first"));
            return Err(err);
        }
        if let Err(err) = self.record_start(container, &shim) {
            shim.delete()
                .await
                .unwrap_or_else(|err| tracing::debug!(error = %err, "the shim went first"));
            return Err(err);
        }
        Ok(shim)
    }

    /// From here on an attach goes to the shim; those that came before are connected, so that they miss
    /// no byte.
    async fn grant_pending(&self, container: &Arc<Container>, shim: &runtime::Shim) {
        let pending = {
            let mut current = container.shim.lock().unwrap_or_else(PoisonError::into_inner);
            *current = Some(shim.clone());
            std::mem::take(&mut *container.pending.lock().unwrap_or_else(PoisonError::into_inner))
        };
        for attach in pending {
            match shim.attach(attach.wanted).await {
                Ok(stream) => drop(attach.granted.send(stream)),
                Err(err) => {
                    tracing::warn!(container = container.id.short(), error = %err, "failed to attach")
                }
            }
        }
    }

    fn record_start(&self, container: &Container, shim: &runtime::Shim) -> Result<()> {
        container.update(|record| {
            record.stopped_by_user = false;
            record.has_run = true;
            let health = crate::health::at_start(record);
            let state = &mut record.state;
            *state = types::container::State {
                status: Status::Running,
                running: true,
                pid: shim.pid(),
                started_at: Timestamp::from(SystemTime::now()),
                finished_at: state.finished_at,
                health,
                ..Default::default()
            };
        })?;
        container.life.send_modify(|life| life.running = true);
        Ok(())
    }

    /// Cleans up, writes down why, and turns the failure into dockerd's.
    async fn start_failed(&self, container: &Arc<Container>, err: Error) -> Error {
        container.pending.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let left = self.joined_networks(container).await;
        self.sweep_run(container).await;
        self.tell_left(container, &left);
        let text = errdefs::chain(&err);
        let (exit_code, kind) = classify_failure(&text, err.kind());
        let recorded = container.update(|record| {
            record.state.exit_code = exit_code;
            record.state.error.clone_from(&text);
            record.state.running = false;
            if record.state.status != Status::Created || record.has_run {
                record.state.status = Status::Exited;
                record.state.finished_at = Timestamp::from(SystemTime::now());
            }
        });
        if let Err(err) = recorded {
            tracing::error!(container = container.id.short(), error = %err, "failed to record a failed start");
        }
        // Nothing ran, so nothing exited: whoever waits for the next exit goes on waiting, as with dockerd.
        container.life.send_modify(|life| {
            life.running = false;
            life.last = WaitResponse { status_code: exit_code, error: None };
        });
        if container.record().host_config.auto_remove {
            self.remove_later(container.clone());
        }
        err.with_kind(kind)
    }

    /// The caller holds the operation lock that removal needs.
    fn remove_later(&self, container: Arc<Container>) {
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(err) = engine.remove(&container, true).await {
                tracing::warn!(container = container.id.short(), error = %err, "failed to remove");
            }
        });
    }

    fn launch(
        &self,
        container: &Container,
        record: &Record,
        spec: oci_spec::runtime::Spec,
        sandbox: super::Sandbox,
    ) -> Result<runtime::Launch> {
        let host = &record.host_config;
        let [rows, columns] = host.console_size;
        let size = |value: u64| u16::try_from(value).unwrap_or(u16::MAX);
        Ok(runtime::Launch {
            id: record.id.clone(),
            run_dir: container.run_dir.clone(),
            spec,
            runtime: self.0.runtimes.get(&host.runtime)?.clone(),
            io: runtime::Io {
                tty: record.config.tty,
                open_stdin: record.config.open_stdin,
                stdin_once: record.config.stdin_once,
                console_size: [size(rows), size(columns)],
            },
            log: super::logs::log_target(container, record)?,
            keep: sandbox.keep,
        })
    }
}

/// moby's `setExitCodeFromError`: what the shell would say, and whose fault it is.
fn classify_failure(text: &str, kind: ErrorKind) -> (i64, ErrorKind) {
    // A missing device, say, is no missing command.
    let of_command = text.contains("OCI runtime create failed") || text.contains("exec: ");
    let any = |reasons: &[&str]| of_command && reasons.iter().any(|reason| text.contains(reason));
    if any(&[
        "executable file not found",
        "no such file or directory",
        "system cannot find the file specified",
    ]) {
        return (127, if kind == ErrorKind::System { ErrorKind::InvalidParameter } else { kind });
    }
    if any(&["permission denied", "not a directory"]) {
        return (126, if kind == ErrorKind::System { ErrorKind::InvalidParameter } else { kind });
    }
    (START_FAILED, kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_is_127_and_the_users_fault() {
        let text = "exec: \"nope\": executable file not found in $PATH";
        assert_eq!(classify_failure(text, ErrorKind::System), (127, ErrorKind::InvalidParameter));
        assert_eq!(classify_failure("exec: \"/x\": permission denied", ErrorKind::System).0, 126);
        let device = "error gathering device information: no such file or directory";
        assert_eq!(classify_failure(device, ErrorKind::System), (128, ErrorKind::System));
        assert_eq!(classify_failure("port in use", ErrorKind::System), (128, ErrorKind::System));
    }
}
