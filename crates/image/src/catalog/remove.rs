//! Removing images by Docker's rules (moby `image_delete.go`): a name is taken away first; the image
//! goes with its last name, unless something needs it.

use crate::catalog::list::ListFilter;
use crate::store::{Image, Index, Inner, blocking};
use crate::{Digest, Error, Reference, Result, Store};
use std::collections::BTreeSet;
use types::ImageId;
use types::image::{Deleted, PruneReport};

/// A container, as far as images are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerUse {
    /// The container's full id.
    pub container: String,
    pub image: ImageId,
    pub running: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Also what stopped containers use or what has several names.
    pub force: bool,
    /// Also parents that have no name and no other child.
    pub prune_parents: bool,
}

impl Store {
    /// Removes the name, or with an id the image. `uses` are all containers.
    pub async fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        uses: Vec<ContainerUse>,
    ) -> Result<Vec<Deleted>> {
        let (inner, name) = (self.0.clone(), name.to_owned());
        blocking(move || inner.remove(&name, options, &uses).map(|(deleted, _)| deleted)).await
    }

    /// Removes what no container uses: unnamed images, or with `dangling` false all.
    pub async fn prune(&self, filter: ListFilter, uses: Vec<ContainerUse>) -> Result<PruneReport> {
        let inner = self.0.clone();
        blocking(move || inner.prune(&filter, &uses)).await
    }
}

/// What can stand against a removal, in the order in which Docker looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Children and running containers.
    Hard,
    /// Those and stopped containers.
    HardAndStopped,
    /// Those and names.
    All,
}

struct Blocked {
    text: String,
    used: bool,
}

impl From<Blocked> for Error {
    fn from(blocked: Blocked) -> Error {
        Error::Conflict(blocked.text)
    }
}

impl Inner {
    fn remove(
        &self,
        name: &str,
        options: RemoveOptions,
        uses: &[ContainerUse],
    ) -> Result<(Vec<Deleted>, u64)> {
        let mut records = Vec::new();
        {
            let mut index = self.index();
            let image = index.resolve(name)?;
            let go_on = if !is_name(&index, name) {
                self.untag_all_by_id(&mut index, &image, options.force, uses, &mut records)?;
                Some(false)
            } else {
                self.untag(&mut index, &image, name, options.force, uses, &mut records)?
            };
            let Some(quiet) = go_on else { return Ok((records, 0)) };
            self.delete(&mut index, &image.id, options, quiet, uses, &mut records)?;
        }
        let (removed, freed) = self.collect();
        records.extend(removed.iter().map(|chain| deleted(chain.as_str())));
        Ok((records, freed))
    }

    /// Takes one name away. `None`: other names keep the image; otherwise it is to be deleted quietly.
    fn untag(
        &self,
        index: &mut Index,
        image: &Image,
        name: &str,
        force: bool,
        uses: &[ContainerUse],
        records: &mut Vec<Deleted>,
    ) -> Result<Option<bool>> {
        let all: Vec<Reference> = index.references_to(&image.id).cloned().collect();
        if !force
            && is_single(&all)
            && let Some(user) = uses.iter().find(|container| container.image == image.id)
        {
            return Err(Error::Conflict(format!(
                "unable to remove repository reference \"{name}\" (must force) - container {} is using its referenced image {}",
                short(&user.container),
                image.id.short()
            )));
        }
        let mut gone = Reference::parse(name)?.or_latest();
        if let Some(digest) = gone.digest().cloned() {
            gone = gone.with_digest(&digest);
        }
        let mut removed = vec![gone.clone()];
        let repository =
            || all.iter().filter(|other| other.same_repository(&gone) && **other != gone);
        // Digests of a repository go with its last tag.
        if gone.digest().is_none() && !repository().any(|other| other.digest().is_none()) {
            removed.extend(repository().cloned());
        }
        self.forget_references(index, &removed)?;
        records.extend(removed.iter().map(untagged));
        Ok((removed.len() >= all.len()).then_some(true))
    }

    /// With an id, all names go at once if they are of one repository.
    fn untag_all_by_id(
        &self,
        index: &mut Index,
        image: &Image,
        force: bool,
        uses: &[ContainerUse],
        records: &mut Vec<Deleted>,
    ) -> Result<()> {
        let all: Vec<Reference> = index.references_to(&image.id).cloned().collect();
        if !is_single(&all) {
            return Ok(());
        }
        let check = if force { Check::Hard } else { Check::HardAndStopped };
        if let Some(blocked) = blocked(index, &image.id, check, uses) {
            return Err(blocked.into());
        }
        if !all.is_empty() {
            self.forget_references(index, &all)?;
            records.extend(all.iter().map(untagged));
        }
        Ok(())
    }

