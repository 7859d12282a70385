//! `insertDefaults=true`: what an unset field means, as SwarmKit writes it out.

use types::swarm::service::{Service, ServiceSpec, UpdateConfig};
use types::swarm::task::{DnsConfig, Placement, ResourceRequirements, RestartPolicy};

const SECOND: i64 = 1_000_000_000;
const STOP_GRACE: i64 = 10 * SECOND;
const RESTART_DELAY: i64 = 5 * SECOND;
const MONITOR: i64 = 5 * SECOND;

/// The service with every default in its spec.
pub fn with_defaults(service: &Service) -> Service {
    let mut service = service.clone();
    insert(&mut service.spec);
    service
}

fn insert(spec: &mut ServiceSpec) {
    let task = &mut spec.task_template;
    if let Some(container) = &mut task.container_spec {
        container.stop_grace_period.get_or_insert(STOP_GRACE);
        container.dns_config.get_or_insert_with(DnsConfig::default);
    }
    task.resources.get_or_insert_with(|| ResourceRequirements {
        limits: Some(Default::default()),
        reservations: Some(Default::default()),
    });
    let restart = task.restart_policy.get_or_insert_with(|| RestartPolicy {
        condition: "any".to_owned(),
        max_attempts: Some(0),
        ..RestartPolicy::default()
    });
    restart.delay.get_or_insert(RESTART_DELAY);
    task.placement.get_or_insert_with(Placement::default);
    for config in [&mut spec.update_config, &mut spec.rollback_config] {
        let config = config.get_or_insert_with(|| UpdateConfig {
            parallelism: 1,
            failure_action: "pause".to_owned(),
            order: "stop-first".to_owned(),
            ..UpdateConfig::default()
        });
        if config.monitor == 0 {
            config.monitor = MONITOR;
        }
    }
}
