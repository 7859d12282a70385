//! The kinds of objects, and one value that holds any of them.

use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;
use types::swarm::Meta;
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::Node;
use types::swarm::secret::{Config, Secret};
use types::swarm::service::Service;
use types::swarm::task::Task;
use types::swarm::volume::ClusterVolume;
use types::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId, TaskId, VolumeId};

/// Which table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Cluster,
    Node,
    Service,
    Task,
    Network,
    Secret,
    Config,
    Volume,
}

impl Kind {
    /// Docker's word, as in `service web not found`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Cluster => "cluster",
            Kind::Node => "node",
            Kind::Service => "service",
            Kind::Task => "task",
            Kind::Network => "network",
            Kind::Secret => "secret",
            Kind::Config => "config",
            Kind::Volume => "volume",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a table needs to know of its rows.
pub trait Record: Clone {
    type Id: Ord + Clone + Borrow<str> + fmt::Display;
    const KIND: Kind;

    fn id(&self) -> &Self::Id;
    fn meta(&self) -> &Meta;
    fn meta_mut(&mut self) -> &mut Meta;
    /// The name that no second object of this kind may have, whatever its case; `None` where names may
    /// repeat.
    fn unique_name(&self) -> Option<&str>;
}

/// Any object. Shared: cloning it copies a pointer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Object {
    Cluster(Arc<Cluster>),
    Node(Arc<Node>),
    Service(Arc<Service>),
    Task(Arc<Task>),
    Network(Arc<ClusterNetwork>),
    Secret(Arc<Secret>),
    Config(Arc<Config>),
    Volume(Arc<ClusterVolume>),
}

macro_rules! record {
    ($variant:ident, $object:ty, $id:ty, |$row:ident| $name:expr) => {
        impl Record for $object {
            type Id = $id;
            const KIND: Kind = Kind::$variant;

            fn id(&self) -> &$id {
                &self.id
            }
            fn meta(&self) -> &Meta {
                &self.meta
            }
            fn meta_mut(&mut self) -> &mut Meta {
                &mut self.meta
            }
            fn unique_name(&self) -> Option<&str> {
                let $row = self;
                $name
            }
        }
        impl From<$object> for Object {
            fn from(object: $object) -> Object {
                Object::$variant(Arc::new(object))
            }
        }
        impl From<Arc<$object>> for Object {
            fn from(object: Arc<$object>) -> Object {
                Object::$variant(object)
            }
        }
    };
}

record!(Cluster, Cluster, ClusterId, |row| Some(&row.spec.name));
record!(Node, Node, NodeId, |_row| None);
record!(Service, Service, ServiceId, |row| Some(&row.spec.name));
record!(Task, Task, TaskId, |_row| None);
record!(Network, ClusterNetwork, NetworkId, |row| Some(&row.spec.name));
record!(Secret, Secret, SecretId, |row| Some(&row.spec.name));
record!(Config, Config, ConfigId, |row| Some(&row.spec.name));
record!(Volume, ClusterVolume, VolumeId, |row| Some(&row.spec.name));

/// The same expression for whichever object it is.
macro_rules! each {
    ($object:expr, $row:ident => $then:expr) => {
        match $object {
            Object::Cluster($row) => $then,
            Object::Node($row) => $then,
            Object::Service($row) => $then,
            Object::Task($row) => $then,
            Object::Network($row) => $then,
            Object::Secret($row) => $then,
            Object::Config($row) => $then,
            Object::Volume($row) => $then,
        }
    };
}

impl Object {
    pub fn kind(&self) -> Kind {
        match self {
            Object::Cluster(_) => Kind::Cluster,
            Object::Node(_) => Kind::Node,
            Object::Service(_) => Kind::Service,
            Object::Task(_) => Kind::Task,
            Object::Network(_) => Kind::Network,
            Object::Secret(_) => Kind::Secret,
            Object::Config(_) => Kind::Config,
            Object::Volume(_) => Kind::Volume,
        }
    }
    pub fn id(&self) -> &str {
        each!(self, row => row.id.as_str())
    }
    pub fn meta(&self) -> &Meta {
        each!(self, row => &row.meta)
    }
    /// The name that must be unique among its kind.
    pub fn unique_name(&self) -> Option<&str> {
        each!(self, row => row.unique_name())
    }
    /// The same object with `meta` in place of its own.
    pub(crate) fn with_meta(self, meta: Meta) -> Object {
        let mut object = self;
        each!(&mut object, row => Arc::make_mut(row).meta = meta);
        object
    }
}
