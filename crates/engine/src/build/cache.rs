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

/// Where a step was found.
#[derive(Debug)]
pub(super) enum Hit {
    /// An image ends with it.
    Whole(Arc<Image>),
    /// It is in the middle of an image from elsewhere: entry `at` of its history.
    Within { source: Arc<Image>, at: usize },
}

/// What `step` made before. `sources` are the images that `--cache-from` names: when it names any, nothing else is
/// looked at, as with dockerd.
pub(super) fn find(store: &Store, step: Step<'_>, sources: Option<&[Arc<Image>]>) -> Option<Hit> {
    let built_here = match step.parent {
        Some(parent) => store.children(parent),
        None => store.roots(),
    };
    let usable = |image: &Image| {
        sources.is_none_or(|sources| sources.iter().any(|source| is_below(store, image, source)))
    };
    let newest = built_here
        .into_iter()
        .filter(|image| made_by(image, step) && usable(image))
        .max_by_key(|image| image.config.created);
    if let Some(image) = newest {
        return Some(Hit::Whole(image));
    }
    let below = step.parent.and_then(|parent| store.get(parent));
    sources?.iter().find_map(|source| within(source, below.as_deref(), step))
}

/// Whether `image` is `source`, or one of those it was built from here.
fn is_below(store: &Store, image: &Image, source: &Arc<Image>) -> bool {
    let parent = |above: &Arc<Image>| store.get(above.parent.as_ref()?);
    std::iter::successors(Some(source.clone()), parent).any(|above| above.id == image.id)
}

fn made_by(image: &Image, step: Step<'_>) -> bool {
    let last = image.config.history.last();
    last.is_some_and(|last| last.created_by == step.created_by)
        && image.config.config == *step.config
}

/// `step` in the history of `source`, when that begins with all of `below`.
fn within(source: &Arc<Image>, below: Option<&Image>, step: Step<'_>) -> Option<Hit> {
    let (history, layers) =
        below.map(|below| (&below.config.history[..], &below.layers[..])).unwrap_or_default();
    let at = history.len();
    let continues = source.config.history.starts_with(history) && source.layers.starts_with(layers);
    if !continues || source.config.history.get(at)?.created_by != step.created_by {
        return None;
    }
    if at + 1 < source.config.history.len() {
        return Some(Hit::Within { source: source.clone(), at });
    }
    made_by(source, step).then(|| Hit::Whole(source.clone()))
}
