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
        self.leave_run(&container).await;
        let verdict = self.note_exit(&container, &status, &mut backoff);
        let is_going = container.status() == Status::Removing;
        if !is_going {
            self.unmount_run(&container).await;
            // A full disk must not keep a container from being restarted: memory has the truth.
            save(&container);
            // The record knows the exit: the shim's own note may go.
            self.remove_run_dir(&container);
        }
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
        if is_going && let Err(err) = self.remove_ended(&container, true).await {
            tracing::warn!(container = container.id.short(), error = %err, "failed to remove after exit");
        }
        drop(op);
        if let Verdict::StartAfter(delay) = verdict {
            self.restart_after(&container, exits, delay, backoff).await;
        }
    }

    /// Notes the exit in memory. One that takes itself away (`--rm`) is being removed from here on and is not
    /// written down as such: as long as its record says that it ran, a daemon that starts removes it.
    fn note_exit(
        &self,
        container: &Container,
        status: &runtime::ExitStatus,
        backoff: &mut Backoff,
    ) -> Verdict {
        let restarting_by_hand = container.is_restarting_by_hand();
        container.modify(|record| {
            let ran_for = status.finished_at.since(record.state.started_at);
            let verdict = decide(record, status.exit_code, ran_for, backoff);
            let restarting = matches!(verdict, Verdict::StartAfter(_));
            let is_going = record.host_config.auto_remove && !restarting_by_hand;
            let state = &mut record.state;
            state.running = false;
            state.paused = false;
            state.pid = 0;
            state.exit_code = status.exit_code;
            state.oom_killed = status.oom_killed;
            state.finished_at = status.finished_at;
            state.error = status.error.clone().unwrap_or_default();
            state.restarting = restarting;
            state.status = match (restarting, is_going) {
                (true, _) => Status::Restarting,
                (false, true) => Status::Removing,
                (false, false) => Status::Exited,
            };
            if let Some(health) = &mut state.health {
                "unhealthy".clone_into(&mut health.status);
            }
            verdict
        })
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
        self.leave_run(container).await;
        self.unmount_run(container).await;
    }

    /// Forgets the shim and leaves the networks: addresses and ports are free for others.
    async fn leave_run(&self, container: &Container) {
        container.shim.lock().unwrap_or_else(PoisonError::into_inner).take();
        let asked = self.0.networks.asked_places(&container.id).await;
        if let Err(err) = self.0.networks.detach(&container.id).await {
            tracing::warn!(container = container.id.short(), error = %err, "failed to take the container off its networks");
        }
        self.give_back_tasks(asked).await;
        container.modify(Record::clear_network);
    }

    async fn unmount_run(&self, container: &Container) {
        if let Err(err) = self.unmount_rootfs(&container.id).await {
            tracing::warn!(container = container.id.short(), error = %err, "failed to unmount the container's file system");
        }
        self.unmount_images(container).await;
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
