//! What managers refuse of a spec, in SwarmKit's words and in its order.

use crate::control::Error;
use crate::control::error::invalid;
use image::Reference;
use std::collections::{BTreeMap, BTreeSet};
use types::container::HealthConfig;
use types::mount::Mount;
use types::swarm::constraint;
use types::swarm::service::{EndpointSpec, Mode, ServiceSpec, UpdateConfig};
use types::swarm::task::{ContainerSpec, FileTarget, Resources, RestartPolicy, TaskSpec};

const MILLISECOND: i64 = 1_000_000;
const LEAST_NANO_CPUS: i64 = 1_000_000;
/// As dockerd: less cannot hold a process.
const LEAST_MEMORY_BYTES: i64 = 4 << 20;

/// Refuses the first thing that makes no sense.
pub(super) fn spec(spec: &ServiceSpec) -> Result<(), Error> {
    store::validate::check_service_name(&spec.name).map_err(super::super::from_spec)?;
    task(&spec.task_template)?;
    mode(&spec.mode)?;
    if !super::is_job(spec) {
        update(spec.update_config.as_ref())?;
    } else if spec.update_config.is_some() {
        return Err(invalid("Jobs may not have an update config"));
    }
    endpoint(spec.endpoint_spec.as_ref())
}

fn task(task: &TaskSpec) -> Result<(), Error> {
    let resources = task.resources.iter();
    for amounts in resources.flat_map(|r| r.limits.iter().chain(&r.reservations)) {
        amount(amounts)?;
    }
    if let Some(policy) = &task.restart_policy {
        restart(policy)?;
    }
    if let Some(placement) = &task.placement {
        // The one refusal that SwarmKit gives no class: clients get a 500.
        constraint::parse_all(&placement.constraints)
            .map_err(|err| super::unclassed(format!("rpc error: code = Unknown desc = {err}")))?;
    }
    let Some(spec) = &task.container_spec else { return Ok(()) };
    references(spec)?;
    container(spec)
}

fn amount(amounts: &Resources) -> Result<(), Error> {
    if amounts.nano_cpus != 0 && amounts.nano_cpus < LEAST_NANO_CPUS {
        let cpus = amounts.nano_cpus as f64 / 1e9;
        return Err(invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if amounts.memory_bytes != 0 && amounts.memory_bytes < LEAST_MEMORY_BYTES {
        let bytes = amounts.memory_bytes;
        return Err(invalid(format!("invalid memory value {bytes}: Must be at least 4MiB")));
    }
    Ok(())
}

fn restart(policy: &RestartPolicy) -> Result<(), Error> {
    if policy.delay.is_some_and(|delay| delay < 0) {
        return Err(invalid("TaskSpec: restart-delay cannot be negative"));
    }
    if policy.window.is_some_and(|window| window < 0) {
        return Err(invalid("TaskSpec: restart-window cannot be negative"));
    }
    Ok(())
}

/// Secrets and configs must say what they are and where they go, and no two go to one place.
fn references(container: &ContainerSpec) -> Result<(), Error> {
    let secrets = container.secrets.iter();
    targets(
        "secret",
        secrets.map(|r| (r.secret_id.as_str(), r.secret_name.as_str(), r.file.as_ref())),
    )?;
    let configs = container.configs.iter();
    targets(
        "config",
        configs.map(|r| (r.config_id.as_str(), r.config_name.as_str(), r.file.as_ref())),
    )
}

fn targets<'a>(
    kind: &str,
    references: impl Iterator<Item = (&'a str, &'a str, Option<&'a FileTarget>)>,
) -> Result<(), Error> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, name, file) in references {
        if id.is_empty() || name.is_empty() {
            return Err(invalid(format!("malformed {kind} reference")));
        }
        let Some(file) = file else {
            return Err(invalid(format!("malformed {kind} reference, no target provided")));
        };
        if file.name.is_empty() {
            return Err(invalid(format!(
                "malformed file {kind} reference, invalid target file name provided"
            )));
        }
        if let Some(other) = taken.insert(&file.name, name) {
            return Err(invalid(format!(
                "{kind} references '{other}' and '{name}' have a conflicting target: '{}'",
                file.name
            )));
        }
    }
    Ok(())
}

fn container(container: &ContainerSpec) -> Result<(), Error> {
    if container.image.is_empty() {
        return Err(invalid("ContainerSpec: image reference must be provided"));
    }
    if Reference::parse(&container.image).is_err() {
        return Err(invalid(format!(
            "ContainerSpec: {:?} is not a valid repository/tag",
            container.image
        )));
    }
    mounts(&container.mounts)?;
    let privileges = container.privileges.as_ref();
    if privileges.is_some_and(|privileges| privileges.credential_spec.is_some()) {
        return Err(invalid(
            "ContainerSpec: CredentialSpec is for Windows' containers, and no node runs them",
        ));
    }
    container.health_check.as_ref().map_or(Ok(()), health)
}

fn mounts(mounts: &[Mount]) -> Result<(), Error> {
    let mut taken = BTreeSet::new();
    match mounts.iter().find(|mount| !taken.insert(mount.target.as_str())) {
        Some(twice) => {
            Err(invalid(format!("ContainerSpec: duplicate mount point: {}", twice.target)))
        }
        None => Ok(()),
    }
}

fn health(check: &HealthConfig) -> Result<(), Error> {
    let durations = [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ];
    for (name, duration) in durations {
        if duration != 0 && duration < MILLISECOND {
            return Err(invalid(format!(
                "ContainerSpec: {name} in HealthConfig cannot be less than 1ms"
            )));
        }
    }
    if check.retries < 0 {
        return Err(invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(())
}

fn mode(mode: &Mode) -> Result<(), Error> {
    // A negative number that a client sent as an unsigned one.
    let negative = |number: Option<u64>| number.is_some_and(|n| i64::try_from(n).is_err());
    if mode.replicated.as_ref().is_some_and(|mode| negative(mode.replicas)) {
        return Err(invalid("Number of replicas must be non-negative"));
    }
    if let Some(job) = &mode.replicated_job {
        if negative(job.max_concurrent) {
            return Err(invalid("Maximum concurrent jobs must not be negative"));
        }
        if negative(job.total_completions) {
            return Err(invalid("Total completed jobs must not be negative"));
        }
    }
    Ok(())
}

fn update(config: Option<&UpdateConfig>) -> Result<(), Error> {
    let Some(config) = config else { return Ok(()) };
    if config.delay < 0 {
        return Err(invalid("TaskSpec: update-delay cannot be negative"));
    }
    if config.monitor < 0 {
        return Err(invalid("TaskSpec: update-monitor cannot be negative"));
    }
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(invalid(
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ));
    }
    Ok(())
}

fn endpoint(endpoint: Option<&EndpointSpec>) -> Result<(), Error> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let mut taken = BTreeSet::new();
    for port in &endpoint.ports {
        if endpoint.mode == "dnsrr" && port.publish_mode == "ingress" {
            return Err(invalid(
                "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
            ));
        }
        if port.published_port != 0 && !taken.insert((port.published_port, &port.protocol)) {
            return Err(invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}
