//! A project as a stack of the cluster: service, network, secret and config specs, and what a deployment must do.
//!
//! ```text
//! Project ─stack()─▶ Stack ─┐
//!              Observed ────┴─plan()─▶ [Operation] ─▶ the caller does them ─▶ Service, tasks ─judge()─▶ Verdict
//! ```
//! Decides, never acts. Names, labels and specs are those of `docker stack deploy`, so that each sees the other's stacks;
//! secrets and configs alone have names of their own: they carry a hash of their content, because neither can change.

mod blob;
mod container;
mod deploy;
mod difference;
mod home;
mod network;
mod plan;
mod service;
mod verdict;

pub use blob::{Blob, Contents};
pub use difference::{Difference, differences};
pub use network::Network;
pub use plan::{
    Known, Observed, Operation, PlanError, Shared, StackOptions, StackPlan, configs_of, deployment,
    last_changed, outdated, plan, secrets_of,
};
pub use service::Service;
pub use verdict::{Asked, Verdict, judge, progress};

use crate::diagnostic::{Diagnostic, Level};
use crate::model::Project;
use std::collections::{BTreeMap, BTreeSet};

/// On every object of a stack: the stack's name. Docker's.
pub const NAMESPACE: &str = "com.docker.stack.namespace";
/// On a service: its image as the file has it, without what a registry said of it. Docker's.
pub const IMAGE: &str = "com.docker.stack.image";
/// On a service: the number of the deployment that last changed it. Ours.
pub const DEPLOYMENT: &str = types::swarm::extension::DEPLOYMENT_LABEL;
/// On a container whose image the deployment built: the image's id, so that another build rolls the service. Ours.
pub const BUILD: &str = "sampan.stack.build";
/// On a secret or config whose name carries its content's hash: its key in the file. Ours.
pub const VERSIONED: &str = "sampan.stack.versioned";

/// Everything a stack consists of, by the keys of its file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stack {
    pub name: String,
    pub networks: BTreeMap<String, Network>,
    pub secrets: BTreeMap<String, Blob>,
    pub configs: BTreeMap<String, Blob>,
    pub services: BTreeMap<String, Service>,
    /// Full names of services that no active profile asks for: not ours to touch, and not to prune.
    pub disabled: BTreeSet<String>,
}

impl Stack {
    /// The name by which the cluster knows something of this stack.
    pub fn scoped(&self, key: &str) -> String {
        format!("{}_{key}", self.name)
    }
}

/// The stack that a project describes, and what was said about it. `contents` gives the bytes of a secret's or config's
/// file, by its absolute path.
///
/// # Errors
/// Every mistake, with the warnings among them.
pub fn stack(
    project: &Project,
    contents: Contents<'_>,
) -> Result<(Stack, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut said = Vec::new();
    let mut stack = Stack {
        name: project.name.clone(),
        networks: network::all(project),
        secrets: blob::all(project, blob::Kind::Secret, contents, &mut said),
        configs: blob::all(project, blob::Kind::Config, contents, &mut said),
        ..Stack::default()
    };
    stack.disabled = project.disabled.iter().map(|key| stack.scoped(key)).collect();
    for key in project.services.keys() {
        let service = service::service(project, key, &stack, &mut said);
        stack.services.insert(key.clone(), service);
    }
    match said.iter().any(|diagnostic| diagnostic.level == Level::Error) {
        true => Err(said),
        false => Ok((stack, said)),
    }
}

/// The labels of an object and the stack's own.
fn labelled(project: &Project, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut labels = own.clone();
    labels.insert(NAMESPACE.to_owned(), project.name.clone());
    labels
}

#[cfg(test)]
mod tests;
