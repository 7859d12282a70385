//! What a deployment must do: from what the cluster has to what the stack wants.

use super::home::Homes;
use super::network::Network;
use super::{
    Asked, BUILD, Blob, DEPLOYMENT, Difference, IMAGE, NAMESPACE, Service, Stack, VERSIONED,
    differences,
};
use std::collections::{BTreeMap, BTreeSet};
use types::swarm::node::Node;
use types::swarm::policy::{PolicyRule, with_own};
use types::swarm::service::{self, ServiceSpec};
use types::swarm::task::Task;

/// Everything of the cluster that a deployment looks at.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Networks of every scope, by name.
    pub networks: BTreeMap<String, Shared>,
    /// By name.
    pub secrets: BTreeMap<String, Known>,
    pub configs: BTreeMap<String, Known>,
    /// The stack's services.
    pub services: Vec<service::Service>,
    pub nodes: Vec<Node>,
    /// Of all services: they fill the nodes.
    pub tasks: Vec<Task>,
    /// The number of the stack's last deployment that is on record; 0 if none is.
    pub last_deployment: u64,
    /// Services, by name, whose last change has not come to an end by the cluster's records.
    pub underway: BTreeSet<String>,
}

/// A network that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shared {
    pub id: String,
    /// `local` or `swarm`.
    pub scope: String,
    /// Who may talk to whom on it.
    pub policies: Vec<PolicyRule>,
}

/// A secret or config that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    pub id: String,
    pub labels: BTreeMap<String, String>,
}

/// What the deployment was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StackOptions {
    /// Remove services of the stack that its file does not have.
    pub prune: bool,
    /// What is known of images: the image as the file has it, and the reference that nodes shall use.
    pub images: BTreeMap<String, String>,
    /// What was built just now: the image as the file has it, and its id.
    pub built: BTreeMap<String, String>,
}

/// One thing to do, in this order. Everything that has to be decided is decided here.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    RemoveService {
        id: String,
        name: String,
    },
    /// By its key in the file, as the following.
    CreateNetwork {
        key: String,
        name: String,
    },
    /// Who may talk to whom on a network, all rules of it.
    SetPolicies {
        network: String,
        rules: Vec<PolicyRule>,
    },
    CreateSecret {
        key: String,
        name: String,
    },
    /// One whose name is the user's own: the cluster refuses another content.
    UpdateSecret {
        key: String,
        name: String,
        id: String,
    },
    CreateConfig {
        key: String,
        name: String,
    },
    UpdateConfig {
        key: String,
        name: String,
        id: String,
    },
    CreateService {
        key: String,
        spec: Box<ServiceSpec>,
    },
    UpdateService {
        key: String,
        id: String,
        version: u64,
        spec: Box<ServiceSpec>,
        differences: Vec<Difference>,
    },
    /// It is as it should be, or on its way there.
    Keep {
        key: String,
        id: String,
        /// What somebody asked for before and has not ended: what comes of it comes of this deployment.
        asked: Asked,
    },
}

/// What a deployment does, and what to say before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StackPlan {
    pub operations: Vec<Operation>,
    pub notes: Vec<String>,
}

/// Why a stack cannot be deployed here. `Display` is docker's sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error(
        "network {name:?} is declared as external, but could not be found. You need to create a swarm-scoped network before the stack is deployed"
    )]
    NoNetwork { name: String },
    #[error(
        "network {name:?} is declared as external, but it is not in the right scope: {scope:?} instead of \"swarm\""
    )]
    Scope { name: String, scope: String },
    #[error("{kind} not found: {name}")]
    NoBlob { kind: &'static str, name: String },
}

/// The operations that make the cluster run the stack.
///
/// # Errors
/// Everything external that is not there; then nothing is to be done at all.
pub fn plan(
    stack: &Stack,
    observed: &Observed,
    options: &StackOptions,
) -> Result<StackPlan, Vec<PlanError>> {
    let errors = missing(stack, observed);
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut plan = StackPlan::default();
    if options.prune {
        plan.operations.extend(prune(stack, observed));
    }
    for (key, network) in &stack.networks {
        let name = network.request.name.clone();
        if !network.external && !observed.networks.contains_key(&name) {
            plan.operations.push(Operation::CreateNetwork { key: key.clone(), name });
        }
    }
    policies(stack, observed, &mut plan);
    blobs(stack, observed, &mut plan);
    services(stack, observed, options, &mut plan);
    Ok(plan)
}

