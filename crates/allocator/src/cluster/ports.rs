//! Ports published on every node (`ingress`). Ports of `mode=host` are the scheduler's.

use super::ClusterAllocError;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use types::ServiceId;
use types::swarm::service::{EndpointSpec, PortConfig};

/// Where ports come from that the user left open: SwarmKit's range.
pub const DYNAMIC_PORTS: RangeInclusive<u16> = 30000..=32767;

/// Who holds which port, by protocol and number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishedPorts(BTreeMap<(String, u16), ServiceId>);

impl PublishedPorts {
    /// Takes the ports that a service holds (its `endpoint.ports`).
    pub fn claim(
        &mut self,
        service: &ServiceId,
        ports: &[PortConfig],
    ) -> Result<(), ClusterAllocError> {
        self.check(service, ports)?;
        for port in ports.iter().filter(|port| is_ingress(port) && port.published_port != 0) {
            self.0.insert((protocol(port), port.published_port), service.clone());
        }
        Ok(())
    }

    /// Gives `service` the ports of its spec in place of `held`, and returns them with their numbers. A port
    /// that the user left open keeps the number it had. On a refusal nothing has changed.
    pub fn allocate(
        &mut self,
        service: &ServiceId,
        spec: &EndpointSpec,
        held: &[PortConfig],
    ) -> Result<Vec<PortConfig>, ClusterAllocError> {
        let mut next = self.clone();
        next.release(service);
        next.claim(service, &spec.ports)?;
        let mut given = Vec::with_capacity(spec.ports.len());
        for wanted in &spec.ports {
            let mut port = wanted.clone();
            if is_ingress(wanted) && wanted.published_port == 0 {
                let before = held.iter().find(|held| {
                    held.target_port == wanted.target_port && protocol(held) == protocol(wanted)
                });
                port.published_port = next.open(wanted, before.map(|port| port.published_port))?;
                next.claim(service, std::slice::from_ref(&port))?;
            }
            given.push(port);
        }
        *self = next;
        Ok(given)
    }

    /// The service is gone.
    pub fn release(&mut self, service: &ServiceId) {
        self.0.retain(|_, holder| holder != service);
    }

    fn open(&self, port: &PortConfig, before: Option<u16>) -> Result<u16, ClusterAllocError> {
        let protocol = protocol(port);
        before
            .into_iter()
            .chain(DYNAMIC_PORTS)
            .find(|number| *number != 0 && !self.0.contains_key(&(protocol.clone(), *number)))
            .ok_or(ClusterAllocError::PortsExhausted { protocol })
    }

    fn check(&self, service: &ServiceId, ports: &[PortConfig]) -> Result<(), ClusterAllocError> {
        for port in ports.iter().filter(|port| is_ingress(port)) {
            if let Some(holder) = self.0.get(&(protocol(port), port.published_port))
                && holder != service
            {
                let (port, service) = (port.published_port, holder.clone());
                return Err(ClusterAllocError::PortInUse { port, service });
            }
        }
        Ok(())
    }
}

fn is_ingress(port: &PortConfig) -> bool {
    port.publish_mode != "host"
}

fn protocol(port: &PortConfig) -> String {
    if port.protocol.is_empty() { "tcp".to_owned() } else { port.protocol.clone() }
}
