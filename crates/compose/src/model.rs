//! The project as typed data, read from the canonical tree.
//!
//! The tree stays in the project: it is what `config` prints, and it knows every value's place.

mod service;
mod units;

pub use service::{
    Blkio, Build, Condition, Dependency, Deploy, Develop, Device, DeviceRequest, DiscreteResource,
    Endpoint, EnvFile, GenericResource, Grant, HealthCheck, Hook, Limits, Logging, Mount,
    MountBind, MountImage, MountTmpfs, MountVolume, Placement, Port, Preference, Provider, Rate,
    Resources, RestartPolicy, Service, Ulimit, UpdatePolicy, Watch, Weight,
};
pub use units::{Bytes, Mode, Nanoseconds};

use crate::node::Node;
use crate::source::Span;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Names to values, sorted.
pub type Named<T> = BTreeMap<String, T>;

/// A whole project, ready to be planned.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Project {
    pub name: String,
    pub services: Named<Service>,
    pub networks: Named<Network>,
    pub volumes: Named<Volume>,
    pub secrets: Named<FileSource>,
    pub configs: Named<FileSource>,
    /// Every profile that a service names, active or not.
    #[serde(skip)]
    pub profiles: BTreeSet<String>,
    /// Services that no active profile asks for.
    #[serde(skip)]
    pub disabled: BTreeSet<String>,
    /// The folder that relative paths start at.
    #[serde(skip)]
    pub working_dir: PathBuf,
    #[serde(skip)]
    pub files: Vec<PathBuf>,
    /// Variables of interpolation; secrets and configs `environment:` are read here.
    #[serde(skip)]
    pub environment: BTreeMap<String, String>,
    /// Names of containers and images with `_`.
    #[serde(skip)]
    pub compatible: bool,
    #[serde(skip)]
    tree: Option<Node>,
}

impl Project {
    /// Reads a canonical tree.
    pub(crate) fn decode(
        tree: Node,
        working_dir: PathBuf,
        files: Vec<PathBuf>,
        disabled: BTreeSet<String>,
    ) -> Result<Self, serde_json::Error> {
        let project: Project = serde_json::from_value(tree.to_json())?;
        Ok(Project { disabled, working_dir, files, tree: Some(tree), ..project })
    }

    /// A project of which only the tree is of use.
    pub(crate) fn untyped(name: &str, tree: Node, environment: BTreeMap<String, String>) -> Self {
        Project { name: name.to_owned(), environment, tree: Some(tree), ..Project::default() }
    }

    /// Puts other images in the place of those written (digests), in the tree as well.
    pub fn set_images(&mut self, images: &[(String, String)]) {
        let services = self
            .tree
            .as_mut()
            .and_then(|tree| tree.as_map_mut()?.get_mut("services")?.as_map_mut());
        let Some(services) = services else { return };
        for (name, image) in images {
            let service = services.get_mut(name).and_then(Node::as_map_mut);
            if let Some(node) = service.and_then(|service| service.get_mut("image")) {
                node.value = crate::node::Value::Str(image.clone());
            }
        }
    }

    /// The canonical tree that `config` prints.
    pub fn tree(&self) -> Option<&Node> {
        self.tree.as_ref()
    }

    /// Where a value was written: `["services", "web", "image"]`.
    pub fn span(&self, path: &[&str]) -> Option<Span> {
        self.tree.as_ref()?.at(path).map(Node::place)
    }
}

/// A network of the project.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Network {
    /// As the engine knows it, `<project>_<key>` unless given.
    pub name: String,
    pub driver: String,
    pub driver_opts: Named<String>,
    pub external: bool,
    pub internal: bool,
    pub attachable: bool,
    pub enable_ipv4: Option<bool>,
    pub enable_ipv6: Option<bool>,
    pub labels: Named<String>,
    pub ipam: Ipam,
}

/// A network's addresses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ipam {
    pub driver: String,
    pub options: Named<String>,
    pub config: Vec<IpamPool>,
}

/// One pool of a network.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct IpamPool {
    pub subnet: String,
    pub ip_range: String,
    pub gateway: String,
    pub aux_addresses: Named<String>,
}

/// A volume of the project.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// As the engine knows it, `<project>_<key>` unless given.
    pub name: String,
    pub driver: String,
    pub driver_opts: Named<String>,
    pub external: bool,
    pub labels: Named<String>,
}

/// A secret or config: exactly one of file, environment, content, or external.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FileSource {
    pub name: String,
    pub file: Option<String>,
    pub environment: Option<String>,
    pub content: Option<String>,
    pub external: bool,
    pub labels: Named<String>,
}
