//! A container's volumes and bind sources at start and after its end.

use super::record::{Container, MountRecord};
use crate::volumes::Seed;
use crate::{Engine, Error, Result};
use std::path::Path;
use std::sync::Arc;

impl Engine {
    /// Mounts the volumes, fills the empty ones from the image, makes what `-v` promises to make.
    pub(crate) async fn prepare_volumes(
        &self,
        container: &Arc<Container>,
        rootfs: &Path,
    ) -> Result<()> {
        let mounts = container.record().mounts.clone();
        for mount in &mounts {
            match mount.point.kind.as_str() {
                "volume" => self.prepare_volume(container, mount, rootfs).await?,
                "bind" => prepare_bind(mount)?,
                "image" => self.mount_image(&container.id, mount).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn prepare_volume(
        &self,
        container: &Container,
        mount: &MountRecord,
        rootfs: &Path,
    ) -> Result<()> {
        let options = mount.spec.volume_options.as_ref();
        let whole = options.is_none_or(|options| options.subpath.is_empty());
        let seed =
            (mount.copy_up && whole).then_some(Seed { rootfs, path: &mount.point.destination });
        self.0.volumes.mount(&mount.point.name, &container.id, seed).await.map(drop)
    }

    pub(crate) async fn unmount_volumes(&self, container: &Container) {
        let mounts = container.record().mounts.clone();
        for mount in mounts.iter().filter(|mount| mount.point.kind == "volume") {
            if let Err(err) = self.0.volumes.unmount(&mount.point.name, &container.id).await {
                tracing::warn!(volume = mount.point.name, error = %err, "failed to unmount a volume");
            }
        }
    }
}

fn prepare_bind(mount: &MountRecord) -> Result<()> {
    let source = Path::new(&mount.point.source);
    if source.exists() {
        return Ok(());
    }
    if !mount.create_source {
        return Err(Error::invalid(format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.point.source
        )));
    }
    std::fs::create_dir_all(source).map_err(|err| {
        Error::caused(
            format!("error while creating mount source path '{}'", mount.point.source),
            err,
        )
    })
}
