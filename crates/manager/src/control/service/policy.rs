//! Our extensions: whether their values make sense, and whether the cluster allows what Swarm refuses.
//!
//! Swarm leaves these out because a manager then has root on every node. The cluster's policy names those that
//! its users want nevertheless; nothing is allowed until it does.

use crate::control::Error;
use crate::control::error::{Code, invalid};
use orchestrator::{check_schedule, find_cycle};
use std::collections::{BTreeMap, BTreeSet};
use store::Snapshot;
use types::swarm::extension::{Allowance, ContainerExtensions, ServiceExtensions};
use types::swarm::service::ServiceSpec;

/// Refuses what makes no sense, then what is not allowed.
pub(super) fn check(state: &Snapshot, spec: &ServiceSpec) -> Result<(), Error> {
    if let Some(extensions) = &spec.sampan {
        service(state, spec, extensions)?;
    }
    let container = spec.task_template.container_spec.as_ref();
    let Some(wanted) = container.and_then(|container| container.sampan.as_ref()) else {
        return Ok(());
    };
    values(wanted)?;
    let clusters = state.clusters().iter();
    let allowed: BTreeSet<Allowance> = clusters
        .filter_map(|cluster| cluster.spec.sampan.as_ref())
        .flat_map(|policy| policy.allow.iter().copied())
        .collect();
    match asked(wanted).into_iter().find(|asked| !allowed.contains(asked)) {
        None => Ok(()),
        Some(refused) => {
            let word = refused.as_str();
            let desc = format!(
                "the cluster's policy does not allow services to use {word}: allow it with `swarm update --allow {word}`"
            );
            Err(Error::Refused { code: Code::PermissionDenied, desc })
        }
    }
}

fn service(
    state: &Snapshot,
    spec: &ServiceSpec,
    extensions: &ServiceExtensions,
) -> Result<(), Error> {
    if let Some(schedule) = &extensions.schedule {
        check_schedule(schedule).map_err(|err| invalid(err.to_string()))?;
        if !super::is_job(spec) {
            return Err(invalid("only jobs can have a schedule"));
        }
    }
    let depends = |on: &ServiceExtensions| on.depends_on.keys().cloned().collect();
    let others = state.services().iter().filter(|other| other.spec.name != spec.name);
    let mut edges: BTreeMap<String, BTreeSet<String>> = others
        .filter_map(|other| Some((other.spec.name.clone(), depends(other.spec.sampan.as_ref()?))))
        .collect();
    edges.insert(spec.name.clone(), depends(extensions));
    match find_cycle(&edges, &spec.name) {
        Some(circle) => {
            Err(invalid(format!("services depend on each other: {}", circle.join(" -> "))))
        }
        None => Ok(()),
    }
}

fn values(wanted: &ContainerExtensions) -> Result<(), Error> {
    if wanted.shm_size < 0 {
        return Err(invalid("ContainerSpec: ShmSize cannot be negative"));
    }
    for device in &wanted.devices {
        if !device.path_on_host.starts_with('/') {
            let path = &device.path_on_host;
            return Err(invalid(format!("ContainerSpec: {path:?} is not an absolute device path")));
        }
        if !device.cgroup_permissions.chars().all(|right| "rwm".contains(right)) {
            let rights = &device.cgroup_permissions;
            return Err(invalid(format!("ContainerSpec: invalid device permissions: {rights:?}")));
        }
    }
    if !matches!(wanted.pid_mode.as_str(), "" | "host") {
        return Err(invalid(format!("ContainerSpec: invalid PID mode: {:?}", wanted.pid_mode)));
    }
    if !matches!(wanted.ipc_mode.as_str(), "" | "host" | "private" | "shareable" | "none") {
        return Err(invalid(format!("ContainerSpec: invalid IPC mode: {:?}", wanted.ipc_mode)));
    }
    Ok(())
}

fn asked(wanted: &ContainerExtensions) -> Vec<Allowance> {
    let all = [
        (wanted.privileged, Allowance::Privileged),
        (!wanted.devices.is_empty(), Allowance::Devices),
        (wanted.shm_size != 0, Allowance::ShmSize),
        (!wanted.security_opt.is_empty(), Allowance::SecurityOpt),
        (!wanted.pid_mode.is_empty(), Allowance::PidMode),
        // `private` takes nothing from the host.
        (!matches!(wanted.ipc_mode.as_str(), "" | "private"), Allowance::IpcMode),
    ];
    all.into_iter().filter(|(asked, _)| *asked).map(|(_, what)| what).collect()
}
