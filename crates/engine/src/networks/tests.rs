//! The networks of an engine, on a host of their own in a namespace; containers are sandboxes without
//! a process.

mod cluster;
mod world;

use super::{DNS_TCP, DNS_UDP};
use errdefs::{Classify, ErrorKind};
use std::net::Ipv4Addr;
use types::ContainerId;
use types::network::{EndpointIpamConfig, EndpointSettings};
use world::{World, addresses, ask_tcp, ask_udp, container, on, with_alias};

fn kind_and_text<T>(outcome: crate::Result<T>) -> (ErrorKind, String) {
    let err = outcome.err().expect("this is to be refused");
    (err.kind(), err.to_string())
}

#[test]
fn containers_find_each_other_by_name_alias_and_short_id_over_udp_and_tcp() {
    World::run(async |world| {
        world.create("web-net", |_| {}).await.unwrap();
        let web = world.attach(container("web", &[("web-net", with_alias("www"))])).await.unwrap();
        let app = world.attach(container("app", &[("web-net", with_alias("www"))])).await.unwrap();
        let web_address = web.addresses[0];
        for name in ["web", "web.web-net", "WEB", world::id("web").short()] {
            assert_eq!(ask_udp(&app.netns, name).await, [web_address], "{name}");
            assert_eq!(ask_tcp(&app.netns, name).await, [web_address], "{name}");
        }
        let mut both = ask_udp(&app.netns, "www").await;
        both.sort();
        assert_eq!(both, [web_address, app.addresses[0]]);
        world.networks().renamed(&world::id("web"), "site").await;
        assert_eq!(ask_udp(&app.netns, "site").await, [web_address]);
        world.networks().detach(&world::id("web")).await.unwrap();
        assert_eq!(ask_udp(&app.netns, "www").await, [app.addresses[0]]);
    });
}

#[test]
fn other_names_are_asked_of_the_containers_own_server() {
    World::run(async |world| {
        world.create("web-net", |_| {}).await.unwrap();
        let upstream = world.upstream(Ipv4Addr::new(203, 0, 113, 7));
        let mut joining = container("web", &[("web-net", EndpointSettings::default())]);
        joining.dns = vec![upstream.to_string()];
        let web = world.attach(joining).await.unwrap();
        assert_eq!(ask_udp(&web.netns, "example.org").await, [Ipv4Addr::new(203, 0, 113, 7)]);
        // On the default bridge names are not known: the server is asked.
        let mut joining = container("plain", &[("bridge", EndpointSettings::default())]);
        joining.dns = vec![upstream.to_string()];
        let plain = world.attach(joining).await.unwrap();
        assert_eq!(ask_udp(&plain.netns, "plain").await, [Ipv4Addr::new(203, 0, 113, 7)]);
    });
}

#[test]
fn a_port_in_use_is_refused_in_dockers_words_and_leaves_nothing() {
    World::run(async |world| {
        let holder = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let mut joining = on("web", "bridge");
        joining.publish("80/tcp", port);
        let refused = world.attach(joining.clone()).await;
        let endpoint = world.endpoint_in(&refused);
        let expected = format!(
            "failed to set up container networking: driver failed programming external connectivity on endpoint web ({endpoint}): failed to bind host port 0.0.0.0:{port}/tcp: address already in use"
        );
        assert_eq!(kind_and_text(refused), (ErrorKind::System, expected));
        world.nothing_is_left().await;
        drop(holder);
        let web = world.attach(joining).await.unwrap();
        assert_eq!(web.settings.ports["80/tcp"].as_ref().unwrap()[0].host_port, port.to_string());
        assert!(std::net::TcpListener::bind(("0.0.0.0", port)).is_err(), "the port is not held");
    });
}

#[test]
fn inspect_shows_what_the_container_got() {
    World::run(async |world| {
        let network = world.create("web-net", |request| {
            request.ipam = Some(world::ipam("10.77.0.0/24", "10.77.0.254"));
        });
        let network = network.await.unwrap();
        let wish = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: "10.77.0.9".to_owned(),
                ..Default::default()
            }),
            mac_address: "02:00:00:00:00:09".to_owned(),
            ..EndpointSettings::default()
        };
        let web = world.attach(container("web", &[("web-net", wish)])).await.unwrap();
        let got = &web.settings.networks["web-net"];
        assert_eq!(
            (got.ip_address.as_str(), got.ip_prefix_len, got.gateway.as_str()),
            ("10.77.0.9", 24, "10.77.0.254")
        );
        assert_eq!(got.mac_address, "02:00:00:00:00:09");
        assert_eq!(got.network_id, network.id.as_str());
        let shown = world.networks().inspect("web-net").await.unwrap();
        assert_eq!(shown.containers[world::id("web").as_str()].ipv4_address, "10.77.0.9/24");
        assert!(world.ip(&web.netns, &["addr", "show", "eth0"]).contains("10.77.0.9/24"));
        let same = container("thief", &[("web-net", got.clone())]);
        let (kind, text) = kind_and_text(world.attach(same).await);
        assert_eq!(
            (kind, text.as_str()),
            (ErrorKind::Forbidden, "failed to set up container networking: Address already in use")
        );
    });
}

