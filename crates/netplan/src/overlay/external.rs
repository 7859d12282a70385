//! Rows of services outside of the cluster.

use types::swarm::endpoint::{EndpointRow, EndpointState};
use types::swarm::external::External;
use types::swarm::service::Service;
use types::{NetworkId, NodeId, TaskId};

/// A service's addresses outside, in each of its networks; none of a service that runs here. Healthy for everybody: each node
/// asks them itself and knows better ([`types::swarm::endpoint::ServiceRow::check`]).
pub(super) fn endpoints(service: &Service) -> Vec<EndpointRow> {
    // What is written down was checked.
    let Ok(Some(external)) = External::of(&service.spec.labels) else { return Vec::new() };
    let mut rows = Vec::new();
    for attachment in &service.spec.task_template.networks {
        for (slot, address) in (1_u64..).zip(&external.addresses) {
            rows.push(EndpointRow {
                task: TaskId::new(format!("{}-{slot}", service.id)),
                network: NetworkId::new(attachment.target.clone()),
                node: NodeId::default(),
                address: *address,
                state: EndpointState::Healthy,
                weight: 1,
                service: Some(service.id.clone()),
                slot,
                name: format!("{}.{slot}.external", service.spec.name),
                aliases: attachment.aliases.clone(),
            });
        }
    }
    rows
}
