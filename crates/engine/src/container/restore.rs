//! What the daemon does with the containers it finds when it starts, whatever line the last one died at.
//!
//! The record says what was meant, the run directory what is: a container whose shim lives is adopted, one
//! whose exit file waits is ended now, one that lost its shim is ended with 255, a half-made or half-removed
//! one is taken away.

use super::record::Container;
use crate::{Engine, Error, Result};
use lifecycle::{Backoff, Exit, Restart, Verdict};
use runtime::{Adopted, ExitStatus};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
use types::container::Status;
use types::{ContainerId, Timestamp};

/// dockerd's exit code for a container whose end nobody saw.
const UNSEEN_EXIT: i64 = 255;

impl Engine {
    /// Reads, adopts, mends. Returns the containers whose restart policy wants them started now.
    pub(crate) async fn restore(&self) -> Result<Vec<Arc<Container>>> {
        let found = self.load_containers()?;
        for container in &found {
            self.0.containers.insert(container.clone());
            if let Err(err) = self.0.containers.reserve(&container.name(), &container.id) {
                tracing::error!(container = container.id.short(), error = %err, "two containers with one name");
            }
            for mount in
                container.record().mounts.iter().filter(|mount| mount.point.kind == "volume")
            {
                self.0.volumes.acquire(&mount.point.name, &container.id);
            }
        }
        self.sweep_run_root(&found).await;
        let mut running = Vec::new();
        let mut to_start = Vec::new();
        for container in found {
            let adopted = self.0.runtime.adopt(&container.run_dir).await;
            match adopted {
                // It may have ended since: its watch learns how.
                Ok(Adopted::Running { shim, started: true, paused }) => {
                    container.modify(|record| record.state.paused = paused);
                    running.push((container, shim));
                }
                // The daemon died in the middle of the start.
                Ok(Adopted::Running { shim, .. }) => {
                    if let Err(err) = shim.delete().await {
                        tracing::warn!(container = container.id.short(), error = %err, "failed to undo a start");
                    }
                    self.not_running(&container, &mut to_start).await;
                }
                Ok(Adopted::Exited(status)) => {
                    self.ended_unseen(&container, status, &mut to_start).await
                }
                Ok(Adopted::Lost) => {
                    let status = unseen("shim lost");
                    self.ended_unseen(&container, status, &mut to_start).await;
                }
                Ok(Adopted::Absent) => self.not_running(&container, &mut to_start).await,
                Err(err) => {
                    tracing::error!(container = container.id.short(), error = %err, "failed to adopt");
                    self.ended_unseen(&container, unseen("failed to adopt"), &mut to_start).await;
                }
            }
        }
        self.adopt_running(running).await;
        Ok(to_start)
    }

