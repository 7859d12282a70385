//! Named volumes of the `local` driver.
//!
//! `<data-root>/volumes/<name>/` holds `_data` (what containers see) and `volume.json` (the record, written
//! atomically, last). A directory whose name begins with a dot is on its way out and is swept at start.
//! Who uses a volume is not kept here: containers tell again at every start ([`Volumes::acquire`]).

mod copy;
mod options;

use crate::container::{random_hex, write_atomically};
use crate::{Engine, EngineConfig, Error, Filters, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use types::volume::{CreateRequest, ListResponse, PruneReport, UsageData, Volume};
use types::{ContainerId, Timestamp};

/// Marks volumes that nobody named; only these are pruned by default.
const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
const RECORD: &str = "volume.json";
const DATA: &str = "_data";

/// Every volume of this node.
pub(crate) struct Volumes {
    root: PathBuf,
    entries: Mutex<BTreeMap<String, Entry>>,
}

struct Entry {
    volume: Volume,
    /// Containers that name it, running or not.
    users: BTreeSet<ContainerId>,
    /// Containers that run with it.
    mounts: BTreeSet<ContainerId>,
    /// One first use, one last use, one removal at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Entry {
    fn new(volume: Volume) -> Self {
        Entry { volume, users: BTreeSet::new(), mounts: BTreeSet::new(), turn: Arc::default() }
    }
}

/// What an empty volume is filled with: a container's directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed<'a> {
    /// The container's mounted root.
    pub(crate) rootfs: &'a Path,
    /// The path inside it; symlinks are followed inside it only.
    pub(crate) path: &'a str,
}

