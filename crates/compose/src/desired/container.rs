//! A service as the body of its containers.

use super::{Init, Service, condition_word, hash, host, mounts, some};
use crate::labels;
use crate::model::{self, Project};
use std::collections::BTreeMap;
use types::container::{Config, CreateRequest, Empty, HealthConfig, HostConfig, NetworkingConfig};
use types::network::{EndpointIpamConfig, EndpointSettings};

pub(super) fn service(project: &Project, name: &str, service: &model::Service) -> Service {
    let sign = if project.compatible { '_' } else { '-' };
    let image = || format!("{}{sign}{name}", project.name);
    let image = service.image.clone().unwrap_or_else(image);
    let hash = hash::service(project, name, service);
    let mounted = mounts::all(project, service);
    let mut endpoints = endpoints(project, name, service);
    let first = if endpoints.is_empty() { None } else { Some(endpoints.remove(0)) };
    let network = first.as_ref().map(|(network, _)| network.clone());
    let mut config = config(service, &image);
    config.volumes = some(mounted.anonymous.clone());
    config.labels = Some(container_labels(project, name, service, &hash));
    let template = CreateRequest {
        name: None,
        platform: service.platform.clone(),
        config,
        host_config: HostConfig {
            links: linked(project, service),
            ..host::config(service, &mounted, network)
        },
        networking_config: NetworkingConfig {
            endpoints_config: first.map(|first| BTreeMap::from([first])),
        },
    };
    let init = service.pre_start.iter().map(|hook| init(service, hook, &template)).collect();
    Service {
        init,
        name: name.to_owned(),
        replicas: service.replicas(),
        container_name: service.container_name.clone(),
        image,
        builds: service.build.is_some(),
        compatible: project.compatible,
        hash,
        depends_on: present(project, service),
        template,
        more_networks: endpoints,
        networks: service.networks.keys().cloned().collect(),
        volumes: mounted.named,
        shares: shares(service),
        injected: mounted.injected,
    }
}

/// `KEY=value`, or the bare name of a variable without one.
fn pair((key, value): (&String, &Option<String>)) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => key.clone(),
    }
}

fn config(service: &model::Service, image: &str) -> Config {
    Config {
        hostname: service.hostname.clone(),
        domainname: service.domainname.clone(),
        user: service.user.clone(),
        attach_stdout: true,
        attach_stderr: true,
        exposed_ports: some(exposed(service)),
        tty: service.tty,
        open_stdin: service.stdin_open,
        env: Some(service.environment.iter().map(pair).collect()),
        cmd: service.command.clone(),
        entrypoint: service.entrypoint.clone(),
        healthcheck: service.healthcheck.as_ref().map(health),
        image: image.to_owned(),
        working_dir: service.working_dir.clone(),
        mac_address: service.mac_address.clone(),
        stop_signal: service.stop_signal.clone(),
        stop_timeout: service.stop_grace_period.map(|grace| grace.0.div_euclid(1_000_000_000)),
        ..Default::default()
    }
}

fn exposed(service: &model::Service) -> BTreeMap<String, Empty> {
    let published = service.ports.iter().map(|port| format!("{}/{}", port.target, port.protocol));
    let exposed = service.expose.iter().flat_map(|port| {
        let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let ends = (first.parse::<u16>().unwrap_or(0), last.parse::<u16>().unwrap_or(0));
        (ends.0..=ends.1).filter(|port| *port > 0).map(move |port| format!("{port}/{protocol}"))
    });
    published.chain(exposed).map(|port| (port, Empty {})).collect()
}

pub(crate) fn health(check: &model::HealthCheck) -> HealthConfig {
    let nanos = |value: Option<model::Nanoseconds>| value.map_or(0, |nanos| nanos.0);
    HealthConfig {
        test: if check.disable { vec!["NONE".to_owned()] } else { check.test.clone() },
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval),
        retries: check.retries,
    }
}

/// What a service waits for: not those whose profile nobody asked for, nor what has no container.
fn present(project: &Project, service: &model::Service) -> BTreeMap<String, model::Dependency> {
    let there = |(on, _): &(&String, &model::Dependency)| {
        project.services.get(*on).is_some_and(|on| on.provider.is_none())
    };
    let depends_on = service.depends_on.iter().filter(there);
    depends_on.map(|(on, how)| (on.clone(), how.clone())).collect()
}

fn container_labels(
    project: &Project,
    name: &str,
    service: &model::Service,
    hash: &str,
) -> BTreeMap<String, String> {
    let files: Vec<_> = project.files.iter().map(|file| file.to_string_lossy()).collect();
    let depends_on: Vec<String> = present(project, service)
        .iter()
        .map(|(on, how)| format!("{on}:{}:{}", condition_word(how.condition), how.restart))
        .collect();
    let ours = [
        (labels::PROJECT, project.name.clone()),
        (labels::SERVICE, name.to_owned()),
        (labels::ONEOFF, "False".to_owned()),
        (labels::HASH, hash.to_owned()),
        (labels::WORKING_DIR, project.working_dir.to_string_lossy().into_owned()),
        (labels::CONFIG_FILES, files.join(",")),
        (labels::VERSION, labels::OUR_VERSION.to_owned()),
        (labels::DEPENDS_ON, depends_on.join(",")),
    ];
    let ours = ours.into_iter().map(|(key, value)| (key.to_owned(), value));
    service.labels.clone().into_iter().chain(ours).collect()
}