    fn load_containers(&self) -> Result<Vec<Arc<Container>>> {
        let root = self.0.config.data_root.join("containers");
        std::fs::create_dir_all(&root)
            .map_err(|err| Error::caused(format!("failed to create {}", root.display()), err))?;
        let entries = std::fs::read_dir(&root)
            .map_err(|err| Error::caused(format!("failed to read {}", root.display()), err))?;
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let id = ContainerId::new(entry.file_name().to_string_lossy());
            let dir = entry.path();
            if !dir.join("container.json").exists() {
                // Creation or removal was cut short before the record was there or after it was gone.
                if let Err(err) = super::monitor::remove_dir(&dir) {
                    tracing::warn!(container = id.short(), error = %err, "failed to sweep");
                }
                continue;
            }
            match Container::load(&dir, self.run_dir(&id)) {
                Ok(container) => found.push(Arc::new(container)),
                Err(err) => {
                    tracing::error!(container = id.short(), error = %errdefs::chain(&err), "skipped")
                }
            }
        }
        Ok(found)
    }

    /// Run directories that belong to no container: their processes end, their files go.
    async fn sweep_run_root(&self, known: &[Arc<Container>]) {
        let Ok(entries) = std::fs::read_dir(self.0.config.exec_root.join("c")) else { return };
        for entry in entries.flatten() {
            let dir = entry.path();
            if known.iter().any(|container| container.run_dir == dir) {
                continue;
            }
            // Waits for its end: its shim still writes into the directory.
            if let Ok(Adopted::Running { shim, .. }) = self.0.runtime.adopt(&dir).await
                && let Err(err) = shim.delete().await
            {
                tracing::warn!(dir = %dir.display(), error = %err, "failed to end a stray container");
            }
            if let Err(err) = super::monitor::remove_dir(&dir) {
                tracing::warn!(error = %err, "failed to sweep a run directory");
            }
        }
    }

    async fn adopt_running(&self, running: Vec<(Arc<Container>, runtime::Shim)>) {
        for (container, shim) in running {
            let started = container.update(|record| {
                let state = &mut record.state;
                if !state.running {
                    // The daemon died between the start and writing it down.
                    state.started_at = Timestamp::from(SystemTime::now());
                    state.health = None;
                }
                state.running = true;
                state.restarting = false;
                state.status = if state.paused { Status::Paused } else { Status::Running };
                state.pid = shim.pid();
                record.has_run = true;
            });
            if let Err(err) = started {
                tracing::error!(container = container.id.short(), error = %err, "failed to record an adoption");
            }
            if let Err(err) = self.adopt_network(&container, &shim).await {
                tracing::warn!(container = container.id.short(), error = %err, "failed to adopt the network");
            }
            *container.shim.lock().unwrap_or_else(PoisonError::into_inner) = Some(shim.clone());
            container.life.send_modify(|life| life.running = true);
            self.watch(container, shim, Backoff::default());
        }
    }

    /// It ended while no daemon looked: the exit is dealt with as ever, but its restart waits until all
    /// others are adopted, so that a port or an address in use is known as such.
    async fn ended_unseen(
        &self,
        container: &Arc<Container>,
        status: ExitStatus,
        to_start: &mut Vec<Arc<Container>>,
    ) {
        self.free_run(container).await;
        let recorded = container.update(|record| {
            let state = &mut record.state;
            let was_up = state.running || state.status == Status::Restarting;
            state.running = false;
            state.paused = false;
            state.restarting = false;
            state.pid = 0;
            if was_up {
                state.exit_code = status.exit_code;
                state.oom_killed = status.oom_killed;
                state.finished_at = status.finished_at;
                state.error = status.error.clone().unwrap_or_default();
                state.status = Status::Exited;
            }
        });
        if let Err(err) = recorded {
            tracing::error!(container = container.id.short(), error = %err, "failed to record an exit");
        }
        self.remove_run_dir(container);
        container.life.send_modify(|life| {
            life.running = false;
            life.last.status_code = status.exit_code;
        });
        self.at_daemon_start(container, to_start).await;
    }

    async fn not_running(&self, container: &Arc<Container>, to_start: &mut Vec<Arc<Container>>) {
        let was_up = {
            let record = container.record();
            record.state.running || record.state.status == Status::Restarting
        };
        if was_up {
            // The machine was switched off.
            return self.ended_unseen(container, unseen(""), to_start).await;
        }
        self.sweep_run(container).await;
        self.at_daemon_start(container, to_start).await;
    }

    async fn at_daemon_start(
        &self,
        container: &Arc<Container>,
        to_start: &mut Vec<Arc<Container>>,
    ) {
        let record = container.snapshot();
        let taken_away = record.state.status == Status::Removing
            || (record.host_config.auto_remove && record.has_run);
        if taken_away {
            if let Err(err) = self.remove(container, record.host_config.auto_remove).await {
                tracing::warn!(container = container.id.short(), error = %err, "failed to remove");
            }
            return;
        }
        let policy = Restart::parse(&record.host_config.restart_policy).unwrap_or(Restart::No);
        let exit = Exit {
            exit_code: record.state.exit_code,
            stopped_by_user: record.stopped_by_user,
            ran_for: record.state.finished_at.since(record.state.started_at),
            restarts: record.restart_count,
        };
        // One that never ran was created and left: its policy begins with its first start.
        if record.has_run && policy.at_daemon_start(&exit) != Verdict::Stay {
            to_start.push(container.clone());
        }
    }
}

fn unseen(reason: &str) -> ExitStatus {
    ExitStatus {
        exit_code: UNSEEN_EXIT,
        oom_killed: false,
        finished_at: Timestamp::from(SystemTime::now()),
        error: (!reason.is_empty()).then(|| reason.to_owned()),
    }
}
