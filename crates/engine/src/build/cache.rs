//! The build cache: images that were built here, found again.

use image::{Image, Store};
use std::sync::Arc;
use types::ImageId;
use types::container::Config;

/// What an instruction would make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) parent: Option<&'a ImageId>,
    pub(super) created_by: &'a str,
    pub(super) config: &'a Config,
}

/// The newest image that `step` made before, here or, for whole images, elsewhere (`sources`: what
/// `--cache-from` names).
pub(super) fn find(store: &Store, step: Step<'_>, sources: &[Arc<Image>]) -> Option<Arc<Image>> {
    let built_here = match step.parent {
        Some(parent) => store.children(parent),
        None => store.roots(),
    };
    let below = step.parent.and_then(|parent| store.get(parent));
    let from_elsewhere =
        sources.iter().filter(|source| continues(source, below.as_deref())).cloned();
    let all = built_here.into_iter().chain(from_elsewhere);
    all.filter(|image| made_by(image, step)).max_by_key(|image| image.config.created)
}

fn made_by(image: &Image, step: Step<'_>) -> bool {
    let last = image.config.history.last();
    last.is_some_and(|last| last.created_by == step.created_by)
        && image.config.config == *step.config
}

/// Whether `image` is `below` and one step more.
fn continues(image: &Image, below: Option<&Image>) -> bool {
    let (history, layers) =
        below.map(|below| (&below.config.history[..], &below.layers[..])).unwrap_or_default();
    image.config.history.len() == history.len() + 1
        && image.config.history.starts_with(history)
        && image.layers.starts_with(layers)
}
