//! What people otherwise script with cron: when the disk under the data root gets full, images that nobody needs go, the
//! least needed first, until there is room again. Off unless asked for; never a container, never a volume.
//!
//! ```text
//! every interval: free < low? ─► unnamed images, build cache ─► old versions ─► images of no container ─► free ≥ target
//! ```

use crate::{Engine, Filters, ImageListOptions};
use nix::sys::statvfs::statvfs;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use types::ImageId;
use types::image::Summary;

/// When to tidy, and what to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Housekeeping {
    /// How often the disk is looked at; never when zero.
    pub every: Duration,
    /// Nothing is done while at least this much of the disk is free. Percent.
    pub low: u8,
    /// Once begun, it goes on until this much is free. Percent.
    pub target: u8,
    /// Of a repository that containers use, this many of its newest versions stay.
    pub keep: usize,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Housekeeping { every: Duration::ZERO, low: 15, target: 25, keep: 3 }
    }
}

impl Engine {
    /// Looks after the disk until the engine closes.
    pub(crate) fn keep_house(&self) {
        let rules = self.0.config.housekeeping;
        if rules.every.is_zero() {
            return;
        }
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(rules.every);
            loop {
                tokio::select! {
                    _tick = ticks.tick() => engine.tidy_up(rules).await,
                    () = engine.0.closing.cancelled() => return,
                }
            }
        });
    }

    async fn tidy_up(&self, rules: Housekeeping) {
        let before = self.free_percent();
        if before >= rules.low {
            return;
        }
        tracing::info!(
            free = before,
            "the disk is getting full: removing images that nobody needs"
        );
        if let Err(err) = self.build_prune().await {
            tracing::warn!(error = %err, "failed to prune the build cache");
        }
        if let Err(err) = self.image_prune(Filters::default()).await {
            tracing::warn!(error = %err, "failed to prune images");
        }
        let all = self.image_list(&ImageListOptions::default()).unwrap_or_default();
        let mut used = match self.images_needed().await {
            Ok(needed) => needed,
            Err(err) => {
                tracing::warn!(error = errdefs::chain(&err), "images stay as they are");
                return;
            }
        };
        used.extend(self.image_uses().into_iter().map(|usage| usage.image));
        for name in superfluous(&all, &used, rules.keep) {
            if self.free_percent() >= rules.target {
                break;
            }
            match self.image_remove(&name, false, false).await {
                Ok(_) => tracing::info!(image = name, "removed"),
                // A container was made of it meanwhile.
                Err(err) => tracing::debug!(image = name, error = %err, "not removed"),
            }
        }
        tracing::info!(free = self.free_percent(), "tidied up");
    }

    /// How much of the disk under the data root is free, in percent; all of it when that cannot be told.
    fn free_percent(&self) -> u8 {
        let Ok(disk) = statvfs(&self.0.config.data_root) else { return 100 };
        let (free, all) = (disk.blocks_available(), disk.blocks().max(1));
        u8::try_from(free.saturating_mul(100) / all).unwrap_or(100)
    }
}

/// Names that may go, in order: versions beyond the newest `keep` of repositories in use, then those of repositories that no
/// container uses; oldest first. What a container uses is never among them.
fn superfluous(images: &[Summary], used: &BTreeSet<ImageId>, keep: usize) -> Vec<String> {
    let mut repositories: BTreeMap<&str, Vec<(i64, &str, bool)>> = BTreeMap::new();
    for image in images {
        for tag in &image.repo_tags {
            let repository = tag.rsplit_once(':').map_or(tag.as_str(), |(name, _)| name);
            let version = (image.created, tag.as_str(), used.contains(&image.id));
            repositories.entry(repository).or_default().push(version);
        }
    }
    let (mut old, mut unused) = (Vec::new(), Vec::new());
    for versions in repositories.values_mut() {
        versions.sort_unstable();
        let free = |versions: &[(i64, &str, bool)]| {
            let free = versions.iter().filter(|(.., used)| !used);
            free.map(|(created, tag, _)| (*created, (*tag).to_owned())).collect::<Vec<_>>()
        };
        match versions.iter().any(|(.., used)| *used) {
            true => old.extend(free(&versions[..versions.len().saturating_sub(keep)])),
            false => unused.extend(free(versions)),
        }
    }
    old.sort_unstable();
    unused.sort_unstable();
    old.into_iter().chain(unused).map(|(_, tag)| tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, created: i64, tags: &[&str]) -> Summary {
        Summary {
            id: ImageId::new(id),
            created,
            repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ..Summary::default()
        }
    }

    #[test]
    fn old_versions_go_before_unused_repositories_and_what_runs_stays() {
        let images = [
            image("a1", 1, &["app:1"]),
            image("a2", 2, &["app:2"]),
            image("a3", 3, &["app:3"]),
            image("a4", 4, &["app:4", "app:latest"]),
            image("b", 0, &["localhost:5000/base:1"]),
            image("c", 9, &["other:1"]),
        ];
        let used = |ids: &[&str]| ids.iter().map(|id| ImageId::new(*id)).collect();
        assert_eq!(
            superfluous(&images, &used(&["a2", "a4"]), 2),
            ["app:1", "app:3", "localhost:5000/base:1", "other:1"]
        );
        assert_eq!(superfluous(&images[..4], &used(&["a1"]), 10), Vec::<String>::new());
    }
}
