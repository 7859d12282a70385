//! `deploy` of a service: how many, where, with what, and how changes go about.

use crate::diagnostic::Diagnostic;
use crate::model::{self, Project, Service};
use types::swarm::constraint::Constraint;
use types::swarm::service::{
    EndpointSpec, Global, Mode, PortConfig, Replicated, ReplicatedJob, UpdateConfig,
};
use types::swarm::task::{
    DiscreteResource, GenericResource, Placement, PlacementPreference, Platform,
    ResourceRequirements, Resources, RestartPolicy, SpreadOver,
};

/// Where mistakes of one service are told.
pub(super) struct Place<'a> {
    pub(super) project: &'a Project,
    pub(super) service: &'a str,
    pub(super) said: &'a mut Vec<Diagnostic>,
}

impl Place<'_> {
    fn said(
        &mut self,
        make: fn(String, String, crate::Span) -> Diagnostic,
        path: &[&str],
        message: String,
    ) {
        let mut whole = vec!["services", self.service];
        whole.extend(path);
        let span = self.project.span(&whole).or_else(|| self.project.span(&whole[..2]));
        let diagnostic = make(whole.join("."), message, span.unwrap_or_default());
        self.said.push(diagnostic);
    }

    /// A mistake at the key `path` of the service.
    pub(super) fn error(&mut self, path: &[&str], message: impl Into<String>) {
        self.said(Diagnostic::error, path, message.into());
    }

    /// Something that has no effect.
    pub(super) fn warn(&mut self, path: &[&str], message: impl Into<String>) {
        self.said(Diagnostic::warning, path, message.into());
    }
}

pub(super) fn mode(service: &Service, scheduled: bool, place: &mut Place<'_>) -> Mode {
    let replicas = service.scale.or(service.deploy.replicas);
    let count = replicas.map(|count| u64::try_from(count).unwrap_or(0));
    let word = service.deploy.mode.as_str();
    if replicas.is_some() && matches!(word, "global" | "global-job") {
        let message = "replicas can only be used with replicated or replicated-job mode";
        place.error(&["deploy", "replicas"], message);
    }
    match word {
        "global" if scheduled => {
            place.error(&["deploy", "mode"], "`x-sampan-schedule` needs a job");
            Mode::default()
        }
        "global" => Mode { global: Some(Global {}), ..Mode::default() },
        "global-job" => Mode { global_job: Some(Global {}), ..Mode::default() },
        "replicated" if scheduled => {
            place.error(&["deploy", "mode"], "`x-sampan-schedule` needs a job");
            Mode::default()
        }
        word if word == "replicated-job" || scheduled => {
            let job = ReplicatedJob { max_concurrent: count, total_completions: count };
            Mode { replicated_job: Some(job), ..Mode::default() }
        }
        _ => {
            let replicated = Replicated { replicas: Some(count.unwrap_or(1)) };
            Mode { replicated: Some(replicated), ..Mode::default() }
        }
    }
}

/// One task at a time unless the file says otherwise, as docker's client has it.
pub(super) fn update(policy: &model::UpdatePolicy) -> UpdateConfig {
    UpdateConfig {
        parallelism: policy.parallelism.unwrap_or(1),
        delay: policy.delay.map_or(0, |delay| delay.0),
        failure_action: policy.failure_action.clone(),
        monitor: policy.monitor.map_or(0, |monitor| monitor.0),
        max_failure_ratio: f64::from(policy.max_failure_ratio),
        order: policy.order.clone(),
    }
}

/// Limits and reservations; the older keys of the service count where `deploy` is silent.
pub(super) fn resources(service: &Service) -> ResourceRequirements {
    let (limits, reserved) =
        (&service.deploy.resources.limits, &service.deploy.resources.reservations);
    let nano = |cpus: f64| (cpus * 1e9).round() as i64;
    let or = |deploy: i64, own: i64| if deploy != 0 { deploy } else { own };
    let limits = Resources {
        nano_cpus: or(nano(limits.cpus), nano(service.cpus)),
        memory_bytes: or(limits.memory.0, service.mem_limit.0).max(0),
        pids: limits.pids.or(service.pids_limit).unwrap_or(0),
        generic_resources: Vec::new(),
    };
    let generic = |resource: &model::GenericResource| GenericResource {
        named_resource_spec: None,
        discrete_resource_spec: Some(DiscreteResource {
            kind: resource.discrete_resource_spec.kind.clone(),
            value: resource.discrete_resource_spec.value as i64,
        }),
    };
    let reservations = Resources {
        nano_cpus: nano(reserved.cpus),
        memory_bytes: or(reserved.memory.0, service.mem_reservation.0).max(0),
        pids: 0,
        generic_resources: reserved.generic_resources.iter().map(generic).collect(),
    };
    let some = |resources: Resources| (resources != Resources::default()).then_some(resources);
    ResourceRequirements { limits: some(limits), reservations: some(reservations) }
}

