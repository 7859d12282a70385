//! `GET /images/json`: which images, in which words.

use super::remove::ContainerUse;
use crate::store::{Image, Index};
use crate::{Digest, Error, Reference, Result, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::image::Summary;
use types::{ImageId, Timestamp};

/// Docker's filters of the image list, and of prune. Empty lists filter nothing.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// Also the intermediate images of builds.
    pub all: bool,
    /// Only images without (`true`) or with (`false`) a name.
    pub dangling: Option<bool>,
    /// `key` or `key=value`; all must hold.
    pub labels: Vec<String>,
    /// As `labels`, but none may hold (prune's `label!`).
    pub not_labels: Vec<String>,
    /// Made before, or after, this image.
    pub before: Vec<String>,
    pub since: Vec<String>,
    /// Patterns of familiar names, any of which must fit.
    pub references: Vec<String>,
    /// Made before this moment.
    pub until: Option<Timestamp>,
    /// Not these.
    pub except: BTreeSet<ImageId>,
}

impl Store {
    /// The images that `filter` lets through, newest first. `used_by` counts containers; `None` leaves
    /// the count at -1.
    pub fn list(
        &self,
        filter: &ListFilter,
        used_by: Option<&[ContainerUse]>,
    ) -> Result<Vec<Summary>> {
        let index = self.0.index();
        let before = created_of(&index, &filter.before, "before")?;
        let since = created_of(&index, &filter.since, "since")?;
        let mut summaries = Vec::new();
        for image in index.images.values() {
            let created = image.config.created;
            let wanted = before.is_none_or(|before| created < before)
                && since.is_none_or(|since| created > since)
                && filter.admits(image);
            if wanted && let Some(summary) = summary(&index, image, filter) {
                summaries.push(summary);
            }
        }
        for summary in &mut summaries {
            summary.containers = used_by.map_or(-1, |uses| {
                uses.iter().filter(|container| container.image == summary.id).count() as i64
            });
        }
        summaries
            .sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.repo_tags.cmp(&b.repo_tags)));
        Ok(summaries)
    }

    /// For each image, the bytes of its layers that other images use too; the nameless below them, which lists leave out, do
    /// not count, so that a list adds up.
    pub fn shared_sizes(&self) -> BTreeMap<ImageId, u64> {
        let index = self.0.index();
        let mut users: BTreeMap<&Digest, usize> = BTreeMap::new();
        let is_shown = |image: &&Arc<Image>| {
            index.references_to(&image.id).next().is_some()
                || index.children(Some(&image.id)).is_empty()
        };
        for chain in index.images.values().filter(is_shown).flat_map(|image| &image.layers) {
            *users.entry(chain).or_default() += 1;
        }
        let shared = |image: &Arc<Image>| {
            let several = image.layers.iter().filter(|chain| users.get(chain) > Some(&1));
            several.filter_map(|chain| index.layers.get(chain)).map(|layer| layer.size_bytes).sum()
        };
        index.images.iter().map(|(id, image)| (id.clone(), shared(image))).collect()
    }

    /// Bytes of all layers, each once.
    pub fn layers_size_bytes(&self) -> u64 {
        self.0.index().layers.values().map(|layer| layer.size_bytes).sum()
    }
}

impl ListFilter {
    /// Everything but `before`, `since`, names and dangling.
    pub(crate) fn admits(&self, image: &Image) -> bool {
        let labels = image.config.config.labels.as_ref();
        let has = |wanted: &String| {
            let (key, value) =
                wanted.split_once('=').map_or((wanted.as_str(), None), |(k, v)| (k, Some(v)));
            let found = labels.and_then(|labels| labels.get(key));
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        };
        self.labels.iter().all(has)
            && !self.not_labels.iter().any(has)
            && self.until.is_none_or(|until| image.config.created < until)
            && !self.except.contains(&image.id)
    }

    fn admits_name(&self, reference: &Reference) -> bool {
        self.references.is_empty() || self.references.iter().any(|pattern| fits(pattern, reference))
    }
}

