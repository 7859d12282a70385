//! `GET /images/{name}/json` and `/history`.

use super::list::names;
use crate::store::Image;
use crate::{Result, Store};
use std::collections::BTreeMap;
use types::image::{GraphDriver, HistoryItem, Inspect, Metadata, RootFs};

impl Store {
    /// All that is known of the image called `name`.
    pub fn inspect(&self, name: &str) -> Result<Inspect> {
        let image = self.resolve(name)?;
        let (repo_tags, repo_digests) = names(self.0.index().references_to(&image.id));
        let config = &image.config;
        Ok(Inspect {
            id: image.id.clone(),
            repo_tags,
            repo_digests,
            parent: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
            comment: comment(&image),
            created: (!config.created.is_zero()).then_some(config.created),
            container: config.container.clone(),
            container_config: config.container_config.clone(),
            docker_version: config.docker_version.clone(),
            author: config.author.clone(),
            config: Some(config.config.clone()),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            size: i64::try_from(image.size_bytes).unwrap_or(i64::MAX),
            virtual_size: None,
            graph_driver: self.graph_driver(&image),
            root_fs: RootFs { kind: "layers".to_owned(), layers: config.rootfs.diff_ids.clone() },
            metadata: Metadata { last_tag_time: image.tagged },
        })
    }

    /// The steps that made the image called `name`, newest first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        let image = self.resolve(name)?;
        let index = self.0.index();
        let mut layers = image.layers.iter();
        let mut items: Vec<HistoryItem> = Vec::new();
        for step in &image.config.history {
            let layer = if step.empty_layer { None } else { layers.next() };
            let size =
                layer.and_then(|chain| index.layers.get(chain)).map_or(0, |layer| layer.size_bytes);
            items.push(HistoryItem {
                id: "<missing>".to_owned(),
                created: step.created.seconds(),
                created_by: step.created_by.clone(),
                tags: None,
                size: i64::try_from(size).unwrap_or(i64::MAX),
                comment: step.comment.clone(),
            });
        }
        items.reverse();
        // The newest step is the image itself, the next its parent's, as far as parents are known.
        let mut next = Some(image);
        for item in &mut items {
            let Some(step) = next else { break };
            item.id = step.id.to_string();
            let (tags, _) = names(index.references_to(&step.id));
            item.tags = (!tags.is_empty()).then_some(tags);
            next = step.parent.as_ref().and_then(|parent| index.images.get(parent)).cloned();
        }
        Ok(items)
    }

    fn graph_driver(&self, image: &Image) -> GraphDriver {
        let mut dirs: Vec<String> =
            self.layer_dirs(image).iter().rev().map(|dir| dir.display().to_string()).collect();
        let mut data = BTreeMap::new();
        if !dirs.is_empty() {
            data.insert("UpperDir".to_owned(), dirs.remove(0));
        }
        if !dirs.is_empty() {
            data.insert("LowerDir".to_owned(), dirs.join(":"));
        }
        GraphDriver { name: "overlay2".to_owned(), data }
    }
}

/// dockerd takes the last step's comment when the image has none of its own.
fn comment(image: &Image) -> String {
    if !image.config.comment.is_empty() {
        return image.config.comment.clone();
    }
    image.config.history.last().map(|step| step.comment.clone()).unwrap_or_default()
}