impl Volumes {
    /// Reads what is there and takes away what a crash left half made or half removed.
    pub(crate) fn open(config: &EngineConfig) -> Result<Self> {
        let root = config.data_root.join("volumes");
        let fail = |err| Error::caused(format!("failed to open {}", root.display()), err);
        make_dir(&root, 0o701).map_err(fail)?;
        let mut entries = BTreeMap::new();
        for entry in std::fs::read_dir(&root).map_err(fail)? {
            let dir = entry.map_err(fail)?.path();
            if let Some(volume) = restore(&dir) {
                entries.insert(volume.name.clone(), Entry::new(volume));
            }
        }
        Ok(Volumes { root, entries: Mutex::new(entries) })
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The volume of that name, made if it is missing (the flag tells), used by `user` from now on.
    fn ensure(
        &self,
        request: CreateRequest,
        anonymous: bool,
        user: Option<&ContainerId>,
    ) -> Result<(Volume, bool)> {
        options::check(&request).map_err(|err| err.context(format!("create {}", request.name)))?;
        let mut entries = self.entries();
        let made = !entries.contains_key(&request.name);
        if made {
            let volume = crate::blocking::run(|| self.make(&request, anonymous))?;
            entries.insert(request.name.clone(), Entry::new(volume));
        }
        let Some(entry) = entries.get_mut(&request.name) else {
            return Err(missing(&request.name));
        };
        entry.users.extend(user.cloned());
        Ok((entry.volume.clone(), made))
    }

    fn make(&self, request: &CreateRequest, anonymous: bool) -> Result<Volume> {
        let dir = self.dir(&request.name);
        let fail = |err| {
            Error::caused(
                format!("create {}: failed to create {}", request.name, dir.display()),
                err,
            )
        };
        let mut labels = request.labels.clone().unwrap_or_default();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        make_dir(&dir, 0o701).map_err(fail)?;
        make_dir(&dir.join(DATA), 0o755).map_err(fail)?;
        let now = Timestamp::from(std::time::SystemTime::now());
        let volume = Volume {
            // Docker shows whole seconds.
            created_at: Timestamp::from_seconds(now.seconds()),
            driver: "local".to_owned(),
            labels: Some(labels).filter(|labels| !labels.is_empty()),
            mountpoint: dir.join(DATA).to_string_lossy().into_owned(),
            name: request.name.clone(),
            options: request.driver_opts.clone().filter(|options| !options.is_empty()),
            scope: "local".to_owned(),
            usage_data: None,
        };
        let written = serde_json::to_vec(&volume)
            .map_err(std::io::Error::other)
            .and_then(|text| write_atomically(&dir.join(RECORD), &text));
        if let Err(err) = written {
            let _half_made = std::fs::remove_dir_all(&dir);
            return Err(fail(err));
        }
        Ok(volume)
    }

    /// Counts `user` as a user of `name`: at the daemon's start, for containers that are there already.
    /// Until it is seen to stop it counts as running, so that no mount is taken from under it.
    pub(crate) fn acquire(&self, name: &str, user: &ContainerId) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.users.insert(user.clone());
            entry.mounts.insert(user.clone());
        }
    }

    /// Forgets `user` everywhere.
    pub(crate) fn release(&self, user: &ContainerId) {
        for entry in self.entries().values_mut() {
            entry.users.remove(user);
            entry.mounts.remove(user);
        }
    }

    fn get(&self, name: &str) -> Result<Volume> {
        self.entries().get(name).map(|entry| entry.volume.clone()).ok_or_else(|| missing(name))
    }

    fn turn(&self, name: &str) -> Result<Arc<tokio::sync::Mutex<()>>> {
        self.entries().get(name).map(|entry| entry.turn.clone()).ok_or_else(|| missing(name))
    }

    /// Makes `name` ready for `user` to run with, and says where it is: mounts what its options name and
    /// fills it from `seed` while it is empty. Calling it again for the same user changes nothing.
    pub(crate) async fn mount(
        &self,
        name: &str,
        user: &ContainerId,
        seed: Option<Seed<'_>>,
    ) -> Result<PathBuf> {
        let turn = self.turn(name)?;
        let _mine = turn.lock().await;
        let volume = self.get(name)?;
        let data = PathBuf::from(&volume.mountpoint);
        let shared = self.entries().get(name).is_some_and(|entry| !entry.mounts.is_empty());
        let external = options::Mount::of(&volume);
        if let Some(external) = &external {
            external.ensure(&data).await?;
        }
        if let Some(seed) = seed {
            let in_place = shared || external.is_some();
            copy::seed(seed, &data, in_place).await.map_err(|err| {
                Error::caused(format!("failed to copy the image's content to volume {name}"), err)
            })?;
        }
        if let Some(entry) = self.entries().get_mut(name) {
            entry.mounts.insert(user.clone());
        }
        Ok(data)
    }

    /// `user` runs no more. The last one out unmounts what the options name.
    pub(crate) async fn unmount(&self, name: &str, user: &ContainerId) -> Result<()> {
        let Ok(turn) = self.turn(name) else { return Ok(()) };
        let _mine = turn.lock().await;
        let left = {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(name) else { return Ok(()) };
            entry.mounts.remove(user);
            entry.mounts.is_empty().then(|| entry.volume.clone())
        };
        match left
            .as_ref()
            .and_then(|volume| options::Mount::of(volume).zip(Some(&volume.mountpoint)))
        {
            Some((external, data)) => external.remove(Path::new(data)),
            None => Ok(()),
        }
    }

    /// Takes a volume and its content away. `force` forgives that it is missing.
    pub(crate) async fn remove(&self, name: &str, force: bool) -> Result<()> {
        let turn = match self.turn(name) {
            Err(_) if force => return Ok(()),
            turn => turn?,
        };
        let _mine = turn.lock().await;
        let gone = self.root.join(format!(".{}", random_hex()));
        let fail = |err| Error::caused(format!("remove {name}: error removing volume path"), err);
        {
            let mut entries = self.entries();
            let Some(entry) = entries.get(name) else { return Err(missing(name)) };
            if !entry.users.is_empty() {
                let users: Vec<&str> = entry.users.iter().map(ContainerId::as_str).collect();
                let text = format!("remove {name}: volume is in use - [{}]", users.join(", "));
                return Err(Error::conflict(text));
            }
            if let Some(external) = options::Mount::of(&entry.volume) {
                external.remove(Path::new(&entry.volume.mountpoint))?;
            }
            // From here on the name is free; a crash leaves a dotted directory for the next start.
            std::fs::rename(self.dir(name), &gone).map_err(fail)?;
            entries.remove(name);
        }
        tokio::fs::remove_dir_all(&gone).await.map_err(fail)
    }

    /// Everything that `keep` lets through, with whether anything uses it.
    fn find(&self, keep: impl Fn(&Volume, usize) -> bool) -> Vec<Volume> {
        let entries = self.entries();
        let kept = entries.values().filter(|entry| keep(&entry.volume, entry.users.len()));
        kept.map(|entry| entry.volume.clone()).collect()
    }

    /// How many containers name it.
    fn references(&self, name: &str) -> usize {
        self.entries().get(name).map_or(0, |entry| entry.users.len())
    }
}

fn missing(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

/// Reads one directory of the root. `None` for what is no volume; leftovers are removed.
fn restore(dir: &Path) -> Option<Volume> {
    let name = dir.file_name()?.to_str()?;
    if !dir.is_dir() {
        return None;
    }
    let record = std::fs::read(dir.join(RECORD)).ok();
    if let Some(volume) = record.and_then(|text| serde_json::from_slice::<Volume>(&text).ok()) {
        let mountpoint = dir.join(DATA).to_string_lossy().into_owned();
        return Some(Volume { name: name.to_owned(), mountpoint, ..volume });
    }
    // Without a record it was never answered as made, or is being removed; but never lose content.
    let filled =
        std::fs::read_dir(dir.join(DATA)).is_ok_and(|mut entries| entries.next().is_some());
    if filled && !name.starts_with('.') {
        tracing::warn!(volume = name, "the volume's record is lost; its content is kept");
        return Some(Volume {
            driver: "local".to_owned(),
            mountpoint: dir.join(DATA).to_string_lossy().into_owned(),
            name: name.to_owned(),
            scope: "local".to_owned(),
            ..Volume::default()
        });
    }
    if let Err(err) = std::fs::remove_dir_all(dir) {
        tracing::warn!("failed to remove what is left of a volume in {}: {err}", dir.display());
    }
    None
}

fn make_dir(dir: &Path, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir)?;
    // Whatever the umask is.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode))
}

