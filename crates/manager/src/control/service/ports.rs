//! Two services cannot have one port of every node.

use crate::control::Error;
use crate::control::error::invalid;
use store::Snapshot;
use types::ServiceId;
use types::swarm::service::{PortConfig, Service, ServiceSpec};

/// Refuses a published port that another service than `own` has, asked for or given.
pub(super) fn check(
    state: &Snapshot,
    spec: &ServiceSpec,
    own: Option<&ServiceId>,
) -> Result<(), Error> {
    let wanted: Vec<&PortConfig> =
        spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports).collect();
    if wanted.iter().all(|port| port.published_port == 0) {
        return Ok(());
    }
    for service in state.services().iter().filter(|service| Some(&service.id) != own) {
        if let Some(port) = held(service).find(|held| wanted.iter().any(|port| clash(held, port))) {
            let way = if port.publish_mode == "host" { "a host-published" } else { "an ingress" };
            return Err(invalid(format!(
                "port '{}' is already in use by service '{}' ({}) as {way} port",
                port.published_port, service.spec.name, service.id
            )));
        }
    }
    Ok(())
}

fn held(service: &Service) -> impl Iterator<Item = &PortConfig> {
    let asked = service.spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    asked.chain(&service.endpoint.ports).filter(|port| port.published_port != 0)
}

/// Two host ports may meet: the scheduler keeps their tasks apart.
fn clash(held: &PortConfig, wanted: &PortConfig) -> bool {
    held.published_port == wanted.published_port
        && held.protocol == wanted.protocol
        && !(held.publish_mode == "host" && wanted.publish_mode == "host")
}
