//! A service of a stack.

use super::deploy::{self, Place};
use super::{IMAGE, Stack, container, home, labelled};
use crate::diagnostic::Diagnostic;
use crate::model::{self, Condition, Project};
use crate::policy;
use std::collections::BTreeMap;
use types::swarm::Driver;
use types::swarm::extension::{DependencyCondition, Overlap, Schedule, ServiceExtensions};
use types::swarm::policy::PolicyRule;
use types::swarm::service::{NetworkAttachmentConfig, ServiceSpec};
use types::swarm::task::TaskSpec;

/// The key that makes a job run by the clock.
const SCHEDULE: &str = "x-sampan-schedule";
/// Keys that act on one node only and have no word in a service's spec.
const OF_ONE_NODE: [&str; 23] = [
    "annotations",
    "blkio_config",
    "cgroup",
    "cgroup_parent",
    "container_name",
    "cpu_period",
    "cpu_quota",
    "cpu_shares",
    "cpuset",
    "device_cgroup_rules",
    "domainname",
    "external_links",
    "links",
    "mac_address",
    "mem_swappiness",
    "memswap_limit",
    "oom_kill_disable",
    "post_start",
    "pre_start",
    "pre_stop",
    "userns_mode",
    "uts",
    "volumes_from",
];

/// One service, by its key in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    /// Networks by name; secrets and configs without their ids.
    pub spec: ServiceSpec,
    /// The image as the file has it, or what a build is tagged with.
    pub image: String,
    pub builds: bool,
    /// Names of its volumes whose data are on one node, when the service is to stay with them.
    pub local_volumes: Vec<String>,
    /// Who may come to it, by the network's name.
    pub policies: Vec<(String, PolicyRule)>,
}

pub(super) fn service(
    project: &Project,
    key: &str,
    stack: &Stack,
    said: &mut Vec<Diagnostic>,
) -> Service {
    let Some(service) = project.services.get(key) else { return Service::default() };
    let mut place = Place { project, service: key, said };
    without_effect(&mut place);
    let policies = policies(stack, &mut place);
    let schedule = schedule(&mut place);
    let image = service.image.clone().unwrap_or_else(|| format!("{}-{key}", project.name));
    let mut labels = labelled(project, &service.deploy.labels);
    labels.insert(IMAGE.to_owned(), image.clone());
    let placement = deploy::placement(service, &mut place);
    let template = TaskSpec {
        container_spec: Some(container::container(project, service, &image, stack, &mut place)),
        resources: Some(deploy::resources(service)),
        restart_policy: deploy::restart(service),
        placement: Some(placement),
        networks: networks(key, service, stack, &mut place),
        log_driver: service.logging.as_ref().map(log_driver),
        ..TaskSpec::default()
    };
    let mode = deploy::mode(service, schedule.is_some(), &mut place);
    let local_volumes = home::volumes(project, service, &mode, &mut place);
    let extensions = ServiceExtensions {
        depends_on: depends_on(stack, service),
        schedule,
        ..ServiceExtensions::default()
    };
    Service {
        spec: ServiceSpec {
            name: stack.scoped(key),
            labels,
            task_template: template,
            mode,
            update_config: service.deploy.update_config.as_ref().map(deploy::update),
            rollback_config: service.deploy.rollback_config.as_ref().map(deploy::update),
            networks: None,
            endpoint_spec: Some(deploy::endpoint(service, &mut place)),
            sampan: (extensions != ServiceExtensions::default()).then_some(extensions),
        },
        image,
        builds: service.build.is_some(),
        local_volumes,
        policies,
    }
}

/// By the networks' names.
fn policies(stack: &Stack, place: &mut Place<'_>) -> Vec<(String, PolicyRule)> {
    let called = |key: &str| stack.scoped(key);
    match policy::of_service(place.project, place.service, &called, &stack.name) {
        Ok(rules) => {
            let name = |key: String| stack.networks.get(&key).map(|it| it.request.name.clone());
            rules.into_iter().filter_map(|(key, rule)| Some((name(key)?, rule))).collect()
        }
        Err(what) => {
            place.error(&[policy::KEY], what);
            Vec::new()
        }
    }
}

