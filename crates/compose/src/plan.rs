//! From what a project wants and what is there to the operations between them, as a graph.
//!
//! Decides, never acts. Each [`Step`] waits for the steps it names; independent ones may run at once.

mod down;
mod observed;
mod up;

pub use down::{DownOptions, down};
pub use observed::{Container, Observed};
pub use up::plan;

use crate::model::Condition;
use std::collections::BTreeMap;

/// When containers that exist are made anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recreate {
    /// When their configuration or image changed.
    #[default]
    Diverged,
    /// Always, for the services named.
    Force,
    Never,
}

/// What `up` and `create` were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpOptions {
    /// Empty is all.
    pub services: Vec<String>,
    /// Leave the services that the named ones depend on.
    pub no_deps: bool,
    pub recreate: Recreate,
    /// Make what the named services depend on anew, changed or not.
    pub always_recreate_deps: bool,
    /// Say nothing of orphans.
    pub ignore_orphans: bool,
    /// Fresh anonymous volumes for what is recreated.
    pub renew_anon_volumes: bool,
    pub remove_orphans: bool,
    /// Make volumes whose settings changed anew: what they hold is lost.
    pub renew_volumes: bool,
    pub scale: BTreeMap<String, u32>,
    /// Create only.
    pub no_start: bool,
    /// Networks and volumes that no service uses as well.
    pub all_resources: bool,
}

/// One thing to do. Everything that has to be decided is decided here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// By its key in the project.
    CreateNetwork {
        key: String,
        name: String,
    },
    /// By its key in the project.
    CreateVolume {
        key: String,
        name: String,
    },
    /// Make a container; `replaces` is stopped, moved aside and removed for it.
    CreateContainer {
        service: String,
        number: u32,
        name: String,
        replaces: Option<Replaced>,
    },
    /// Nothing to do: it runs as it should.
    Running {
        service: String,
        name: String,
    },
    Start {
        service: String,
        name: String,
    },
    /// Run the service's `pre_start` hooks, one after the other: once with the volumes of the first of these
    /// containers, or once for each where the hook says so.
    Init {
        service: String,
        names: Vec<String>,
    },
    /// Stop and start again, because something it depends on was made anew.
    Restart {
        service: String,
        name: String,
    },
    Stop {
        service: String,
        id: String,
        name: String,
    },
    Remove {
        id: String,
        name: String,
        volumes: bool,
    },
    /// Until every container is in the condition. One that is not required only warns when it fails.
    Wait {
        service: String,
        names: Vec<String>,
        condition: Condition,
        required: bool,
    },
    RemoveNetwork {
        name: String,
    },
    RemoveVolume {
        name: String,
    },
}

/// A container that makes room for its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    pub id: String,
    pub name: String,
    /// Anonymous volumes that go over, by destination; empty when they are renewed.
    pub inherit: BTreeMap<String, String>,
    /// Remove its anonymous volumes with it.
    pub drop_volumes: bool,
}

/// An operation and the indices of the steps that must be done before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub operation: Operation,
    pub after: Vec<usize>,
}

/// What to do, and what to say before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Every step's `after` points to earlier ones.
    pub steps: Vec<Step>,
    pub warnings: Vec<String>,
    /// Names of volumes whose settings changed and that are left as they are.
    pub changed_volumes: Vec<String>,
}

impl Plan {
    /// Adds a step and returns its index.
    fn push(&mut self, operation: Operation, after: Vec<usize>) -> usize {
        let mut after = after;
        after.sort_unstable();
        after.dedup();
        self.steps.push(Step { operation, after });
        self.steps.len() - 1
    }
}

/// Why no plan can be made. `Display` is Compose's sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("no such service: {name}{}", near.as_ref().map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    NoSuchService { name: String, near: Option<String> },
    #[error("network {name} declared as external, but could not be found")]
    NoSuchNetwork { name: String },
    #[error("external volume \"{name}\" not found")]
    NoSuchVolume { name: String },
    #[error("healthcheck.start_interval requires healthcheck.start_period to be set")]
    StartInterval,
    #[error("cannot share {what} with service {service}: container missing")]
    NothingToShare { what: &'static str, service: String },
}

#[cfg(test)]
mod tests;
