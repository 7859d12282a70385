use super::*;
use std::sync::Arc;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::NetworkAttachmentConfig;
use types::swarm::session::Assigned;
use types::swarm::task::{NetworkAttachment, Resources, SelinuxContext, TaskSpec};
use types::{NetworkId, ServiceId, TaskId};

fn share(ports: Vec<PortConfig>) -> Share {
    let mut share = Share::default();
    let facts = ServiceFacts {
        id: ServiceId::new("s1"),
        name: "web".to_owned(),
        ports,
        ..ServiceFacts::default()
    };
    share.put(Assigned::Service(Arc::new(facts)));
    share
}

fn task(spec: ContainerSpec) -> Task {
    Task {
        id: TaskId::new("t1"),
        service_id: ServiceId::new("s1"),
        node_id: NodeId::new("n1"),
        slot: 3,
        spec: Arc::new(TaskSpec { container_spec: Some(spec), ..TaskSpec::default() }),
        ..Task::default()
    }
}

fn node() -> NodeFacts {
    NodeFacts { id: NodeId::new("n1"), hostname: "alpha".to_owned(), ..NodeFacts::default() }
}

fn made(task: &Task, share: &Share) -> CreateRequest {
    request(task, share, &node()).unwrap_or_else(|err| panic!("{err}"))
}

#[test]
fn a_container_is_named_and_labelled_as_dockers() {
    let request = made(&task(ContainerSpec::default()), &share(Vec::new()));
    assert_eq!(request.name.as_deref(), Some("web.3.t1"));
    let labels = request.config.labels.unwrap();
    assert_eq!(labels["com.docker.swarm.task.name"], "web.3.t1");
    assert_eq!(labels[TASK_LABEL], "");
    assert_eq!(labels[NODE_LABEL], "n1");
    let global = Task { slot: 0, ..task(ContainerSpec::default()) };
    assert_eq!(name(&global, &share(Vec::new()).services["s1"]), "web.n1.t1");
}

#[test]
fn templates_are_filled_in_and_a_wrong_one_is_refused() {
    let spec = ContainerSpec {
        env: vec!["WHO={{.Service.Name}}.{{.Task.Slot}}@{{.Node.Hostname}}".to_owned()],
        hostname: "{{.Service.Name}}-{{.Task.Slot}}".to_owned(),
        ..ContainerSpec::default()
    };
    let got = made(&task(spec), &share(Vec::new()));
    assert_eq!(got.config.env.unwrap(), ["WHO=web.3@alpha"]);
    assert_eq!(got.config.hostname, "web-3");
    let bad = ContainerSpec { env: vec!["X={{.Nope}}".to_owned()], ..ContainerSpec::default() };
    let err = request(&task(bad), &share(Vec::new()), &node()).err().unwrap();
    assert_eq!(err, "expanding env failed: can't evaluate field Nope");
}

#[test]
fn ports_go_out_by_their_mode() {
    let port = |mode: &str, published| PortConfig {
        protocol: "tcp".to_owned(),
        target_port: 80,
        published_port: published,
        publish_mode: mode.to_owned(),
        ..PortConfig::default()
    };
    let ports = vec![port("ingress", 8080), port("host", 9090)];
    let mut task = task(ContainerSpec::default());
    task.record.host_ports = vec![port("host", 9090)];
    let share = share(ports);
    let made = made(&task, &share);
    let bindings = &made.host_config.port_bindings["80/tcp"].as_ref().unwrap();
    assert_eq!(bindings.iter().map(|it| it.host_port.as_str()).collect::<Vec<_>>(), ["9090"]);
}

#[test]
fn limits_hosts_and_privileges_become_dockers() {
    let spec = ContainerSpec {
        hosts: vec!["10.0.0.9 db db.local".to_owned()],
        privileges: Some(Privileges { no_new_privileges: true, ..Privileges::default() }),
        ..ContainerSpec::default()
    };
    let mut task = task(spec);
    let limits = Resources {
        nano_cpus: 500_000_000,
        memory_bytes: 64 << 20,
        pids: 9,
        ..Resources::default()
    };
    let resources = ResourceRequirements { limits: Some(limits), reservations: None };
    Arc::make_mut(&mut task.spec).resources = Some(resources);
    let host = made(&task, &share(Vec::new())).host_config;
    assert_eq!(host.extra_hosts.unwrap(), ["db:10.0.0.9", "db.local:10.0.0.9"]);
    assert_eq!((host.cpu_period, host.cpu_quota), (100_000, 50_000));
    assert_eq!((host.memory, host.pids_limit), (64 << 20, Some(9)));
    assert_eq!(host.security_opt.unwrap(), ["no-new-privileges=true"]);
}

#[test]
fn an_selinux_context_becomes_labels() {
    let context = SelinuxContext {
        disable: false,
        user: "u".to_owned(),
        kind: "container_t".to_owned(),
        level: "s0:c1".to_owned(),
        ..SelinuxContext::default()
    };
    let privileges = |context| Privileges { selinux_context: Some(context), ..Default::default() };
    let options = security(Some(&privileges(context))).unwrap();
    assert_eq!(options, ["label=user:u", "label=type:container_t", "label=level:s0:c1"]);
    let off = SelinuxContext { disable: true, ..SelinuxContext::default() };
    assert_eq!(security(Some(&privileges(off))).unwrap(), ["label=disable"]);
}

#[test]
fn attachments_carry_the_address_and_the_aliases() {
    let mut share = share(Vec::new());
    let network = ClusterNetwork { id: NetworkId::new("net1"), ..ClusterNetwork::default() };
    share.put(Assigned::Network(Arc::new(network)));
    let mut task = task(ContainerSpec::default());
    task.networks_attachments = vec![NetworkAttachment {
        network: "net1".to_owned(),
        addresses: vec!["10.0.1.5/24".to_owned()],
        aliases: vec!["www".to_owned()],
    }];
    let request = made(&task, &share);
    assert_eq!(request.host_config.network_mode, "net1");
    let endpoint = &request.networking_config.endpoints_config.unwrap()["net1"];
    assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address, "10.0.1.5");
    assert_eq!(endpoint.aliases.as_deref().unwrap(), ["www"]);
}

#[test]
fn the_hosts_network_is_known_by_the_driver_of_the_clusters_name_for_it() {
    let mut share = share(Vec::new());
    let spec = types::network::CreateRequest { driver: "host".to_owned(), ..Default::default() };
    let id = NetworkId::new("net1");
    let network = ClusterNetwork { id, spec, ..ClusterNetwork::default() };
    share.put(Assigned::Network(Arc::new(network)));
    let mut task = task(ContainerSpec::default());
    let wish = NetworkAttachmentConfig { target: "net1".to_owned(), ..Default::default() };
    Arc::make_mut(&mut task.spec).networks = vec![wish];
    let request = made(&task, &share);
    assert_eq!(request.host_config.network_mode, "host");
    assert_eq!(request.networking_config.endpoints_config.unwrap().len(), 0);
}

#[test]
fn credentials_are_read_from_the_header() {
    let json = br#"{"username":"ann","password":"p"}"#;
    let header = base64::prelude::BASE64_URL_SAFE.encode(json);
    let options = types::swarm::task::PullOptions { registry_auth: header };
    let spec = ContainerSpec { pull_options: Some(options), ..ContainerSpec::default() };
    assert_eq!(auth(&spec).username, "ann");
    assert_eq!(auth(&ContainerSpec::default()), AuthConfig::default());
}