fn missing(stack: &Stack, observed: &Observed) -> Vec<PlanError> {
    let mut errors = Vec::new();
    let external = |network: &&Network| network.external && !network.is_predefined();
    for network in stack.networks.values().filter(external) {
        let name = network.request.name.clone();
        match observed.networks.get(&name) {
            None => errors.push(PlanError::NoNetwork { name }),
            Some(there) if there.scope != "swarm" => {
                errors.push(PlanError::Scope { name, scope: there.scope.clone() });
            }
            Some(_) => {}
        }
    }
    for (kind, wanted, known) in [
        ("secret", &stack.secrets, &observed.secrets),
        ("config", &stack.configs, &observed.configs),
    ] {
        let absent = wanted.values().filter(|b| b.external && !known.contains_key(&b.name));
        errors.extend(absent.map(|blob| PlanError::NoBlob { kind, name: blob.name.clone() }));
    }
    errors
}

fn prune<'a>(stack: &'a Stack, observed: &'a Observed) -> impl Iterator<Item = Operation> + 'a {
    let wanted: BTreeSet<&str> = stack.services.values().map(|s| s.spec.name.as_str()).collect();
    let orphan = move |service: &&service::Service| {
        let name = service.spec.name.as_str();
        !wanted.contains(name) && !stack.disabled.contains(name)
    };
    observed.services.iter().filter(orphan).map(|service| Operation::RemoveService {
        id: service.id.to_string(),
        name: service.spec.name.clone(),
    })
}

/// The stack's own rules; those of others stay. Before the services, so that none is open for a moment.
fn policies(stack: &Stack, observed: &Observed, plan: &mut StackPlan) {
    let mut wanted: BTreeMap<&str, Vec<PolicyRule>> = BTreeMap::new();
    for network in stack.networks.values() {
        wanted.insert(&network.request.name, Vec::new());
    }
    for (network, rule) in stack.services.values().flat_map(|service| &service.policies) {
        wanted.entry(network).or_default().push(rule.clone());
    }
    for (network, own) in wanted {
        let there = observed.networks.get(network).map_or(&[][..], |there| &there.policies);
        let rules = with_own(there, &stack.name, &own);
        if rules != there {
            plan.operations.push(Operation::SetPolicies { network: network.to_owned(), rules });
        }
    }
}

fn blobs(stack: &Stack, observed: &Observed, plan: &mut StackPlan) {
    let ours = |blob: &&Blob| !blob.external;
    for (key, blob) in stack.secrets.iter().filter(|(_, blob)| ours(blob)) {
        let (key, name) = (key.clone(), blob.name.clone());
        match observed.secrets.get(&name).map(|known| known.id.clone()) {
            None => plan.operations.push(Operation::CreateSecret { key, name }),
            // the name says that the content is the same
            Some(_) if blob.labels.contains_key(VERSIONED) => {}
            Some(id) => plan.operations.push(Operation::UpdateSecret { key, name, id }),
        }
    }
    for (key, blob) in stack.configs.iter().filter(|(_, blob)| ours(blob)) {
        let (key, name) = (key.clone(), blob.name.clone());
        match observed.configs.get(&name).map(|known| known.id.clone()) {
            None => plan.operations.push(Operation::CreateConfig { key, name }),
            Some(_) if blob.labels.contains_key(VERSIONED) => {}
            Some(id) => plan.operations.push(Operation::UpdateConfig { key, name, id }),
        }
    }
}

fn services(stack: &Stack, observed: &Observed, options: &StackOptions, plan: &mut StackPlan) {
    let names = observed.networks.iter().map(|(name, network)| (network.id.clone(), name.clone()));
    let names: BTreeMap<String, String> = names.collect();
    // the number of one that was rolled back is not given again
    let specs = observed
        .services
        .iter()
        .flat_map(|service| std::iter::once(&service.spec).chain(service.previous_spec.as_ref()));
    let number = specs.map(deployment).max().unwrap_or(0).max(observed.last_deployment) + 1;
    let mut homes = Homes::read(stack, observed);
    for (key, service) in &stack.services {
        let there = observed.services.iter().find(|there| there.spec.name == service.spec.name);
        let mut spec = wanted(service, there, options);
        homes.pin(service, &mut spec, &mut plan.notes);
        let found = there.map(|there| {
            // as with docker, whoever deploys again has it tried again
            let resumed = Some(update_state(there)).filter(|state| state.ends_with("paused"));
            let resumed = resumed.map(|state| Difference {
                field: "UpdateStatus.State".to_owned(),
                old: state.into(),
                new: "updating".into(),
            });
            let mut found = differences(&there.spec, &spec, &names);
            found.extend(resumed);
            found
        });
        spec.labels.insert(DEPLOYMENT.to_owned(), number.to_string());
        let key = key.clone();
        plan.operations.push(match (there, found) {
            (Some(there), Some(found)) if found.is_empty() => Operation::Keep {
                key,
                id: there.id.to_string(),
                asked: asked_before(there, observed),
            },
            (Some(there), Some(differences)) => Operation::UpdateService {
                key,
                id: there.id.to_string(),
                version: there.meta.version.index,
                spec: Box::new(spec),
                differences,
            },
            _ => Operation::CreateService { key, spec: Box::new(spec) },
        });
    }
}

