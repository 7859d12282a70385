//! Services that stand for machines outside of the cluster: what makes no sense of them is refused.

use crate::control::Error;
use crate::control::error::invalid;
use store::Snapshot;
use types::subnet::Cidr;
use types::swarm::external::External;
use types::swarm::service::ServiceSpec;

pub(super) fn check(state: &Snapshot, spec: &ServiceSpec) -> Result<(), Error> {
    let wrong = |what: String| invalid(format!("external service {}: {what}", spec.name));
    let Some(external) = External::of(&spec.labels).map_err(wrong)? else { return Ok(()) };
    let replicas = spec.mode.replicated.as_ref().map(|mode| mode.replicas);
    if replicas != Some(Some(0)) {
        return Err(wrong("it has no tasks: it must have 0 replicas".to_owned()));
    }
    if spec.task_template.networks.is_empty() {
        return Err(wrong("nobody reaches it: it must be on a network".to_owned()));
    }
    if spec.endpoint_spec.iter().any(|endpoint| !endpoint.ports.is_empty()) {
        return Err(wrong("it publishes no ports: it is reached by its network".to_owned()));
    }
    for network in state.networks().iter() {
        let Ok(cidr) = network.subnet.parse::<Cidr>() else { continue };
        if let Some(inside) = external.addresses.iter().find(|it| cidr.subnet().contains(**it)) {
            let name = &network.spec.name;
            return Err(wrong(format!("{inside} is not outside: it belongs to network {name}")));
        }
    }
    Ok(())
}