impl Engine {
    /// `POST /volumes/create`. An existing volume is answered as it is.
    pub async fn volume_create(&self, mut request: CreateRequest) -> Result<Volume> {
        let anonymous = request.name.is_empty();
        if anonymous {
            request.name = random_hex();
        }
        let (volume, made) = self.0.volumes.ensure(request, anonymous, None)?;
        if made {
            self.volume_event(&volume.name, "create", [("driver", "local")]);
        }
        Ok(volume)
    }

    /// The volume of a container's mount, made if it is missing; used by `user` from now on.
    pub(crate) fn ensure_volume(
        &self,
        request: CreateRequest,
        anonymous: bool,
        user: &ContainerId,
    ) -> Result<Volume> {
        let (volume, made) = self.0.volumes.ensure(request, anonymous, Some(user))?;
        if made {
            self.volume_event(&volume.name, "create", [("driver", "local")]);
        }
        Ok(volume)
    }

    /// `GET /volumes/{name}`.
    pub async fn volume_inspect(&self, name: &str) -> Result<Volume> {
        self.0.volumes.get(name)
    }

    /// `GET /volumes`.
    pub async fn volume_list(&self, filters: Filters) -> Result<ListResponse> {
        filters.validate(&["dangling", "name", "driver", "label"])?;
        let dangling = filters.flag("dangling")?;
        let volumes = self.0.volumes.find(|volume, users| {
            dangling.is_none_or(|dangling| dangling == (users == 0))
                && filters.matches("name", |wanted| volume.name.contains(wanted))
                && filters.matches("driver", |wanted| volume.driver == wanted)
                && filters
                    .matches_labels("label", volume.labels.as_ref().unwrap_or(&BTreeMap::new()))
        });
        Ok(ListResponse { volumes, warnings: None })
    }

    /// `DELETE /volumes/{name}`.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let there = self.0.volumes.get(name).is_ok();
        self.0.volumes.remove(name, force).await?;
        if there {
            self.volume_event(name, "destroy", [("driver", "local")]);
        }
        Ok(())
    }

    /// `POST /volumes/prune`: unused ones without options; only anonymous ones unless `all` says so.
    pub async fn volume_prune(&self, filters: Filters) -> Result<PruneReport> {
        filters.validate(&["label", "label!", "all"])?;
        let all = filters.flag("all")?.unwrap_or(false);
        let doomed = self.0.volumes.find(|volume, users| {
            let none = BTreeMap::new();
            let labels = volume.labels.as_ref().unwrap_or(&none);
            users == 0
                && volume.options.is_none()
                && (all || labels.contains_key(ANONYMOUS_LABEL))
                && filters.matches_labels("label", labels)
                && (!filters.contains("label!") || !filters.matches_labels("label!", labels))
        });
        let mut report = PruneReport::default();
        for volume in doomed {
            let size = size_of(&volume).await;
            match self.volume_remove(&volume.name, false).await {
                Ok(()) => {
                    report.space_reclaimed += u64::try_from(size).unwrap_or(0);
                    report.volumes_deleted.push(volume.name);
                }
                Err(err) => tracing::warn!(volume = volume.name, "not pruned: {err}"),
            }
        }
        let reclaimed = report.space_reclaimed.to_string();
        self.volume_event("", "prune", [("reclaimed", reclaimed.as_str())]);
        Ok(report)
    }

    /// Volumes without options, with their sizes and references, for `system df`.
    pub(crate) async fn volume_usage(&self) -> Vec<Volume> {
        let mut volumes = self.0.volumes.find(|volume, _| volume.options.is_none());
        for volume in &mut volumes {
            let references = self.0.volumes.references(&volume.name);
            let ref_count = i64::try_from(references).unwrap_or(i64::MAX);
            volume.usage_data = Some(UsageData { ref_count, size: size_of(volume).await });
        }
        volumes
    }

    fn volume_event<const N: usize>(
        &self,
        name: &str,
        action: &str,
        attributes: [(&str, &str); N],
    ) {
        let attributes = attributes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.0.events.emit("volume", action, name, attributes.into());
    }
}

/// Bytes of the files in it; -1 when it cannot be read.
async fn size_of(volume: &Volume) -> i64 {
    let data = PathBuf::from(&volume.mountpoint);
    let size = tokio::task::spawn_blocking(move || copy::size(&data)).await;
    match size {
        Ok(Ok(size)) => i64::try_from(size).unwrap_or(i64::MAX),
        _ => -1,
    }
}

#[cfg(test)]
mod tests;