/// `deploy.restart_policy`, else what `restart` comes to. `restart: no` is as if nothing was said, as docker has it.
pub(super) fn restart(service: &Service) -> Option<RestartPolicy> {
    if let Some(policy) = &service.deploy.restart_policy {
        let condition = match policy.condition.as_str() {
            "no" => "none",
            "always" | "unless-stopped" => "any",
            word => word,
        };
        return Some(RestartPolicy {
            condition: condition.to_owned(),
            delay: policy.delay.map(|delay| delay.0),
            max_attempts: policy.max_attempts.and_then(|count| u64::try_from(count).ok()),
            window: policy.window.map(|window| window.0),
        });
    }
    let (word, retries) = service.restart.as_deref()?.split_once(':').map_or_else(
        || (service.restart.as_deref().unwrap_or_default(), None),
        |(word, retries)| (word, retries.parse().ok()),
    );
    let (condition, max_attempts) = match word {
        "always" | "unless-stopped" => ("any", None),
        "on-failure" => ("on-failure", retries),
        _ => return None,
    };
    Some(RestartPolicy { condition: condition.to_owned(), max_attempts, ..Default::default() })
}

pub(super) fn placement(service: &Service, place: &mut Place<'_>) -> Placement {
    let wanted = &service.deploy.placement;
    for constraint in &wanted.constraints {
        if let Err(err) = Constraint::parse(constraint) {
            let path = ["deploy", "placement", "constraints"];
            place.error(&path, format!("{constraint:?} is no constraint: {err}"));
        }
    }
    let preference = |preference: &model::Preference| PlacementPreference {
        spread: Some(SpreadOver { spread_descriptor: preference.spread.clone() }),
    };
    Placement {
        constraints: wanted.constraints.clone(),
        preferences: wanted.preferences.iter().map(preference).collect(),
        max_replicas: wanted.max_replicas_per_node,
        platforms: service.platform.as_deref().map(platform).into_iter().collect(),
    }
}

/// `linux/arm64/v8`; an architecture alone is one of Linux.
fn platform(text: &str) -> Platform {
    let (os, rest) = text.split_once('/').unwrap_or(("linux", text));
    let architecture = rest.split('/').next().unwrap_or_default();
    Platform { architecture: architecture.to_owned(), os: os.to_owned() }
}

pub(super) fn endpoint(service: &Service, place: &mut Place<'_>) -> EndpointSpec {
    let mut ports = Vec::new();
    for port in &service.ports {
        let published = match port.published.as_str() {
            "" => Some(0),
            text => text.parse().ok(),
        };
        let Some(published_port) = published else {
            let message =
                format!("{} is no single port: a stack publishes single ports", port.published);
            place.error(&["ports"], message);
            continue;
        };
        if !port.host_ip.is_empty() && port.mode != "host" {
            place
                .warn(&["ports"], "`host_ip` has no effect: every node publishes on every address");
        }
        ports.push(PortConfig {
            name: port.name.clone(),
            protocol: port.protocol.clone(),
            target_port: port.target,
            published_port,
            publish_mode: port.mode.clone(),
        });
    }
    ports.sort_by_key(|port| port.published_port);
    let mode = service.deploy.endpoint_mode.as_str();
    if !matches!(mode, "" | "vip" | "dnsrr") {
        place.error(&["deploy", "endpoint_mode"], format!("{mode:?} is neither vip nor dnsrr"));
    }
    if mode == "dnsrr" && ports.iter().any(|port| port.publish_mode != "host") {
        let message = "port published with ingress mode can't be used with dnsrr mode";
        place.error(&["deploy", "endpoint_mode"], message);
    }
    EndpointSpec { mode: mode.to_owned(), ports }
}
