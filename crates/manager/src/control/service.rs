//! Services: what may be created, changed and removed. Only the spec is the user's; what the managers keep
//! beside it stays.

mod check;
mod count;
mod defaults;
mod external;
mod form;
mod policy;
mod ports;

pub use count::count;
pub use defaults::with_defaults;

use super::error::{bad_request, invalid, precondition, unclassed, unimplemented};
use super::{Error, find};
use errdefs::ErrorKind;
use orchestrator::{accept_spec, note_deployment, roll_back};
use store::{Change, Kind, Snapshot, StoreError};
use types::swarm::Version;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::{JobStatus, NetworkAttachmentConfig, Service, ServiceSpec};
use types::swarm::task::PullOptions;
use types::{ServiceId, Timestamp};

/// How a spec changes a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Update {
    /// The version that the user read; the one that is there if they named none.
    pub version: Option<u64>,
    pub spec: ServiceSpec,
    /// `X-Registry-Auth`; what is there stays when it is empty.
    pub registry_auth: String,
    /// Whose credentials stay.
    pub auth_from: AuthFrom,
    pub rollback: Rollback,
}

/// Query `registryAuthFrom`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AuthFrom {
    #[default]
    Spec,
    PreviousSpec,
}

/// Query `rollback`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rollback {
    #[default]
    None,
    /// The given spec does not matter: both specs change places.
    Previous,
}

/// `POST /services/create`.
pub fn create(
    state: &Snapshot,
    id: ServiceId,
    spec: &ServiceSpec,
    registry_auth: &str,
    now: Timestamp,
) -> Result<Vec<Change>, Error> {
    let mut spec = prepare(state, spec)?;
    form::normalize(&mut spec)?;
    set_auth(&mut spec, registry_auth);
    accept(state, &spec)?;
    ports::check(state, &spec, None)?;
    check_ingress(state, &spec)?;
    check_names(state, &spec)?;
    let job_status = is_job(&spec)
        .then(|| JobStatus { job_iteration: Version::default(), last_execution: Some(now) });
    let mut service = Service { id, spec, job_status, ..Service::default() };
    note_deployment(&mut service, None, now);
    Ok(vec![Change::Create(service.into())])
}

/// `POST /services/{id}/update`.
pub fn update(
    state: &Snapshot,
    key: &str,
    update: &Update,
    now: Timestamp,
) -> Result<Vec<Change>, Error> {
    let mut spec = prepare(state, &update.spec)?;
    form::normalize(&mut spec)?;
    let old = find::service(state, key)?;
    keep_auth(&mut spec, old, update)?;
    keep_extensions(&mut spec, &old.spec);
    accept(state, &spec)?;
    if spec.endpoint_spec.is_some() && spec.endpoint_spec != old.spec.endpoint_spec {
        ports::check(state, &spec, Some(&old.id))?;
    }
    let moved = spec.networks != old.spec.networks
        && (has_networks(&spec) || has_networks(&old.spec))
        && spec.task_template.networks == old.spec.task_template.networks;
    if moved {
        return Err(unimplemented("networks must be migrated to TaskSpec before being changed"));
    }
    check_names(state, &spec)?;
    let version = Version { index: update.version.unwrap_or(old.meta.version.index) };
    if version != old.meta.version {
        let id = old.id.to_string();
        return Err(StoreError::OutOfSequence { kind: Kind::Service, id }.into());
    }
    let mut new = match update.rollback {
        Rollback::None => accept_spec(old, spec),
        Rollback::Previous => roll_back(old, now).map_err(|_| {
            precondition(format!("service {} does not have a previous spec", old.id))
        })?,
    };
    if update.rollback == Rollback::None {
        note_deployment(&mut new, Some(&old.spec), now);
    }
    if let Some(job) = &mut new.job_status {
        job.job_iteration.index += 1;
        job.last_execution = Some(now);
    }
    check_ingress(state, &new.spec)?;
    Ok(vec![Change::Update(new.into())])
}

/// `DELETE /services/{id}`.
pub fn remove(state: &Snapshot, key: &str) -> Result<Vec<Change>, Error> {
    let service = find::service(state, key)?;
    Ok(vec![Change::Remove { kind: Kind::Service, id: service.id.to_string(), version: None }])
}

/// The spec with networks by their ids, as dockerd's first step.
fn prepare(state: &Snapshot, spec: &ServiceSpec) -> Result<ServiceSpec, Error> {
    let mut spec = spec.clone();
    for attachment in &mut spec.task_template.networks {
        let network = network_of(state, attachment)?;
        if network.spec.ingress {
            return Err(invalid(format!(
                "Service cannot be explicitly attached to the ingress network {:?}",
                network.spec.name
            )));
        }
        attachment.target = network.id.to_string();
    }
    Ok(spec)
}

fn network_of<'a>(
    state: &'a Snapshot,
    attachment: &NetworkAttachmentConfig,
) -> Result<&'a ClusterNetwork, Error> {
    find::network(state, &attachment.target).map(|network| &**network).map_err(|err| match err {
        Error::Daemon { kind: ErrorKind::NotFound, message } => unclassed(message),
        other => other,
    })
}

