//! `/images`: the store's operations with the engine's knowledge of containers, and their events.
//!
//! | module | owns |
//! |---|---|
//! | `images` | list, inspect, history, tag, remove, prune |
//! | `nodes` | images of other nodes, and what a name means in the cluster |
//! | `transfer` | pull, push, load, save, import, what a registry says |
//! | `platform` | whether an image is for the platform that is asked for |
//! | `search` | repositories of a registry by name |
//! | `commit` | a container into an image |

mod commit;
mod nodes;
pub(crate) mod platform;
mod search;
mod transfer;

pub use nodes::Renew;
pub use platform::read_platform;
pub use transfer::{ImportRequest, ImportSource, PullRequest};

use crate::container::{Container, until};
use crate::{Engine, Error, Filters, Result};
use image::{ContainerUse, ListFilter, Reference, RemoveOptions};
use std::collections::BTreeMap;
use types::ImageId;
use types::container::Status;
use types::image::{Deleted, HistoryItem, Inspect, PruneReport, Summary};

/// `GET /images/json`.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Also the intermediate images of builds.
    pub all: bool,
    /// Compute `SharedSize`.
    pub shared_size: bool,
    pub filters: Filters,
}

impl Engine {
    /// Newest first.
    pub fn image_list(&self, options: &ImageListOptions) -> Result<Vec<Summary>> {
        let filters = &options.filters;
        filters.validate(&["dangling", "label", "before", "since", "reference", "until"])?;
        let values = |name: &str| filters.get(name).map(str::to_owned).collect();
        let filter = ListFilter {
            all: options.all,
            dangling: filters.flag("dangling")?,
            labels: values("label"),
            not_labels: Vec::new(),
            before: values("before"),
            since: values("since"),
            references: values("reference"),
            until: until(filters)?,
            ..ListFilter::default()
        };
        let mut images = self.0.images.list(&filter, None).map_err(Error::from_lower)?;
        if options.shared_size {
            let shared = self.0.images.shared_sizes();
            for summary in &mut images {
                let bytes = shared.get(&summary.id).copied().unwrap_or(0);
                summary.shared_size = i64::try_from(bytes).unwrap_or(i64::MAX);
            }
        }
        Ok(images)
    }

    /// `name`: a reference, an id, or the unambiguous start of one.
    pub fn image_inspect(&self, name: &str) -> Result<Inspect> {
        self.0.images.inspect(name).map_err(Error::from_lower)
    }

    /// Newest step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryItem>> {
        self.0.images.history(name).map_err(Error::from_lower)
    }

    /// `POST /images/{name}/tag`.
    pub async fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<()> {
        let target = reference_of(repo, tag)?.or_latest();
        let image = self.0.images.tag(name, &target.familiar()).await.map_err(Error::from_lower)?;
        self.image_event("tag", &image.id, &target.familiar());
        Ok(())
    }

    /// `DELETE /images/{name}`.
    pub async fn image_remove(
        &self,
        name: &str,
        force: bool,
        noprune: bool,
    ) -> Result<Vec<Deleted>> {
        let id = self.0.images.resolve(name).map_err(Error::from_lower)?.id.clone();
        let options = RemoveOptions { force, prune_parents: !noprune };
        let records = self.0.images.remove(name, options, self.image_uses()).await;
        let records = records.map_err(Error::from_lower)?;
        self.removal_events(&id, &records);
        Ok(records)
    }

    /// `POST /images/prune`. Without a `dangling` filter, only unnamed images go; never those that the cluster's services
    /// need.
    pub async fn image_prune(&self, filters: Filters) -> Result<PruneReport> {
        filters.validate(&["dangling", "label", "label!", "until"])?;
        let values = |name: &str| filters.get(name).map(str::to_owned).collect();
        let filter = ListFilter {
            dangling: filters.flag("dangling")?,
            labels: values("label"),
            not_labels: values("label!"),
            until: until(&filters)?,
            except: self.images_needed().await?,
            ..ListFilter::default()
        };
        let report =
            self.0.images.prune(filter, self.image_uses()).await.map_err(Error::from_lower)?;
        let records = report.images_deleted.as_deref().unwrap_or_default();
        self.removal_events(&ImageId::default(), records);
        let reclaimed =
            BTreeMap::from([("reclaimed".to_owned(), report.space_reclaimed.to_string())]);
        self.0.events.emit("image", "prune", "", reclaimed);
        Ok(report)
    }

    /// Who uses which image.
    pub(crate) fn image_uses(&self) -> Vec<ContainerUse> {
        self.0.containers.all().iter().flat_map(|container| uses_of(container)).collect()
    }

    pub(crate) fn image_event(&self, action: &str, id: &ImageId, name: &str) {
        let labels = self.0.images.get(id).and_then(|image| image.config.config.labels.clone());
        let mut attributes = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.0.events.emit("image", action, id.as_str(), attributes);
    }

    /// `untag` and `delete`; layers have no events.
    fn removal_events(&self, id: &ImageId, records: &[Deleted]) {
        let mut owner = id.clone();
        for record in records {
            if let Some(name) = &record.untagged {
                self.image_event("untag", &owner, name);
            }
            // Images are listed before their layers; both are digests, only images were ever known.
            if let Some(gone) = &record.deleted {
                let deleted = ImageId::new(gone.clone());
                if deleted == owner || owner == ImageId::default() {
                    self.image_event("delete", &deleted, deleted.as_str());
                    owner = ImageId::default();
                }
            }
        }
    }
}

/// A container's own image and those mounted in it.
fn uses_of(container: &Container) -> Vec<ContainerUse> {
    let status = container.status();
    let running = matches!(status, Status::Running | Status::Paused | Status::Restarting);
    let record = container.record();
    let mounted = record.mounts.iter().filter(|mount| mount.point.kind == "image");
    let images = mounted.map(|mount| &mount.spec.source).chain([&record.image]);
    let used = |image: &String| ContainerUse {
        container: container.id.to_string(),
        image: ImageId::new(image.clone()),
        running,
    };
    images.map(used).collect()
}

/// A repository and a tag or digest, as the API gives them apart. The repository may carry its own.
pub(crate) fn reference_of(repo: &str, tag: &str) -> Result<Reference> {
    let text = match tag {
        "" => repo.to_owned(),
        digest if digest.starts_with("sha256:") => format!("{repo}@{digest}"),
        tag => {
            let base = Reference::parse(repo).map_err(invalid)?;
            return base.with_tag(tag).map_err(invalid);
        }
    };
    Reference::parse(&text).map_err(invalid)
}

fn invalid(err: image::ReferenceError) -> Error {
    Error::from_lower(image::Error::Reference(err))
}
