//! What happens when a container ends: the one place that deals with an exit, whoever noticed it.

use super::record::{Container, Record};
use crate::{Engine, Error};
use lifecycle::{Backoff, Exit, Restart, Verdict};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use types::container::{Status, WaitResponse};

impl Engine {
    /// Watches one run of a container. Spawned by start and by adoption.
    pub(crate) fn watch(&self, container: Arc<Container>, shim: runtime::Shim, backoff: Backoff) {
        let (engine, health) = (self.clone(), container.clone());
        self.0.tasks.spawn(async move { engine.watch_health(health).await });
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            let status = shim.wait().await;
            engine.ended(container, status, backoff).await;
        });
    }

    /// Deals with an exit: cleans up, writes it down, then starts again, removes, or leaves it.
    async fn ended(
        &self,
        container: Arc<Container>,
        status: runtime::ExitStatus,
        mut backoff: Backoff,
    ) {
        let op = container.op.lock().await;
        let left = self.joined_networks(&container).await;
        self.free_run(&container).await;
        let verdict = self.record_exit(&container, &status, &mut backoff);
        // The record knows the exit: the shim's own note may go.
        self.remove_run_dir(&container);
        let record = container.record();
        let mut attributes = container.attributes();
        attributes.insert("exitCode".to_owned(), status.exit_code.to_string());
        let ran_for = record.state.finished_at.since(record.state.started_at);
        attributes.insert("execDuration".to_owned(), ran_for.as_secs().to_string());
        if status.oom_killed {
            self.0.events.emit("container", "oom", container.id.as_str(), container.attributes());
        }
        self.0.events.emit("container", "die", container.id.as_str(), attributes);
        self.tell_left(&container, &left);
        container.life.send_modify(|life| {
            life.running = false;
            life.exits += 1;
            life.last = WaitResponse { status_code: status.exit_code, error: None };
        });
        let exits = container.life.borrow().exits;
        drop(op);
        match verdict {
            Verdict::StartAfter(delay) => {
                self.restart_after(&container, exits, delay, backoff).await
            }
            Verdict::Stay
                if record.host_config.auto_remove && !container.is_restarting_by_hand() =>
            {
                if let Err(err) = self.remove(&container, true).await {
                    tracing::warn!(container = container.id.short(), error = %err, "failed to remove after exit");
                }
            }
            Verdict::Stay => {}
        }
    }

    fn record_exit(
        &self,
        container: &Container,
        status: &runtime::ExitStatus,
        backoff: &mut Backoff,
    ) -> Verdict {
        let verdict = container.modify(|record| {
            let ran_for = status.finished_at.since(record.state.started_at);
            let verdict = decide(record, status.exit_code, ran_for, backoff);
            let restarting = matches!(verdict, Verdict::StartAfter(_));
            let state = &mut record.state;
            state.running = false;
            state.paused = false;
            state.pid = 0;
            state.exit_code = status.exit_code;
            state.oom_killed = status.oom_killed;
            state.finished_at = status.finished_at;
            state.error = status.error.clone().unwrap_or_default();
            state.restarting = restarting;
            state.status = if restarting { Status::Restarting } else { Status::Exited };
            if let Some(health) = &mut state.health {
                "unhealthy".clone_into(&mut health.status);
            }
            verdict
        });
        // A full disk must not keep a container from being restarted: memory has the truth.
        save(container);
        verdict
    }

    /// Starts again after the delay, and again when that fails, backed off. Whatever the user does to the
    /// container meanwhile ends it: the operation lock is free while it waits.
    async fn restart_after(
        &self,
        container: &Arc<Container>,
        exits: u64,
        mut delay: Duration,
        mut backoff: Backoff,
    ) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = container.cancel_restart.notified() => {}
                () = self.0.closing.cancelled() => return,
            }
            let _one_at_a_time = container.op.lock().await;
            let record = container.record();
            let same_wait =
                record.state.status == Status::Restarting && container.life.borrow().exits == exits;
            if !same_wait {
                return;
            }
            let policy = Restart::parse(&record.host_config.restart_policy).unwrap_or(Restart::No);
            if record.stopped_by_user || policy == Restart::No {
                container.give_up_restart();
                return;
            }
            container.modify(|record| record.restart_count += 1);
            let Err(err) = self.start_locked(container, backoff).await else { return };
            tracing::warn!(container = container.id.short(), error = %err, "failed to restart");
            let record = container.record();
            match decide(&record, record.state.exit_code.max(1), Duration::ZERO, &mut backoff) {
                Verdict::Stay => return,
                Verdict::StartAfter(next) => delay = next,
            }
            container.modify(|record| {
                record.state.restarting = true;
                record.state.status = Status::Restarting;
            });
            save(container);
        }
    }

    /// Frees what a run holds and forgets it. Safe at any time the container does not run, as often as one
    /// likes.
    pub(crate) async fn sweep_run(&self, container: &Container) {
        self.free_run(container).await;
        self.remove_run_dir(container);
    }

    /// All of a run but its directory, which holds the shim's note of the exit.
    pub(crate) async fn free_run(&self, container: &Container) {
        container.shim.lock().unwrap_or_else(PoisonError::into_inner).take();
        let warn = |what: &str, err: &Error| {
            tracing::warn!(container = container.id.short(), error = %err, "failed to {what}");
        };
        if let Err(err) = self.0.networks.detach(&container.id).await {
            warn("take the container off its networks", &err);
        }
        container.modify(Record::clear_network);
        if let Err(err) = self.unmount_rootfs(&container.id).await {
            warn("unmount the container's file system", &err);
        }
        self.unmount_volumes(container).await;
    }

    pub(crate) fn remove_run_dir(&self, container: &Container) {
        if let Err(err) = remove_dir(&container.run_dir) {
            tracing::warn!(container = container.id.short(), error = %err, "failed to remove the run directory");
        }
    }
}