/// Each network's real name and this service's place in it, the most important first.
fn endpoints(
    project: &Project,
    name: &str,
    service: &model::Service,
) -> Vec<(String, EndpointSettings)> {
    if service.network_mode.is_some() {
        return Vec::new();
    }
    let priority = |endpoint: &Option<model::Endpoint>| endpoint.as_ref().map_or(0, |e| e.priority);
    let mut wanted: Vec<_> = service.networks.iter().collect();
    wanted.sort_by_key(|(_, endpoint)| std::cmp::Reverse(priority(endpoint)));
    wanted
        .into_iter()
        .filter_map(|(key, endpoint)| {
            let network = project.networks.get(key)?;
            let endpoint = endpoint.clone().unwrap_or_default();
            Some((network.name.clone(), settings(project, name, service, endpoint)))
        })
        .collect()
}

fn settings(
    project: &Project,
    name: &str,
    service: &model::Service,
    endpoint: model::Endpoint,
) -> EndpointSettings {
    let fixed = EndpointIpamConfig {
        ipv4_address: endpoint.ipv4_address,
        ipv6_address: endpoint.ipv6_address,
        link_local_ips: (!endpoint.link_local_ips.is_empty()).then_some(endpoint.link_local_ips),
    };
    let mut aliases = vec![name.to_owned()];
    aliases.extend(endpoint.aliases.into_iter().filter(|alias| alias != name));
    let links = links(project, service);
    EndpointSettings {
        ipam_config: (fixed != EndpointIpamConfig::default()).then_some(fixed),
        links: (!links.is_empty()).then_some(links),
        aliases: Some(aliases),
        mac_address: endpoint.mac_address,
        driver_opts: some(endpoint.driver_opts),
        gw_priority: endpoint.gw_priority,
        ..Default::default()
    }
}

/// Links of a service on Docker's own bridge, whose containers know each other by nothing else.
fn linked(project: &Project, service: &model::Service) -> Option<Vec<String>> {
    let bridge = matches!(service.network_mode.as_deref(), Some("bridge" | "default"));
    bridge.then(|| links(project, service)).filter(|links| !links.is_empty())
}

/// `container:alias` for every container of a linked service, and the external links as written.
fn links(project: &Project, service: &model::Service) -> Vec<String> {
    let mut out = Vec::new();
    for link in &service.links {
        let (target, alias) = link.split_once(':').unwrap_or((link, link));
        let Some(linked) = project.services.get(target) else { continue };
        for number in 1..=linked.replicas() {
            let container = linked
                .container_name
                .clone()
                .unwrap_or_else(|| format!("{}-{target}-{number}", project.name));
            out.push(format!("{container}:{alias}"));
        }
    }
    out.extend(service.external_links.iter().map(|link| match link.contains(':') {
        true => link.clone(),
        false => format!("{link}:{link}"),
    }));
    out
}

/// A hook sees what its service sees: variables, volumes and networks, but not its names there and its ports.
fn init(service: &model::Service, hook: &model::Hook, template: &CreateRequest) -> Init {
    let own = &template.config;
    let mut environment = service.environment.clone();
    environment.extend(hook.environment.clone());
    let labels = own.labels.clone().unwrap_or_default();
    let kept = [labels::PROJECT, labels::SERVICE, labels::VERSION];
    let mut labels: BTreeMap<String, String> =
        labels.into_iter().filter(|(key, _)| kept.contains(&key.as_str())).collect();
    labels.insert(labels::ONEOFF.to_owned(), "True".to_owned());
    labels.insert(labels::HOOK.to_owned(), "pre_start".to_owned());
    let image = if hook.image.is_empty() { &own.image } else { &hook.image };
    let mut networking_config = template.networking_config.clone();
    for endpoint in networking_config.endpoints_config.iter_mut().flat_map(|map| map.values_mut()) {
        *endpoint = EndpointSettings::default();
    }
    Init {
        per_replica: hook.per_replica,
        request: CreateRequest {
            name: None,
            platform: template.platform.clone(),
            config: Config {
                image: image.clone(),
                cmd: Some(hook.command.clone()),
                user: hook.user.clone(),
                working_dir: hook.working_dir.clone(),
                env: Some(environment.iter().map(pair).collect()),
                labels: Some(labels),
                ..Default::default()
            },
            host_config: HostConfig {
                privileged: hook.privileged,
                network_mode: template.host_config.network_mode.clone(),
                ..Default::default()
            },
            networking_config,
        },
    }
}

fn shares(service: &model::Service) -> Vec<(&'static str, String)> {
    let modes = [
        ("network namespace", service.network_mode.as_deref().unwrap_or_default()),
        ("IPC namespace", &service.ipc),
        ("PID namespace", &service.pid),
    ];
    let spaces =
        modes.into_iter().filter_map(|(what, mode)| Some((what, mode.strip_prefix("service:")?)));
    let volumes = service
        .volumes_from
        .iter()
        .filter(|from| !from.starts_with("container:"))
        .filter_map(|from| Some(("volume", from.split(':').next()?)));
    let all = spaces.chain(volumes).map(|(what, name)| (what, name.to_owned()));
    let mut all: Vec<(&'static str, String)> = all.collect();
    all.sort_by(|one, other| (&one.1, one.0).cmp(&(&other.1, other.0)));
    all.dedup();
    all
}
