//! `update`: limits and restart policy of an existing container.

use super::options::{UpdateRequest, UpdateResponse};
use super::validate;
use crate::{Engine, Error, Result};
use types::container::{HostConfig, Status};

impl Engine {
    /// `POST /containers/{id}/update`. A running container's cgroup is changed first; what the kernel
    /// refuses is not recorded.
    pub async fn container_update(
        &self,
        id: &str,
        request: UpdateRequest,
    ) -> Result<UpdateResponse> {
        let container = self.0.containers.find(id)?;
        let _one_at_a_time = container.op.lock().await;
        let refused = |err: Error| err.context(format!("Cannot update container {}", container.id));
        if matches!(container.status(), Status::Removing | Status::Dead) {
            return Err(refused(Error::conflict(
                "container is marked for removal and cannot be \"update\"",
            )));
        }
        let mut record = container.snapshot();
        let swap = record.host_config.memory_swap;
        let more_than_swap = |memory: i64| swap > 0 && memory > swap;
        if request.memory_swap.unwrap_or(0) == 0 && request.memory.is_some_and(more_than_swap) {
            return Err(refused(Error::conflict(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            )));
        }
        let resources_change = apply(&mut record.host_config, &request);
        let mut warnings = validate::settings(&record.config, &record.host_config)?;
        self.check_sets(&record.host_config)?;
        warnings.append(&mut self.kernel_warnings(&record.host_config)?);
        if resources_change && record.state.running {
            let resources = self.oci_resources(&record.host_config)?;
            container
                .running_shim()?
                .update(&resources)
                .await
                .map_err(Error::from_lower)
                .map_err(refused)?;
        }
        container.update(|kept| kept.host_config = record.host_config)?;
        self.0.events.emit("container", "update", container.id.as_str(), container.attributes());
        Ok(UpdateResponse { warnings: (!warnings.is_empty()).then_some(warnings) })
    }
}

/// Writes what the request sets; tells whether the cgroup is concerned. Docker takes 0 for "leave it".
fn apply(host: &mut HostConfig, request: &UpdateRequest) -> bool {
    let mut changed = false;
    let mut number = |field: &mut i64, value: Option<i64>| {
        if let Some(value) = value.filter(|value| *value != 0) {
            changed |= *field != value;
            *field = value;
        }
    };
    number(&mut host.cpu_shares, request.cpu_shares);
    number(&mut host.memory, request.memory);
    number(&mut host.memory_swap, request.memory_swap);
    number(&mut host.memory_reservation, request.memory_reservation);
    number(&mut host.nano_cpus, request.nano_cpus);
    number(&mut host.cpu_period, request.cpu_period);
    number(&mut host.cpu_quota, request.cpu_quota);
    if let Some(limit) = request.pids_limit {
        changed |= host.pids_limit != Some(limit);
        host.pids_limit = Some(limit);
    }
    if let Some(weight) = request.blkio_weight.filter(|weight| *weight != 0) {
        changed |= host.blkio_weight != weight;
        host.blkio_weight = weight;
    }
    for (field, value) in [
        (&mut host.cpuset_cpus, &request.cpuset_cpus),
        (&mut host.cpuset_mems, &request.cpuset_mems),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            changed |= field != value;
            field.clone_from(value);
        }
    }
    if let Some(policy) = request.restart_policy.as_ref().filter(|policy| !policy.name.is_empty()) {
        host.restart_policy = policy.clone();
    }
    changed
}
