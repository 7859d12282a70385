//! Removing and renaming. Removal is marked on disk first: what a crash interrupts, the next start ends.

use super::options::RemoveOptions;
use super::record::Container;
use crate::{Engine, Error, Result};
use std::sync::Arc;
use types::container::Status;

impl Engine {
    /// `DELETE /containers/{id}`.
    pub async fn container_remove(&self, id: &str, options: RemoveOptions) -> Result<()> {
        let container = self.0.containers.find(id)?;
        if options.link {
            let text = "Conflict, cannot remove the default link name of the container";
            return Err(Error::conflict(text));
        }
        let status = container.status();
        let running = container.record().state.running || status == Status::Restarting;
        if running && !options.force {
            let how = match status {
                Status::Paused => "container is paused and must be unpaused first",
                Status::Restarting => {
                    "container is restarting: stop the container before removing or force remove"
                }
                _ => "container is running: stop the container before removing or force remove",
            };
            let name = container.name();
            return Err(Error::conflict(format!("cannot remove container \"{name}\": {how}")));
        }
        if running {
            match self.container_kill(container.id.as_str(), "SIGKILL").await {
                Err(err) if container.record().state.running => {
                    return Err(err.context(format!(
                        "cannot remove container \"{}\": could not kill",
                        container.name()
                    )));
                }
                _ended => {}
            }
        }
        // Not after our own kill: one that takes itself away is waited for.
        if !running && container.status() == Status::Removing {
            return Err(Error::conflict(format!(
                "removal of container {id} is already in progress"
            )));
        }
        self.remove(&container, options.volumes).await
    }

    /// Takes a stopped container away, its anonymous volumes too when asked. Goes on after a failure and
    /// can be repeated.
    pub(crate) async fn remove(&self, container: &Arc<Container>, volumes: bool) -> Result<()> {
        let _one_at_a_time = container.op.lock().await;
        if container.life.borrow().removed {
            return Ok(());
        }
        if container.record().state.running {
            return Err(Error::conflict(format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                container.name()
            )));
        }
        // On a full disk removal must work above all.
        let marked = container.update(|record| {
            record.state.status = Status::Removing;
            record.host_config.auto_remove |= volumes;
        });
        if let Err(err) = marked {
            tracing::warn!(container = container.id.short(), error = %errdefs::chain(&err), "failed to save");
        }
        self.sweep_run(container).await;
        self.remove_ended(container, volumes).await
    }

    /// Takes away one that is marked as `Removing` and holds no network any more. With the operation lock held.
    /// Returns when nothing can be seen of it; its files go in the background.
    pub(crate) async fn remove_ended(
        &self,
        container: &Arc<Container>,
        volumes: bool,
    ) -> Result<()> {
        if let Err(err) = self.take_away(container, volumes).await {
            // Dead can be removed again; removing could not.
            container.modify(|record| record.state.status = Status::Dead);
            return Err(err.context(format!("cannot remove container \"{}\"", container.name())));
        }
        self.0.execs.forget(&container.id);
        let attributes = container.attributes();
        self.0.containers.remove(container);
        self.0.events.emit("container", "destroy", container.id.as_str(), attributes);
        container.life.send_modify(|life| life.removed = true);
        Ok(())
    }

    /// What a container has on this machine. The record goes last: whatever is found without one is swept at
    /// the next start. That holds for the files that are left to the background, and nothing is synced here: a
    /// power cut that brings the record back brings back its mark, or that it ran with `--rm`.
    async fn take_away(&self, container: &Arc<Container>, volumes: bool) -> Result<()> {
        self.unmount_volumes(container).await;
        self.0.networks.forget(&container.id).await;
        self.0.volumes.release(&container.id);
        if volumes {
            self.remove_anonymous_volumes(container).await;
        }
        let layers = self.discard_rootfs(container).await?;
        let path = container.dir.join("container.json");
        match crate::blocking::run(|| std::fs::remove_file(&path)) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::caused(format!("failed to remove {}", path.display()), err));
            }
            _ => {}
        }
        let (engine, container) = (self.clone(), container.clone());
        self.0.tasks.spawn(async move { engine.remove_files(&container, layers).await });
        Ok(())
    }

    /// The slow part of a removal.
    async fn remove_files(&self, container: &Container, layers: Vec<image::Discarded>) {
        let warn = |err: &dyn std::fmt::Display| {
            tracing::warn!(container = container.id.short(), error = %err, "files of a removed container are left");
        };
        for layer in layers {
            if let Err(err) = layer.removed().await {
                warn(&err);
            }
        }
        let dirs = [container.run_dir.clone(), container.dir.clone()];
        let removed = tokio::task::spawn_blocking(move || {
            dirs.iter().try_for_each(|dir| super::monitor::remove_dir(dir))
        });
        match removed.await {
            Ok(Err(err)) => warn(&err),
            Err(err) => warn(&err),
            Ok(Ok(())) => {}
        }
    }

    /// The volumes made for this container alone. One that another container uses stays.
    pub(crate) async fn remove_anonymous_volumes(&self, container: &Container) {
        let mounts = container.record().mounts.clone();
        for mount in mounts.iter().filter(|mount| mount.anonymous) {
            if let Err(err) = self.volume_remove(&mount.point.name, false).await {
                tracing::debug!(volume = mount.point.name, error = %err, "anonymous volume stays");
            }
        }
    }

    /// `POST /containers/{id}/rename`.
    pub async fn container_rename(&self, id: &str, name: &str) -> Result<()> {
        let container = self.0.containers.find(id)?;
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        super::validate::name(name)?;
        let _one_at_a_time = container.op.lock().await;
        let old = container.name();
        if old == name {
            return Err(Error::invalid(
                "Renaming a container with the same name as its current name",
            ));
        }
        self.0
            .containers
            .reserve(name, &container.id)
            .map_err(|err| err.context("Error when allocating new name"))?;
        if let Err(err) = container.update(|record| name.clone_into(&mut record.name)) {
            self.0.containers.release(name);
            name_back(&container, &old);
            return Err(err);
        }
        self.0.containers.release(&old);
        self.0.networks.renamed(&container.id, name).await;
        let mut attributes = container.attributes();
        attributes.insert("oldName".to_owned(), format!("/{old}"));
        self.0.events.emit("container", "rename", container.id.as_str(), attributes);
        Ok(())
    }
}

fn name_back(container: &Container, old: &str) {
    container.modify(|record| old.clone_into(&mut record.name));
}
