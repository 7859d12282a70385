//! `POST /commit`: what a container wrote becomes a layer on its image.

use super::reference_of;
use crate::container::merge_config;
use crate::container::options::CommitOptions;
use crate::{Engine, Error, Result};
use image::{Commit, LayerSource};
use std::time::SystemTime;
use types::ImageId;
use types::image::History;

impl Engine {
    /// Returns the new image's id. A running container is paused meanwhile, if asked for.
    pub async fn container_commit(&self, options: CommitOptions) -> Result<String> {
        let container = self.0.containers.find(&options.container)?;
        let reference = match options.repo.as_str() {
            "" => None,
            repo => Some(reference_of(repo, &options.tag)?.or_latest()),
        };
        let record = container.snapshot();
        let base = options.config.clone().unwrap_or_else(|| record.config.clone());
        let mut config = dockerfile::change(base, &options.changes)
            .map_err(|err| Error::invalid(errdefs::chain(&err)))?;
        merge_config(&mut config, &record.config);
        let paused = options.pause && self.pause_if_running(&container).await?;
        let layer = match self.0.images.rw(container.id.as_str()) {
            Some(rw) => {
                self.0.images.layer_from_rw(rw, LayerSource::Keep).await.map_err(Error::from_lower)
            }
            None => Err(Error::system(format!(
                "container {} has no writable layer",
                container.id.short()
            ))),
        };
        if paused {
            self.unfreeze(&container).await?;
        }
        let history = History {
            created: SystemTime::now().into(),
            created_by: record.config.cmd.as_deref().unwrap_or_default().join(" "),
            author: options.author,
            comment: options.comment,
            empty_layer: false,
        };
        let commit = Commit {
            parent: Some(ImageId::new(record.image)),
            config,
            history,
            container: container.id.to_string(),
            platform: None,
        };
        let image =
            self.0.images.create_image(commit, Some(&layer?)).await.map_err(Error::from_lower)?;
        if let Some(reference) = reference {
            self.0
                .images
                .tag(image.id.as_str(), &reference.familiar())
                .await
                .map_err(Error::from_lower)?;
            self.image_event("tag", &image.id, &reference.familiar());
        }
        let mut attributes = container.attributes();
        attributes.insert("imageID".to_owned(), image.id.to_string());
        attributes.insert("imageRef".to_owned(), options.repo);
        attributes.insert("comment".to_owned(), image.config.comment.clone());
        self.0.events.emit("container", "commit", container.id.as_str(), attributes);
        Ok(image.id.to_string())
    }
}