fn created_of(index: &Index, names: &[String], filter: &'static str) -> Result<Option<Timestamp>> {
    let Some(name) = names.last() else { return Ok(None) };
    match index.resolve(name) {
        Ok(image) => Ok(Some(image.config.created)),
        Err(Error::NoSuchImage(_)) => Err(Error::NoSuchImage(name.clone())),
        Err(_) => Err(Error::Filter { name: filter, value: name.clone() }),
    }
}

/// `None` when the image's names, or its lack of them, leave it out.
fn summary(index: &Index, image: &Arc<Image>, filter: &ListFilter) -> Option<Summary> {
    let references: Vec<&Reference> =
        index.references_to(&image.id).filter(|reference| filter.admits_name(reference)).collect();
    if references.is_empty() {
        let intermediate = !filter.all && !index.children(Some(&image.id)).is_empty();
        let named =
            !filter.references.is_empty() || index.references_to(&image.id).next().is_some();
        if intermediate || named || filter.dangling == Some(false) {
            return None;
        }
    } else if filter.dangling == Some(true) {
        return None;
    }
    let (repo_tags, repo_digests) = names(references.into_iter());
    let size = i64::try_from(image.size_bytes).unwrap_or(i64::MAX);
    Some(Summary {
        id: image.id.clone(),
        parent_id: image.parent.as_ref().map(ToString::to_string).unwrap_or_default(),
        repo_tags,
        repo_digests,
        created: image.config.created.seconds(),
        size,
        shared_size: -1,
        virtual_size: None,
        labels: image.config.config.labels.clone(),
        containers: -1,
    })
}

/// Familiar tags and digests.
pub(crate) fn names<'a>(
    references: impl Iterator<Item = &'a Reference>,
) -> (Vec<String>, Vec<String>) {
    let (digests, tags): (BTreeSet<_>, BTreeSet<_>) =
        references.partition(|reference| reference.digest().is_some());
    let familiar = |set: BTreeSet<&Reference>| set.into_iter().map(Reference::familiar).collect();
    (familiar(tags), familiar(digests))
}

/// Docker's `reference.FamiliarMatch`: a shell pattern against the familiar name with tag, or without.
fn fits(pattern: &str, reference: &Reference) -> bool {
    glob(pattern.as_bytes(), reference.familiar().as_bytes())
        || glob(pattern.as_bytes(), reference.familiar_name().as_bytes())
}

/// Go's `path.Match`: `*` and `?` stop at slashes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], _) => text.is_empty(),
        ([b'*', rest @ ..], _) => {
            glob(rest, text)
                || matches!(text, [first, tail @ ..] if *first != b'/' && glob(pattern, tail))
        }
        ([b'?', rest @ ..], [first, tail @ ..]) => *first != b'/' && glob(rest, tail),
        ([b'[', class @ ..], [first, tail @ ..]) => {
            let Some(end) = class.iter().position(|b| *b == b']') else { return false };
            in_class(&class[..end], *first) && glob(&class[end + 1..], tail)
        }
        ([b'\\', literal, rest @ ..], [first, tail @ ..])
        | ([literal, rest @ ..], [first, tail @ ..]) => literal == first && glob(rest, tail),
        (_, []) => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, class) = match class {
        [b'^', rest @ ..] => (true, rest),
        class => (false, class),
    };
    let mut rest = class;
    let mut found = false;
    while let [low, tail @ ..] = rest {
        if let [b'-', high, after @ ..] = tail {
            found |= (*low..=*high).contains(&byte);
            rest = after;
        } else {
            found |= *low == byte;
            rest = tail;
        }
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_patterns_match_as_gos_path_match() {
        let fits = |pattern: &str, name: &str| {
            super::fits(pattern, &Reference::parse(name).unwrap().or_latest())
        };
        assert!(
            fits("busybox", "busybox") && fits("busy*", "busybox:1") && fits("*:1", "busybox:1")
        );
        assert!(fits("a/*", "a/b") && !fits("*", "a/b") && fits("a/b:v[12]", "a/b:v2"));
        assert!(!fits("busy", "busybox") && !fits("busybox:2", "busybox:1"));
        assert!(fits("127.0.0.1:5000/?:latest", "127.0.0.1:5000/x"));
    }
}
