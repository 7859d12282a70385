//! A container's file system: its writable layer in the image store, mounted while it is needed.

use crate::container::Container;
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
        let image = self.0.images.resolve(name).map_err(Error::from_lower)?;
        let os = image.config.os.clone();
        if let Some(wanted) = platform.filter(|wanted| !wanted.is_empty()) {
            let has = format!("{os}/{}", image.config.architecture);
            if !wanted.starts_with(&has) {
                return Err(Error::not_found(format!(
                    "image with reference {name} was found but does not match the specified platform: wanted {wanted}, actual: {has}"
                )));
            }
        }
        Ok(ContainerImage { id: image.id.clone(), config: image.config.config.clone(), os })
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

    pub(crate) async fn remove_rootfs(&self, id: &ContainerId) -> Result<()> {
        match self.0.images.rw(id.as_str()) {
            Some(rw) => rw.remove().await.map_err(Error::from_lower),
            None => Ok(()),
        }
    }

    /// Takes the layer away from the container, mounted or not; what is left of it is the caller's to remove.
    pub(crate) async fn discard_rootfs(
        &self,
        id: &ContainerId,
    ) -> Result<Option<image::Discarded>> {
        match self.0.images.rw(id.as_str()) {
            Some(rw) => rw.discard().await.map(Some).map_err(Error::from_lower),
            None => Ok(None),
        }
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
        let containers = self.0.containers.all();
        let running: Vec<&str> = containers
            .iter()
            .filter(|container| container.record().state.running)
            .map(|container| container.id.as_str())
            .collect();
        for err in self.0.images.unmount_all_but(&running).await {
            tracing::warn!(error = %err, "failed to unmount a leftover");
        }
        for id in self.0.images.rw_ids() {
            let id = ContainerId::new(id);
            if self.0.containers.get(&id).is_none()
                && let Err(err) = self.remove_rootfs(&id).await
            {
                tracing::warn!(container = id.short(), error = %err, "failed to remove a leftover layer");
            }
        }
    }
}