fn asked_before(there: &service::Service, observed: &Observed) -> Asked {
    match update_state(there) {
        "updating" => Asked::Update,
        // its end is what this deployment wants
        "rollback_started" => Asked::Rollback,
        "rollback_completed" => Asked::Nothing,
        _ if observed.underway.contains(&there.spec.name) => Asked::Update,
        _ => Asked::Nothing,
    }
}

fn update_state(service: &service::Service) -> &str {
    service.update_status.as_ref().map_or("", |status| status.state.as_str())
}

/// The service's spec as it shall be sent, over what is there.
fn wanted(
    service: &Service,
    there: Option<&service::Service>,
    options: &StackOptions,
) -> ServiceSpec {
    let mut spec = service.spec.clone();
    let same = there.filter(|there| there.spec.labels.get(IMAGE) == Some(&service.image));
    let before = |there: &service::Service| {
        Some(there.spec.task_template.container_spec.as_ref()?.image.clone())
    };
    if let Some(container) = &mut spec.task_template.container_spec {
        if let Some(id) = options.built.get(&service.image).filter(|_| service.builds) {
            container.labels.insert(BUILD.to_owned(), id.clone());
        }
        match (options.images.get(&service.image), same.and_then(before)) {
            (Some(found), _) => container.image.clone_from(found),
            // nobody asked or nobody knew: what runs there goes on
            (None, Some(before)) => container.image = before,
            (None, None) => {}
        }
    }
    let Some(there) = there else { return spec };
    // `service update --force` is not this command's to take back
    spec.task_template.force_update = there.spec.task_template.force_update;
    // what is absent stays as it is: an empty one takes it away
    if there.spec.sampan.is_some() {
        spec.sampan.get_or_insert_default();
    }
    let container = spec.task_template.container_spec.as_mut();
    let before = there.spec.task_template.container_spec.as_ref();
    if let (Some(container), Some(true)) = (container, before.map(|before| before.sampan.is_some()))
    {
        container.sampan.get_or_insert_default();
    }
    spec
}

/// Versions of secrets or configs that nothing uses any more: neither a service of the stack nor what it would be
/// rolled back to. `used` gives the names in a spec.
pub fn outdated<'k>(
    stack: &str,
    known: &'k BTreeMap<String, Known>,
    services: &[service::Service],
    used: fn(&ServiceSpec) -> Vec<String>,
) -> Vec<(&'k String, &'k Known)> {
    let specs = services
        .iter()
        .flat_map(|service| std::iter::once(&service.spec).chain(service.previous_spec.as_ref()));
    let used: BTreeSet<String> = specs.flat_map(used).collect();
    let ours = |known: &Known| {
        known.labels.contains_key(VERSIONED)
            && known.labels.get(NAMESPACE).map(String::as_str) == Some(stack)
    };
    known.iter().filter(|(name, known)| ours(known) && !used.contains(*name)).collect()
}

/// The number of the deployment that last changed the service; 0 if none of ours did.
pub fn deployment(spec: &ServiceSpec) -> u64 {
    spec.labels.get(DEPLOYMENT).and_then(|label| label.parse().ok()).unwrap_or(0)
}

/// The services that the last deployment changed and that can go back; and the names of those that it created, which
/// cannot.
pub fn last_changed(services: &[service::Service]) -> (Vec<&service::Service>, Vec<&str>) {
    let last = services.iter().map(|service| deployment(&service.spec)).max().unwrap_or(0);
    let (mut back, mut made) = (Vec::new(), Vec::new());
    for service in services.iter().filter(|service| deployment(&service.spec) == last) {
        match &service.previous_spec {
            Some(previous) if deployment(previous) < last || last == 0 => back.push(service),
            Some(_) => {}
            None => made.push(service.spec.name.as_str()),
        }
    }
    (back, made)
}

/// The names of the secrets in a spec.
pub fn secrets_of(spec: &ServiceSpec) -> Vec<String> {
    let container = spec.task_template.container_spec.iter();
    container.flat_map(|container| &container.secrets).map(|s| s.secret_name.clone()).collect()
}

/// The names of the configs in a spec.
pub fn configs_of(spec: &ServiceSpec) -> Vec<String> {
    let container = spec.task_template.container_spec.iter();
    container.flat_map(|container| &container.configs).map(|c| c.config_name.clone()).collect()
}
