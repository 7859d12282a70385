//! One spelling for every spec: what the user left to Docker's defaults is written out, as dockerd does by
//! turning a spec into a message for the managers and back. Words that it does not know are refused there.

use crate::control::Error;
use crate::control::error::bad_request;
use types::swarm::service::{
    EndpointSpec, Mode, Replicated, ReplicatedJob, ServiceSpec, UpdateConfig,
};
use types::swarm::task::{ContainerSpec, RestartPolicy};

const MOUNT_TYPES: &[&str] = &["bind", "volume", "tmpfs", "npipe", "cluster", "image"];
const PROPAGATIONS: &[&str] = &["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Writes the defaults out, or refuses the first word that is none.
pub(super) fn normalize(spec: &mut ServiceSpec) -> Result<(), Error> {
    match spec.task_template.runtime.as_str() {
        "" | "container" if spec.task_template.container_spec.is_some() => {
            spec.task_template.runtime = "container".to_owned();
        }
        "" | "container" => return Err(bad_request("mismatched Runtime and *Spec fields")),
        _ => return Err(bad_request("unsupported runtime")),
    }
    if let Some(container) = &mut spec.task_template.container_spec {
        normalize_container(container)?;
    }
    if let Some(policy) = &mut spec.task_template.restart_policy {
        normalize_restart(policy)?;
    }
    for config in spec.update_config.iter_mut().chain(&mut spec.rollback_config) {
        normalize_update(config)?;
    }
    if let Some(endpoint) = &mut spec.endpoint_spec {
        normalize_endpoint(endpoint)?;
    }
    normalize_mode(&mut spec.mode)
}

fn normalize_container(container: &mut ContainerSpec) -> Result<(), Error> {
    default_to(&mut container.isolation, "default");
    for config in &container.configs {
        if config.file.is_none() {
            return Err(bad_request("invalid Config: either File or Runtime should be set"));
        }
    }
    for mount in &mut container.mounts {
        if mount.kind.is_empty() {
            mount.kind = "bind".to_owned(); // the first of SwarmKit's types
        }
        if !MOUNT_TYPES.contains(&mount.kind.to_ascii_lowercase().as_str()) {
            return Err(bad_request(format!("invalid MountType: {:?}", mount.kind)));
        }
        let propagation = mount.bind_options.as_ref().map_or("", |bind| bind.propagation.as_str());
        if !propagation.is_empty()
            && !PROPAGATIONS.contains(&propagation.to_ascii_lowercase().as_str())
        {
            return Err(bad_request(format!("invalid MountPropagation: {propagation:?}")));
        }
    }
    Ok(())
}

fn normalize_restart(policy: &mut RestartPolicy) -> Result<(), Error> {
    default_to(&mut policy.condition, "any");
    match policy.condition.as_str() {
        "any" | "on-failure" | "none" => Ok(()),
        other => Err(bad_request(format!("invalid RestartCondition: {other:?}"))),
    }
}

fn normalize_update(config: &mut UpdateConfig) -> Result<(), Error> {
    default_to(&mut config.failure_action, "pause");
    default_to(&mut config.order, "stop-first");
    if !matches!(config.failure_action.as_str(), "pause" | "continue" | "rollback") {
        let action = &config.failure_action;
        return Err(bad_request(format!("unrecognized update failure action {action}")));
    }
    if !matches!(config.order.as_str(), "stop-first" | "start-first") {
        return Err(bad_request(format!("unrecognized update order {}", config.order)));
    }
    Ok(())
}

fn normalize_endpoint(endpoint: &mut EndpointSpec) -> Result<(), Error> {
    default_to(&mut endpoint.mode, "vip");
    if !matches!(endpoint.mode.as_str(), "vip" | "dnsrr") {
        return Err(bad_request(format!("invalid resolution mode: {:?}", endpoint.mode)));
    }
    for port in &mut endpoint.ports {
        port.protocol.make_ascii_lowercase();
        port.publish_mode.make_ascii_lowercase();
        // SwarmKit takes what it does not know for its first word.
        if !matches!(port.protocol.as_str(), "udp" | "sctp") {
            port.protocol = "tcp".to_owned();
        }
        if port.publish_mode != "host" {
            port.publish_mode = "ingress".to_owned();
        }
    }
    Ok(())
}

fn normalize_mode(mode: &mut Mode) -> Result<(), Error> {
    let given = [
        mode.replicated.is_some(),
        mode.global.is_some(),
        mode.replicated_job.is_some(),
        mode.global_job.is_some(),
    ];
    match given.into_iter().filter(|given| *given).count() {
        0 => mode.replicated = Some(Replicated::default()),
        1 => {}
        _ => return Err(bad_request("must specify only one service mode")),
    }
    if let Some(Replicated { replicas }) = &mut mode.replicated {
        replicas.get_or_insert(1);
    }
    if let Some(ReplicatedJob { max_concurrent, total_completions }) = &mut mode.replicated_job {
        let concurrent = *max_concurrent.get_or_insert(1);
        total_completions.get_or_insert(concurrent);
    }
    Ok(())
}

fn default_to(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}