    fn delete(
        &self,
        index: &mut Index,
        id: &ImageId,
        options: RemoveOptions,
        quiet: bool,
        uses: &[ContainerUse],
        records: &mut Vec<Deleted>,
    ) -> Result<()> {
        let check = if options.force { Check::Hard } else { Check::All };
        if let Some(blocked) = blocked(index, id, check, uses) {
            let dangling =
                index.references_to(id).next().is_none() && index.children(Some(id)).is_empty();
            return if quiet && (!dangling || blocked.used) { Ok(()) } else { Err(blocked.into()) };
        }
        let names: Vec<Reference> = index.references_to(id).cloned().collect();
        if !names.is_empty() {
            self.forget_references(index, &names)?;
            records.extend(names.iter().map(untagged));
        }
        let parent = index.images.get(id).and_then(|image| image.parent.clone());
        self.forget_image(index, id)?;
        records.push(deleted(id.as_str()));
        match parent.filter(|parent| options.prune_parents && index.images.contains_key(parent)) {
            Some(parent) => {
                let options = RemoveOptions { force: false, ..options };
                self.delete(index, &parent, options, true, uses, records)
            }
            None => Ok(()),
        }
    }

    fn prune(&self, filter: &ListFilter, uses: &[ContainerUse]) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        let mut gone = Vec::new();
        // A parent that has a name is unwanted once its children are gone, and keeps its name while one stays.
        loop {
            let before = gone.len();
            for target in self.unwanted(filter, uses) {
                let options = RemoveOptions { force: false, prune_parents: true };
                match self.remove(&target, options, uses) {
                    Ok((records, freed)) => {
                        gone.extend(records);
                        report.space_reclaimed += freed;
                    }
                    // Taken in the meantime, or gone with another.
                    Err(Error::Conflict(_) | Error::NoSuchImage(_)) => {}
                    Err(err) => return Err(err),
                }
            }
            if gone.len() == before {
                break;
            }
        }
        report.images_deleted = (!gone.is_empty()).then_some(gone);
        Ok(report)
    }

    /// Names, or ids where there is none, of images without children that no container uses.
    fn unwanted(&self, filter: &ListFilter, uses: &[ContainerUse]) -> Vec<String> {
        let used: BTreeSet<&ImageId> = uses.iter().map(|container| &container.image).collect();
        let only_dangling = filter.dangling != Some(false);
        let index = self.index();
        let mut targets = Vec::new();
        for image in index.images.values() {
            let names: Vec<String> =
                index.references_to(&image.id).map(Reference::to_string).collect();
            if !used.contains(&image.id)
                && filter.admits(image)
                && (names.is_empty() || !only_dangling)
                && index.children(Some(&image.id)).is_empty()
            {
                targets.extend(names.is_empty().then(|| image.id.to_string()));
                targets.extend(names);
            }
        }
        targets
    }
}

fn blocked(index: &Index, id: &ImageId, check: Check, uses: &[ContainerUse]) -> Option<Blocked> {
    let say = |hard: bool, used: bool, why: String| {
        let force = if hard { "cannot be forced" } else { "must be forced" };
        Some(Blocked { text: format!("unable to delete {} ({force}) - {why}", id.short()), used })
    };
    if !index.children(Some(id)).is_empty() {
        return say(true, false, "image has dependent child images".to_owned());
    }
    let user = |running: bool| uses.iter().find(|it| it.image == *id && it.running == running);
    if let Some(user) = user(true) {
        let why = format!("image is being used by running container {}", short(&user.container));
        return say(true, true, why);
    }
    if check == Check::Hard {
        return None;
    }
    if check == Check::All && index.references_to(id).next().is_some() {
        return say(false, false, "image is referenced in multiple repositories".to_owned());
    }
    let user = user(false)?;
    say(false, true, format!("image is being used by stopped container {}", short(&user.container)))
}

/// At most one tag, and digests of its repository only.
fn is_single(references: &[Reference]) -> bool {
    let tags = references.iter().filter(|reference| reference.digest().is_none()).count();
    let one_repository = references.windows(2).all(|pair| pair[0].same_repository(&pair[1]));
    references.len() <= 1 || (tags <= 1 && one_repository)
}

/// Names win over ids, as in look-ups: `b` is the image called so even if its id begins with b.
fn is_name(index: &Index, name: &str) -> bool {
    let reference = Reference::parse(name).ok().map(Reference::or_latest);
    reference.is_some_and(|reference| index.lookup(&reference).is_some())
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn untagged(reference: &Reference) -> Deleted {
    Deleted { untagged: Some(reference.familiar()), deleted: None }
}

fn deleted(id: &str) -> Deleted {
    debug_assert!(Digest::parse(id).is_some(), "image and chain ids are digests");
    Deleted { untagged: None, deleted: Some(id.to_owned()) }
}
