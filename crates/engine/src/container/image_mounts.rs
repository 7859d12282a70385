//! `--mount type=image`: another image's files, read-only, in a container.
//!
//! Each is a layer of its own on that image, called `<container>.<digest of the target>`, and bound into the
//! container: whoever finds one knows whose it is, and the image's layers stay while it is there.

use super::record::{Container, MountRecord};
use crate::{Engine, Error, Result};
use sha2::{Digest, Sha256};
use types::ContainerId;

/// Between the container's id and what tells its layers apart. No id has one.
const MARK: char = '.';
/// Hex digits of the target's digest: a container has few mounts.
const DIGITS: usize = 16;

impl Engine {
    /// Makes the layer and says in `mount` where it will be.
    pub(super) async fn claim_image(
        &self,
        id: &ContainerId,
        mount: &mut MountRecord,
    ) -> Result<()> {
        let image =
            self.0.images.resolve(&mount.spec.source).map_err(Error::from_lower)?.id.clone();
        let layer = self.0.images.create_rw(&layer_name(id, mount), &image).await;
        mount.point.source =
            layer.map_err(Error::from_lower)?.merged().to_string_lossy().into_owned();
        mount.spec.source = image.to_string();
        Ok(())
    }

    /// Idempotent.
    pub(super) async fn mount_image(&self, id: &ContainerId, mount: &MountRecord) -> Result<()> {
        let name = layer_name(id, mount);
        let layer = self.0.images.rw(&name);
        let layer = layer.ok_or_else(|| {
            Error::system(format!("the image mounted on {} is gone", mount.point.destination))
        })?;
        layer.mount().await.map(drop).map_err(Error::from_lower)
    }

    pub(crate) async fn unmount_images(&self, container: &Container) {
        for layer in self.image_layers(container) {
            if let Err(err) = layer.unmount().await {
                tracing::warn!(container = container.id.short(), error = %err, "failed to unmount an image");
            }
        }
    }

    pub(crate) fn image_layers(&self, container: &Container) -> Vec<image::RwLayer> {
        let record = container.record();
        let images = record.mounts.iter().filter(|mount| mount.point.kind == "image");
        images.filter_map(|mount| self.0.images.rw(&layer_name(&container.id, mount))).collect()
    }
}

fn layer_name(id: &ContainerId, mount: &MountRecord) -> String {
    let digest = hex::encode(Sha256::digest(&mount.point.destination));
    format!("{id}{MARK}{}", &digest[..DIGITS])
}

/// The container that a layer is for, be it its own or an image's that is mounted in it.
pub(crate) fn owner(layer: &str) -> ContainerId {
    ContainerId::new(layer.split(MARK).next().unwrap_or(layer))
}