#[test]
fn a_restarted_daemon_finds_containers_addresses_ports_and_queries_that_waited() {
    World::run(async |world| {
        world.create("web-net", |_| {}).await.unwrap();
        let mut joining = on("web", "web-net");
        joining.publish("80/tcp", 0);
        let web = world.attach(joining).await.unwrap();
        world.attach(on("gone", "web-net")).await.unwrap();
        world.tcp_server(&web.netns, 80);
        let port: u16 =
            web.settings.ports["80/tcp"].as_ref().unwrap()[0].host_port.parse().unwrap();
        assert!(world.reaches(port));

        world.stop_daemon().await;
        assert!(world.reaches(port), "without a daemon the port is closed");
        let waiting = world::send_query(&web.netns, "web");
        world.start_daemon().await;
        // `gone` ended meanwhile: nobody adopts it.
        let shim = |name: &str| {
            web.keep.iter().find(|(kept, _)| kept == name).unwrap().1.try_clone().unwrap()
        };
        let sockets = dnsd::Sockets { udp: shim(DNS_UDP), tcp: shim(DNS_TCP) };
        world.networks().adopt(&world::id("web"), Some(sockets), &[]).await.unwrap();
        world.networks().settle().await.unwrap();
        assert_eq!(world::receive(waiting).await, web.addresses);
        assert!(world.reaches(port));
        assert_eq!(world.sandboxes(), [world::id("web")]);
        let other = world.attach(on("other", "web-net")).await.unwrap();
        assert_ne!(other.addresses, web.addresses);
    });
}

#[test]
fn a_container_keeps_its_address_over_a_restart_until_it_is_removed() {
    World::run(async |world| {
        world.create("web-net", |_| {}).await.unwrap();
        let addresses = world.attach(on("web", "web-net")).await.unwrap().addresses;
        world.networks().detach(&world::id("web")).await.unwrap();
        world.nothing_is_left().await;
        let again = world.attach(on("web", "web-net")).await.unwrap();
        assert_eq!(again.addresses, addresses);
        world.networks().detach(&world::id("web")).await.unwrap();
        world.networks().forget(&world::id("web")).await;
        let anew = world.attach(on("web", "web-net")).await.unwrap();
        assert_ne!(anew.addresses, addresses);
    });
}

#[test]
fn the_default_networks_are_there_and_stay_the_same() {
    World::run(async |world| {
        let before = world.networks().inspect("bridge").await.unwrap();
        assert_eq!(before.ipam.config.as_ref().unwrap()[0].subnet, "172.17.0.0/16");
        assert_eq!(before.ipam.config.as_ref().unwrap()[0].gateway, "172.17.0.1");
        assert_eq!(world.networks().inspect("none").await.unwrap().driver, "null");
        assert_eq!(world.networks().inspect("host").await.unwrap().driver, "host");
        world.create("mine", |_| {}).await.unwrap();
        world.stop_daemon().await;
        world.start_daemon().await;
        assert_eq!(world.networks().inspect("bridge").await.unwrap(), before);
        assert!(world.networks().inspect("mine").await.is_ok());
    });
}

#[test]
fn a_bad_request_is_refused_in_dockers_words_and_changes_nothing() {
    World::run(async |world| {
        let mine = world.create("mine", |_| {}).await.unwrap();
        let taken = mine.ipam.config.clone();
        let said = kind_and_text(world.create("mine", |_| {}).await);
        assert_eq!(said, (ErrorKind::Conflict, "network with name mine already exists".to_owned()));
        let said = kind_and_text(world.create("bridge", |_| {}).await);
        assert_eq!(
            said,
            (
                ErrorKind::Forbidden,
                "operation is not permitted on predefined bridge network ".to_owned()
            )
        );
        let overlapping = world.create("other", |request| {
            request.ipam = Some(types::network::Ipam { config: taken, ..Default::default() });
        });
        let overlaps = "Pool overlaps with other one on this address space".to_owned();
        assert_eq!(kind_and_text(overlapping.await), (ErrorKind::Forbidden, overlaps));
        let odd =
            world.create("odd", |request| request.ipam = Some(world::ipam("10.1.2.3/16", "")));
        let text = "invalid network config:\ninvalid subnet 10.1.2.3/16: it should be 10.1.0.0/16"
            .to_owned();
        assert_eq!(kind_and_text(odd.await), (ErrorKind::InvalidParameter, text));
        let (kind, _) =
            kind_and_text(world.create("x", |request| request.driver = "overlay".to_owned()).await);
        assert_eq!(kind, ErrorKind::Forbidden);
        let said = kind_and_text(world.networks().inspect("nowhere").await);
        assert_eq!(said, (ErrorKind::NotFound, "network nowhere not found".to_owned()));
        let said = kind_and_text(world.attach(on("web", "nowhere")).await);
        let text = "failed to set up container networking: network nowhere not found".to_owned();
        assert_eq!(said, (ErrorKind::NotFound, text));
        let wish = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: "172.17.0.9".to_owned(),
                ..Default::default()
            }),
            ..EndpointSettings::default()
        };
        let (_, text) = kind_and_text(world.attach(container("web", &[("bridge", wish)])).await);
        assert!(text.ends_with("invalid endpoint settings:\nuser specified IP address is supported on user defined networks only"), "{text}");
        let names = world.names().await;
        assert_eq!(names, ["bridge", "host", "mine", "none"]);
    });
}

