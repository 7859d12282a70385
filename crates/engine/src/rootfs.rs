//! A container's file system: its writable layer in the image store, mounted while it is needed.

use crate::container::{Container, owner};
use crate::images::platform;
use crate::{Engine, EngineConfig, Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use types::container::Change;
use types::{ContainerId, ImageId};

/// The image as a new container needs it.
pub(crate) struct ContainerImage {
    pub(crate) id: ImageId,
    pub(crate) config: types::container::Config,
    pub(crate) os: String,
    /// It is for another machine than this one, and nobody asked for that.
    pub(crate) warning: Option<String>,
}

impl Engine {
    pub(crate) async fn open_images(config: &EngineConfig) -> Result<image::Store> {
        let registry = image::RegistryConfig {
            mirrors: config.registry_mirrors.clone(),
            insecure: config.insecure_registries.clone(),
            certs_dir: Some(PathBuf::from("/etc/docker/certs.d")),
        };
        image::Store::open(config.data_root.join("image"), registry)
            .await
            .map_err(Error::from_lower)
    }

    /// Finds the image of a create request.
    pub(crate) fn image_for_container(
        &self,
        name: &str,
        platform: Option<&str>,
    ) -> Result<ContainerImage> {
        if name.is_empty() {
            return Err(Error::invalid("no image specified"));
        }
        let wanted = platform::parse(platform.unwrap_or_default())?;
        let image = self.0.images.resolve(name).map_err(Error::from_lower)?;
        let config = &image.config;
        let its = image::Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        };
        let its = platform::shown(&its);
        let mut warning = None;
        match wanted {
            Some(wanted) if !platform::is_for(config, &wanted) => {
                let wanted = platform::shown(&wanted);
                return Err(Error::not_found(format!(
                    "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {its}"
                )));
            }
            None if !platform::is_for(config, &image::Platform::host()) => {
                let host = platform::shown(&image::Platform::host());
                warning = Some(format!(
                    "The requested image's platform ({its}) does not match the detected host platform ({host}) and no specific platform was requested"
                ));
            }
            _ => {}
        }
        let (os, config) = (config.os.clone(), config.config.clone());
        Ok(ContainerImage { id: image.id.clone(), config, os, warning })
    }

    /// What `name` means now; `None` when nothing is called so.
    pub(crate) fn image_id_of(&self, name: &str) -> Option<ImageId> {
        self.0.images.resolve(name).ok().map(|image| image.id.clone())
    }

    fn rw(&self, id: &ContainerId) -> Result<image::RwLayer> {
        self.0.images.rw(id.as_str()).ok_or_else(|| {
            Error::system(format!(
                "the file system of container {} is gone from the image store",
                id.short()
            ))
        })
    }

    pub(crate) async fn create_rootfs(&self, id: &ContainerId, image: &ImageId) -> Result<()> {
        self.0.images.create_rw(id.as_str(), image).await.map(drop).map_err(Error::from_lower)
    }

    /// Idempotent.
    pub(crate) async fn mount_rootfs(&self, id: &ContainerId) -> Result<PathBuf> {
        self.rw(id)?.mount().await.map_err(Error::from_lower)
    }

    /// Idempotent; a layer that is not there needs no unmounting.
    pub(crate) async fn unmount_rootfs(&self, id: &ContainerId) -> Result<()> {
        match self.0.images.rw(id.as_str()) {
            Some(rw) => rw.unmount().await.map_err(Error::from_lower),
            None => Ok(()),
        }
    }

    /// Goes on after a failure.
    pub(crate) async fn remove_rootfs(&self, container: &Container) -> Vec<Error> {
        let mut failures = Vec::new();
        for layer in self.layers(container) {
            failures.extend(layer.remove().await.map_err(Error::from_lower).err());
        }
        failures
    }

    /// Takes the layers away from the container, mounted or not; what is left of them is the caller's to remove.
    pub(crate) async fn discard_rootfs(
        &self,
        container: &Container,
    ) -> Result<Vec<image::Discarded>> {
        let mut discarded = Vec::new();
        for layer in self.layers(container) {
            discarded.push(layer.discard().await.map_err(Error::from_lower)?);
        }
        Ok(discarded)
    }

    /// Its own and those of the images that are mounted in it.
    fn layers(&self, container: &Container) -> Vec<image::RwLayer> {
        let own = self.0.images.rw(container.id.as_str());
        own.into_iter().chain(self.image_layers(container)).collect()
    }

    /// The mounted file system of a running container.
    pub(crate) fn live_rootfs(&self, container: &Container) -> Result<PathBuf> {
        self.rw(&container.id).map(|rw| rw.merged())
    }

    pub(crate) fn rootfs_dirs(&self, id: &ContainerId) -> BTreeMap<String, String> {
        self.rw(id).map(|rw| rw.graph_data()).unwrap_or_default()
    }

    /// Bytes that the container wrote itself.
    pub(crate) async fn rootfs_size(&self, id: &ContainerId) -> Result<i64> {
        let bytes = self.rw(id)?.size_bytes().await.map_err(Error::from_lower)?;
        Ok(i64::try_from(bytes).unwrap_or(i64::MAX))
    }

    /// Bytes of the container's own layer, and of that with its image. `None` when they cannot be read.
    pub(crate) async fn sizes(&self, container: &Arc<Container>) -> (Option<i64>, Option<i64>) {
        let own = self.rootfs_size(&container.id).await.ok();
        let below = self
            .rw(&container.id)
            .map(|rw| i64::try_from(rw.image_size_bytes()).unwrap_or(i64::MAX))
            .ok();
        (own, own.zip(below).map(|(own, below)| own + below))
    }

    /// `GET /containers/{id}/changes`.
    pub async fn container_changes(&self, id: &str) -> Result<Vec<Change>> {
        let container = self.0.containers.find(id)?;
        self.rw(&container.id)?.changes().await.map_err(Error::from_lower)
    }

    /// Layers and mounts that no container holds: what a crash left.
    pub(crate) async fn sweep_rootfs(&self) {
        let layers = self.0.images.rw_ids();
        let container = |layer: &str| self.0.containers.get(&owner(layer));
        let runs = |layer: &&str| container(layer).is_some_and(|its| its.record().state.running);
        let running: Vec<&str> = layers.iter().map(String::as_str).filter(runs).collect();
        for err in self.0.images.unmount_all_but(&running).await {
            tracing::warn!(error = %err, "failed to unmount a leftover");
        }
        for layer in layers.iter().filter(|layer| container(layer).is_none()) {
            let Some(rw) = self.0.images.rw(layer) else { continue };
            if let Err(err) = rw.remove().await {
                tracing::warn!(layer, error = %err, "failed to remove a leftover layer");
            }
        }
    }
}
