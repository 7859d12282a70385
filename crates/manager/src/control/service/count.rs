//! `status=true`: how many tasks a service has and should have, as SwarmKit counts them.

use store::Snapshot;
use types::swarm::service::{Service, ServiceStatus};
use types::swarm::task::TaskState;

pub fn count(state: &Snapshot, service: &Service) -> ServiceStatus {
    let mode = &service.spec.mode;
    let mut status = ServiceStatus::default();
    let replicated = mode.replicated.as_ref().and_then(|mode| mode.replicas);
    let job = mode.replicated_job.as_ref().and_then(|mode| mode.max_concurrent);
    status.desired_tasks = replicated.or(job).unwrap_or(0);
    let everywhere = mode.global.is_some() || mode.global_job.is_some();
    for task in state.tasks_of_service(&service.id) {
        if let Some(job) = &service.job_status {
            if task.job_iteration != Some(job.job_iteration) {
                continue; // of an earlier run
            }
            if task.status.state == TaskState::Complete {
                status.completed_tasks += 1;
            }
        }
        if task.status.state == TaskState::Running {
            status.running_tasks += 1;
        }
        let wanted = match task.desired_state {
            TaskState::Running => true,
            TaskState::Complete => task.status.state != TaskState::Complete,
            _ => false,
        };
        if everywhere && wanted {
            status.desired_tasks += 1;
        }
    }
    status
}