#[test]
fn a_network_in_use_is_not_removed() {
    World::run(async |world| {
        world.create("mine", |_| {}).await.unwrap();
        world.attach(on("web", "mine")).await.unwrap();
        let (kind, text) = kind_and_text(world.networks().remove("mine").await);
        assert_eq!(kind, ErrorKind::Forbidden);
        assert!(text.starts_with("error while removing network: network mine id "), "{text}");
        assert!(text.contains(" has active endpoints (name:\"web\" id:\""), "{text}");
        let (kind, text) = kind_and_text(world.networks().remove("bridge").await);
        assert_eq!(
            (kind, text.as_str()),
            (ErrorKind::Forbidden, "bridge is a pre-defined network and cannot be removed")
        );
        world.networks().detach(&world::id("web")).await.unwrap();
        world.networks().remove("mine").await.unwrap();
        assert!(!world.links().contains("mine"));
    });
}

#[test]
fn a_running_container_joins_and_leaves_a_network() {
    World::run(async |world| {
        world.create("front", |_| {}).await.unwrap();
        world.create("back", |_| {}).await.unwrap();
        let web = world.attach(on("web", "front")).await.unwrap();
        let db = world.attach(on("db", "back")).await.unwrap();
        let settings = world.connect("web", "back", with_alias("www")).await.unwrap();
        assert!(world.ip(&web.netns, &["addr", "show", "eth1"]).contains(&settings.ip_address));
        assert_eq!(addresses(&[&settings.ip_address]), ask_udp(&db.netns, "www").await);
        assert_eq!(ask_udp(&web.netns, "db").await, db.addresses);
        let (kind, text) = kind_and_text(world.connect("web", "back", with_alias("www")).await);
        assert_eq!(
            (kind, text.as_str()),
            (ErrorKind::Forbidden, "endpoint with name web already exists in network back")
        );
        world.disconnect("web", "back").await.unwrap();
        assert!(!world.ip(&web.netns, &["-o", "link"]).contains("eth1"));
        let nobody: &ContainerId = &world::id("nobody");
        assert!(world.networks().detach(nobody).await.is_ok());
    });
}

#[test]
fn ipv6_reaches_ports_of_ipv4_networks_after_a_restart_and_where_the_container_goes() {
    World::run(async |world| {
        world.create("web-net", |_| {}).await.unwrap();
        world.create("other-net", |_| {}).await.unwrap();
        let mut joining = on("web", "web-net");
        joining.publish("80/tcp", 0);
        joining.publish("53/udp", 0);
        let web = world.attach(joining).await.unwrap();
        world.greeter(&web.netns, 80);
        world.echo(&web.netns, 53);
        let host_port = |key: &str| -> u16 {
            let bindings = web.settings.ports[key].clone().unwrap();
            assert_eq!(
                bindings.iter().map(|it| it.host_ip.as_str()).collect::<Vec<_>>(),
                ["0.0.0.0", "::"]
            );
            assert_eq!(bindings[0].host_port, bindings[1].host_port);
            bindings[0].host_port.parse().unwrap()
        };
        let (tcp, udp) = (host_port("80/tcp"), host_port("53/udp"));
        assert_eq!(world::greeting(tcp).await, "hello");
        assert_eq!(world::echoed(udp).await, "ping");

        world.stop_daemon().await;
        world.start_daemon().await;
        let names = world.networks().relayed(&world::id("web"));
        assert_eq!(names.len(), 2);
        let kept = web.keep.iter().filter(|(name, _)| names.contains(name));
        let kept: Vec<_> =
            kept.map(|(name, socket)| (name.clone(), socket.try_clone().unwrap())).collect();
        world.networks().adopt(&world::id("web"), None, &kept).await.unwrap();
        world.networks().settle().await.unwrap();
        assert_eq!(world::greeting(tcp).await, "hello");
        assert_eq!(world::echoed(udp).await, "ping");

        world.connect("web", "other-net", EndpointSettings::default()).await.unwrap();
        world.disconnect("web", "web-net").await.unwrap();
        assert_eq!(world::greeting(tcp).await, "hello");
        world.networks().detach(&world::id("web")).await.unwrap();
        drop((kept, web));
        assert!(world::is_refused(tcp).await, "the port is still open");
    });
}