fn without_effect(place: &mut Place<'_>) {
    for key in OF_ONE_NODE {
        if place.project.span(&["services", place.service, key]).is_some() {
            place.warn(&[key], format!("`{key}` has no effect: a stack's services do not have it"));
        }
    }
}

fn log_driver(logging: &model::Logging) -> Driver {
    Driver { name: logging.driver.clone(), options: logging.options.clone() }
}

fn depends_on(stack: &Stack, service: &model::Service) -> BTreeMap<String, DependencyCondition> {
    let condition = |condition: Condition| match condition {
        Condition::Started => DependencyCondition::Started,
        Condition::Healthy => DependencyCondition::Healthy,
        Condition::CompletedSuccessfully => DependencyCondition::Completed,
    };
    let named =
        service.depends_on.iter().map(|(on, how)| (stack.scoped(on), condition(how.condition)));
    named.collect()
}

fn networks(
    key: &str,
    service: &model::Service,
    stack: &Stack,
    place: &mut Place<'_>,
) -> Vec<NetworkAttachmentConfig> {
    if let Some(mode) = &service.network_mode {
        if !super::network::PREDEFINED.contains(&mode.as_str()) {
            place.error(&["network_mode"], "tasks of a stack share no other container's network");
        }
        return vec![NetworkAttachmentConfig { target: mode.clone(), ..Default::default() }];
    }
    let mut attachments = Vec::new();
    for (network, endpoint) in &service.networks {
        let Some(network) = stack.networks.get(network) else { continue };
        let endpoint = endpoint.clone().unwrap_or_default();
        let fixed = [&endpoint.ipv4_address, &endpoint.ipv6_address, &endpoint.mac_address];
        if fixed.iter().any(|address| !address.is_empty()) {
            place.warn(&["networks"], "fixed addresses have no effect: each task gets its own");
        }
        let mut aliases = vec![key.to_owned()];
        aliases.extend(endpoint.aliases.into_iter().filter(|alias| alias != key));
        attachments.push(NetworkAttachmentConfig {
            target: network.request.name.clone(),
            // the nodes' own networks have no names
            aliases: if network.is_predefined() { Vec::new() } else { aliases },
            addresses: Vec::new(),
            driver_opts: endpoint.driver_opts,
        });
    }
    attachments.sort_by(|one, other| one.target.cmp(&other.target));
    attachments
}

/// `x-sampan-schedule: "0 3 * * *"`, or a mapping.
fn schedule(place: &mut Place<'_>) -> Option<Schedule> {
    let tree = place.project.tree()?;
    let json = tree.at(&["services", place.service, SCHEDULE])?.to_json();
    let mut schedule = Schedule::default();
    let Some(map) = json.as_object() else {
        match json.as_str() {
            Some(cron) => schedule.cron = cron.to_owned(),
            None => {
                place.error(&[SCHEDULE], "must be five fields of cron, or a mapping with `cron`")
            }
        }
        return Some(schedule);
    };
    for (key, value) in map {
        let text = value.as_str().unwrap_or_default().to_owned();
        match key.as_str() {
            "cron" => schedule.cron = text,
            "time_zone" => schedule.time_zone = text,
            "overlap" => match text.as_str() {
                "allow" => schedule.overlap = Overlap::Allow,
                "forbid" => schedule.overlap = Overlap::Forbid,
                "replace" => schedule.overlap = Overlap::Replace,
                _ => place.error(&[SCHEDULE, "overlap"], "expected allow, forbid or replace"),
            },
            "history" => schedule.history = value.as_u64(),
            "starting_deadline" => match crate::units::parse_duration(&text) {
                Some(nanos) => schedule.starting_deadline = Some(nanos),
                None => place.error(&[SCHEDULE, "starting_deadline"], "expected a duration"),
            },
            _ => place.error(&[SCHEDULE, key], format!("unknown key `{key}`")),
        }
    }
    if schedule.cron.is_empty() {
        place.error(&[SCHEDULE], "`cron` is missing");
    }
    Some(schedule)
}
