//! `status=true`: how many tasks a service has and should have.
//!
//! As SwarmKit counts them, but for tasks of nodes that are down: whether they run nobody knows, and they have
//! been replaced. SwarmKit calls such a service `14/10`; the docker CLI that counted by itself left them out, too.

use store::Snapshot;
use types::swarm::node::NodeState;
use types::swarm::service::{Service, ServiceStatus};
use types::swarm::task::{Task, TaskState};

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
        if task.status.state == TaskState::Running && !is_lost(state, task) {
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

fn is_lost(state: &Snapshot, task: &Task) -> bool {
    let node = state.nodes().get(task.node_id.as_str());
    node.is_some_and(|node| node.status.state == NodeState::Down)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Change, Entry, Store};
    use types::swarm::node::Node;
    use types::{NodeId, ServiceId, TaskId, Timestamp};

    #[test]
    fn what_a_lost_node_ran_is_not_running() {
        let service = Service { id: ServiceId::new("s"), ..Service::default() };
        let mut changes = vec![Change::Create(service.clone().into())];
        for (id, state) in [("up", NodeState::Ready), ("down", NodeState::Down)] {
            let mut node = Node { id: NodeId::new(id), ..Node::default() };
            node.status.state = state;
            changes.push(Change::Create(node.into()));
            let mut task =
                Task { id: TaskId::new(id), node_id: NodeId::new(id), ..Task::default() };
            task.service_id = service.id.clone();
            (task.status.state, task.desired_state) = (TaskState::Running, TaskState::Running);
            changes.push(Change::Create(task.into()));
        }
        let mut store = Store::default();
        assert_eq!(store.apply(&Entry::one(Timestamp(1), changes)).refused, vec![]);
        assert_eq!(count(store.state(), &service).running_tasks, 1);
    }
}
