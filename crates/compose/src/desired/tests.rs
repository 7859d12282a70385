//! Bodies and labels, as both Composes write them.

use crate::{LoadOptions, desired, labels, load};
use std::path::Path;

pub(crate) fn wanted(text: &str) -> desired::Desired {
    let read = |_: &Path| Ok(text.to_owned());
    let options = LoadOptions {
        files: vec!["/app/compose.yaml".into()],
        project_dir: "/app".into(),
        env: [("HOME".to_owned(), "/root".to_owned())].into(),
        ..LoadOptions::default()
    };
    let loaded = load(&options, &read).unwrap_or_else(|report| panic!("{report}"));
    desired::desired(&loaded.project)
}

#[test]
fn a_container_carries_composes_labels_and_name() {
    let wanted = wanted("services:\n  web: {image: nginx, depends_on: [db]}\n  db: {image: x}\n");
    let web = &wanted.services["web"];
    let name = web.container(&wanted.project, 2);
    let request = web.request(&name, 2, &Default::default());
    assert_eq!(request.name.as_deref(), Some("app-web-2"));
    let labels = request.config.labels.expect("labels");
    let want = [
        (labels::PROJECT, "app"),
        (labels::SERVICE, "web"),
        (labels::NUMBER, "2"),
        (labels::ONEOFF, "False"),
        (labels::WORKING_DIR, "/app"),
        (labels::CONFIG_FILES, "/app/compose.yaml"),
        (labels::DEPENDS_ON, "db:service_started:false"),
        (labels::HASH, &web.hash),
    ];
    for (key, value) in want {
        assert_eq!(labels.get(key).map(String::as_str), Some(value), "{key}");
    }
}

#[test]
fn what_a_provider_makes_has_no_container() {
    let text = "services: {a: {image: x, depends_on: [db]}, db: {provider: {type: cloud}}}\n";
    let wanted = wanted(text);
    assert_eq!(wanted.services.keys().collect::<Vec<_>>(), ["a"]);
    assert!(wanted.services["a"].depends_on.is_empty());
}

#[test]
fn links_on_dockers_bridge_are_the_containers_own() {
    let text = "services: {a: {image: x, network_mode: bridge, links: ['db:base']}, db: {image: x, network_mode: bridge}}\n";
    let wanted = wanted(text);
    let host = &wanted.services["a"].template.host_config;
    assert_eq!(host.network_mode, "bridge");
    assert_eq!(host.links.as_deref(), Some(["app-db-1:base".to_owned()].as_slice()));
    assert_eq!(wanted.services["db"].template.host_config.links, None);
}

#[test]
fn keys_become_the_apis_fields() {
    let wanted = wanted(include_str!("../../tests/cases/short-forms.yaml"));
    let web = &wanted.services["web"].template;
    let host = &web.host_config;
    assert_eq!(host.network_mode, "short_back");
    assert_eq!(wanted.services["web"].more_networks[0].0, "short_front");
    assert_eq!(host.nano_cpus, 500_000_000);
    assert_eq!(host.memory, 512 << 20);
    assert_eq!(host.pids_limit, Some(1));
    let binds = host.binds.clone().unwrap_or_default();
    assert_eq!(binds, ["short_data:/data:ro", "/app/src:/app:ro,z", "/root/x:/x:rw"]);
    assert!(web.config.volumes.as_ref().is_some_and(|v| v.contains_key("/anon")));
    assert_eq!(host.port_bindings["80/tcp"].as_ref().map(Vec::len), Some(2));
    assert!(web.config.exposed_ports.as_ref().is_some_and(|p| p.contains_key("4000/udp")));
    assert_eq!(
        host.extra_hosts.as_deref().map(|h| h[0].as_str()),
        Some("host.docker.internal:host-gateway")
    );
    assert_eq!(web.config.stop_timeout, Some(90));
    let health = web.config.healthcheck.as_ref().expect("health");
    assert_eq!((health.interval, health.retries), (90_000_000_000, 3));
    assert_eq!(wanted.services["web"].injected[0].target, "/etc/conf");
    let shares: Vec<&str> =
        wanted.services["helper"].shares.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(shares, ["db", "web"]);
    assert_eq!(wanted.services["db"].image, "short-db");
}

#[test]
fn only_what_changes_the_container_changes_its_hash() {
    let hash = |body: &str| {
        wanted(&format!("services:\n  b: {{image: y}}\n  a: {{image: x{body}}}\n")).services["a"]
            .hash
            .clone()
    };
    let plain = hash("");
    for same in
        [", scale: 3", ", depends_on: [b]", ", deploy: {replicas: 2}", ", pull_policy: always"]
    {
        assert_eq!(hash(same), plain, "{same}");
    }
    for other in
        [", command: x", ", environment: [A=1]", ", deploy: {resources: {limits: {pids: 4}}}"]
    {
        assert_ne!(hash(other), plain, "{other}");
    }
}

#[test]
fn inherited_volumes_take_the_place_of_new_ones() {
    let wanted = wanted("services:\n  a: {image: x, volumes: [/data, 'v:/v']}\nvolumes: {v: }\n");
    let service = &wanted.services["a"];
    let inherit = [("/data".to_owned(), "old".to_owned())].into();
    let request = service.request("n", 1, &inherit);
    assert_eq!(request.config.volumes.map(|v| v.len()), Some(0));
    assert_eq!(request.host_config.binds.unwrap_or_default(), ["app_v:/v:rw", "old:/data:rw"]);
    assert!(service.fills("/v") && !service.fills("/data"));
}