/// What holds for every spec, whatever the service was before.
fn accept(state: &Snapshot, spec: &ServiceSpec) -> Result<(), Error> {
    check::spec(spec)?;
    external::check(state, spec)?;
    policy::check(state, spec)
}

fn set_auth(spec: &mut ServiceSpec, registry_auth: &str) {
    if let Some(container) = &mut spec.task_template.container_spec {
        container.pull_options = (!registry_auth.is_empty())
            .then(|| PullOptions { registry_auth: registry_auth.to_owned() });
    }
}

/// New credentials take the place of the old ones; without new ones the old ones stay.
fn keep_auth(spec: &mut ServiceSpec, old: &Service, update: &Update) -> Result<(), Error> {
    if !update.registry_auth.is_empty() {
        set_auth(spec, &update.registry_auth);
        return Ok(());
    }
    let from = match update.auth_from {
        AuthFrom::Spec => Some(&old.spec),
        AuthFrom::PreviousSpec => old.previous_spec.as_ref(),
    };
    let Some(from) = from else {
        return Err(unclassed("service does not have a previous spec"));
    };
    let kept = from.task_template.container_spec.as_ref();
    if let Some(container) = &mut spec.task_template.container_spec {
        container.pull_options = kept.and_then(|container| container.pull_options.clone());
    }
    Ok(())
}

/// Docker's clients do not know our extensions and send specs back without them: what is absent stays, and
/// `{}` takes it away.
fn keep_extensions(spec: &mut ServiceSpec, old: &ServiceSpec) {
    match &spec.sampan {
        None => spec.sampan.clone_from(&old.sampan),
        Some(given) if *given == Default::default() => spec.sampan = None,
        Some(_) => {}
    }
    let before = old.task_template.container_spec.as_ref();
    let Some(container) = &mut spec.task_template.container_spec else { return };
    match &container.sampan {
        None => container.sampan = before.and_then(|container| container.sampan.clone()),
        Some(given) if *given == Default::default() => container.sampan = None,
        Some(_) => {}
    }
}

/// A secret or config is known by its id *and* its name, so that nobody gets another one by accident.
fn check_names(state: &Snapshot, spec: &ServiceSpec) -> Result<(), Error> {
    let Some(container) = &spec.task_template.container_spec else { return Ok(()) };
    let missing = |kind: &str, names: Vec<String>| match names.as_slice() {
        [] => Ok(()),
        [name] => Err(invalid(format!("{kind} not found: {name}"))),
        many => Err(invalid(format!("{kind}s not found: {}", many.join(", ")))),
    };
    let secrets = container.secrets.iter().filter(|wanted| {
        let have = state.secrets().get(&wanted.secret_id);
        have.is_none_or(|have| have.spec.name != wanted.secret_name)
    });
    missing("secret", secrets.map(|wanted| wanted.secret_name.clone()).collect())?;
    let configs = container.configs.iter().filter(|wanted| {
        let have = state.configs().get(&wanted.config_id);
        have.is_none_or(|have| have.spec.name != wanted.config_name)
    });
    missing("config", configs.map(|wanted| wanted.config_name.clone()).collect())
}

/// A port on every node needs the network that carries it there.
fn check_ingress(state: &Snapshot, spec: &ServiceSpec) -> Result<(), Error> {
    let wanted = spec
        .endpoint_spec
        .as_ref()
        .is_some_and(|endpoint| endpoint.ports.iter().any(|port| port.publish_mode == "ingress"));
    if !wanted || state.networks().iter().any(|network| network.spec.ingress) {
        return Ok(());
    }
    Err(precondition("service needs ingress network, but no ingress network is present"))
}

pub(crate) fn is_job(spec: &ServiceSpec) -> bool {
    spec.mode.replicated_job.is_some() || spec.mode.global_job.is_some()
}

fn has_networks(spec: &ServiceSpec) -> bool {
    spec.networks.as_ref().is_some_and(|networks| !networks.is_empty())
}

/// The spec's word for how many tasks there are.
pub fn mode_word(spec: &ServiceSpec) -> &'static str {
    if spec.mode.global.is_some() {
        "global"
    } else if spec.mode.replicated_job.is_some() {
        "replicated-job"
    } else if spec.mode.global_job.is_some() {
        "global-job"
    } else {
        "replicated"
    }
}

/// Query `rollback`.
pub fn parse_rollback(text: &str) -> Result<Rollback, Error> {
    match text {
        "" | "none" => Ok(Rollback::None),
        "previous" => Ok(Rollback::Previous),
        other => Err(unclassed(format!("unrecognized rollback option {other}"))),
    }
}

/// Query `registryAuthFrom`.
pub fn parse_auth_from(text: &str) -> Result<AuthFrom, Error> {
    match text {
        "" | "spec" => Ok(AuthFrom::Spec),
        "previous-spec" => Ok(AuthFrom::PreviousSpec),
        other => Err(bad_request(format!("invalid registryAuthFrom '{other}'"))),
    }
}