impl Container {
    /// The user does not want it started again: it stays where it is.
    pub(crate) fn give_up_restart(&self) {
        self.modify(|record| {
            if record.state.status == Status::Restarting {
                record.state.restarting = false;
                record.state.status = Status::Exited;
            }
        });
        save(self);
    }
}

/// Writes the record as it is in memory; a disk that refuses is logged.
fn save(container: &Container) {
    if let Err(err) = container.update(|_| ()) {
        tracing::error!(container = container.id.short(), error = %errdefs::chain(&err), "failed to save");
    }
}

impl Record {
    /// What the networks gave to the last run; the wishes stay.
    pub(crate) fn clear_network(&mut self) {
        self.network_settings = types::network::NetworkSettings::default();
        for endpoint in self.networks.values_mut() {
            *endpoint = types::network::EndpointSettings {
                ipam_config: endpoint.ipam_config.take(),
                links: endpoint.links.take(),
                aliases: endpoint.aliases.take(),
                driver_opts: endpoint.driver_opts.take(),
                gw_priority: endpoint.gw_priority,
                network_id: std::mem::take(&mut endpoint.network_id),
                dns_names: endpoint.dns_names.take(),
                ..Default::default()
            };
        }
    }
}

fn decide(record: &Record, exit_code: i64, ran_for: Duration, backoff: &mut Backoff) -> Verdict {
    let policy = Restart::parse(&record.host_config.restart_policy).unwrap_or(Restart::No);
    let exit = Exit {
        exit_code,
        stopped_by_user: record.stopped_by_user,
        ran_for,
        restarts: record.restart_count,
    };
    policy.after_exit(&exit, backoff)
}

pub(crate) fn remove_dir(dir: &std::path::Path) -> crate::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::caused(format!("failed to remove {}", dir.display()), err))
        }
        _ => Ok(()),
    }
}
