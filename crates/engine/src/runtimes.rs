//! The OCI runtimes a container can ask for by name: the embedded one, and command lines such as runc's.

use crate::{Engine, EngineConfig, Error, Result};
use runtime::{Kind, Runtime, RuntimeConfig};
use std::collections::BTreeMap;

/// The embedded runtime's name in `--runtime` and `info`: the one docker's clients know as the usual one.
/// `--add-runtime runc=/usr/sbin/runc` puts the real one in its place.
pub(crate) const EMBEDDED: &str = "runc";

pub(crate) struct Runtimes {
    by_name: BTreeMap<String, Kind>,
    default: String,
}

pub(crate) fn open(config: &EngineConfig) -> Result<Runtime> {
    let mut shim = RuntimeConfig::default();
    if let Some(program) = &config.shim_program {
        shim.shim.clone_from(program);
    }
    Runtime::new(shim).map_err(Error::from_lower)
}

impl Runtimes {
    pub(crate) fn new(config: &EngineConfig) -> Result<Self> {
        let mut by_name = BTreeMap::from([(EMBEDDED.to_owned(), Kind::Embedded)]);
        by_name.extend(
            config.runtimes.iter().map(|(name, path)| (name.clone(), Kind::Binary(path.clone()))),
        );
        let default = match config.default_runtime.as_str() {
            "" => EMBEDDED.to_owned(),
            name => name.to_owned(),
        };
        if !by_name.contains_key(&default) {
            return Err(Error::invalid(format!(
                "specified default runtime '{default}' does not exist"
            )));
        }
        Ok(Runtimes { by_name, default })
    }

    pub(crate) fn default_name(&self) -> &str {
        &self.default
    }

    /// The runtime called `name`; `runc` is the default one unless another was added under that name.
    pub(crate) fn get(&self, name: &str) -> Result<&Kind> {
        let name = if name.is_empty() { &self.default } else { name };
        self.by_name
            .get(name)
            .ok_or_else(|| Error::invalid(format!("unknown or invalid runtime name: {name}")))
    }

    /// A host program that can be a container's first process, where the runtime cannot be it itself.
    pub(crate) fn init_program(&self, name: &str) -> Option<String> {
        let embedded = matches!(self.get(name), Ok(Kind::Embedded));
        const CANDIDATES: &[&str] =
            &["/usr/bin/docker-init", "/usr/bin/tini-static", "/usr/bin/tini"];
        let found = CANDIDATES.iter().find(|path| std::path::Path::new(path).exists());
        found.filter(|_| !embedded).map(|path| (*path).to_owned())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }
}

impl Engine {
    /// `/<parent>/<id>` in every hierarchy.
    pub(crate) fn cgroup_path(&self, container: &crate::container::Container) -> String {
        let record = container.record();
        self.cgroup_of(&record.host_config.cgroup_parent, &record.id)
    }

    pub(crate) fn cgroup_of(&self, own_parent: &str, id: &types::ContainerId) -> String {
        match own_parent {
            "" => format!("{}/{id}", self.cgroup_of_all()),
            own => format!("/{}/{id}", own.trim_matches('/')),
        }
    }

    /// Where all containers are that want no other place.
    pub(crate) fn cgroup_of_all(&self) -> String {
        let parent = match self.0.config.cgroup_parent.as_str() {
            "" => "sampan",
            parent => parent,
        };
        format!("/{}", parent.trim_matches('/'))
    }
}
