//! Tasks on the cluster's networks, as far as one node goes.

use crate::world::{assign, gone, service, shell, task, until, with_world};
use std::net::Ipv4Addr;
use std::sync::Arc;
use types::network::CreateRequest;
use types::subnet::Subnet;
use types::swarm::endpoint::{
    EndpointRow, EndpointState, EndpointTable, NetworkRow, ServiceRow, Vip,
};
use types::swarm::network::ClusterNetwork;
use types::swarm::service::PortConfig;
use types::swarm::session::Assigned;
use types::swarm::task::{ContainerSpec, NetworkAttachment, Task, TaskState};
use types::{NetworkId, NodeId, ServiceId, TaskId};

fn network() -> Assigned {
    let spec = CreateRequest {
        name: "back".to_owned(),
        driver: "overlay".to_owned(),
        ..CreateRequest::default()
    };
    Assigned::Network(Arc::new(ClusterNetwork {
        id: NetworkId::new("qk5j2l0mnetwork1"),
        spec,
        subnet: "10.0.7.0/24".to_owned(),
        gateway: "10.0.7.1".to_owned(),
        ..ClusterNetwork::default()
    }))
}

fn attached(id: &str, address: &str, spec: ContainerSpec) -> Task {
    let attachment = NetworkAttachment {
        network: "qk5j2l0mnetwork1".to_owned(),
        addresses: vec![format!("{address}/24")],
        aliases: Vec::new(),
    };
    Task { networks_attachments: vec![attachment], ..task(id, spec) }
}

/// What managers say of two running tasks of `web`, which publishes 8080 by the network: `n1` is this node.
fn table(version: u64, tasks: &[(&str, &str)]) -> EndpointTable {
    let network = NetworkId::new("qk5j2l0mnetwork1");
    let port = PortConfig {
        protocol: "tcp".to_owned(),
        target_port: 80,
        published_port: 8080,
        publish_mode: "ingress".to_owned(),
        ..PortConfig::default()
    };
    let service = ServiceRow {
        id: ServiceId::new("service1"),
        name: "web".to_owned(),
        vips: vec![Vip { network: network.clone(), address: Ipv4Addr::new(10, 0, 7, 2) }],
        ports: vec![port],
        check: None,
    };
    let row = |(task, address): &(&str, &str)| EndpointRow {
        task: TaskId::new(*task),
        network: network.clone(),
        node: NodeId::new("node1"),
        address: address.parse().unwrap(),
        state: EndpointState::Healthy,
        weight: 1,
        service: Some(service.id.clone()),
        slot: 1,
        name: format!("web.1.{task}"),
        aliases: Vec::new(),
    };
    let row_of_network = NetworkRow {
        id: network.clone(),
        name: "back".to_owned(),
        subnet: Subnet::new(Ipv4Addr::new(10, 0, 7, 0), 24),
        gateway: Ipv4Addr::new(10, 0, 7, 1),
        six: None,
        mode: Default::default(),
        internal: false,
        ingress: false,
        policy: Vec::new(),
        blocks: Vec::new(),
    };
    EndpointTable {
        version,
        networks: vec![row_of_network].into(),
        peers: Default::default(),
        services: vec![service.clone()].into(),
        endpoints: tasks.iter().map(row).collect(),
        ..EndpointTable::default()
    }
}

fn web(name: &str) -> ContainerSpec {
    shell(&format!("mkdir /www; echo {name} > /www/index.html; exec httpd -f -p 80 -h /www"))
}

#[test]
fn tasks_of_one_network_reach_each_other_as_the_endpoint_table_says() {
    with_world(|world| async move {
        let agent = world.agent().await;
        let before = table(7, &[("t1", "10.0.7.5"), ("t2", "10.0.7.6")]);
        world.manager.endpoints(&before).await;
        world
            .manager
            .put(vec![
                service(),
                assign(attached("t1", "10.0.7.5", web("one"))),
                assign(attached("t2", "10.0.7.6", web("two"))),
                network(),
            ])
            .await;
        world.manager.reaches("t1", TaskState::Running).await;
        world.manager.reaches("t2", TaskState::Running).await;
        let networks = world.engine().container_inspect("web.1.t1", false).await.unwrap();
        let endpoint = &networks.network_settings.networks["back"];
        assert_eq!(endpoint.ip_address, "10.0.7.5");
        assert_eq!(endpoint.network_id, "qk5j2l0mnetwork1");
        let reached =
            world.exec("web.1.t1", "ping -c 1 -W 30 10.0.7.6 >/dev/null && echo yes").await;
        assert_eq!(reached, "yes");
        let found = world.exec("web.1.t1", "nslookup web. 127.0.0.11").await;
        assert!(found.contains("10.0.7.2"), "{found}");
        let found = world.exec("web.1.t1", "nslookup tasks.web. 127.0.0.11").await;
        assert!(found.contains("10.0.7.5") && found.contains("10.0.7.6"), "{found}");
        until("the table is acknowledged", async || world.manager.applied() == Some(7)).await;
        let address = published_address(&world).await;
        until("an answer", async || !http(&address).await.is_empty()).await;
        let mut after = table(8, &[("t1", "10.0.7.5"), ("t2", "10.0.7.6")]);
        after.endpoints[0].state = EndpointState::Draining;
        world.manager.endpoints(&after).await;
        until("that is acknowledged", async || world.manager.applied() == Some(8)).await;
        assert_eq!(http(&address).await, "two");
        world.manager.change(Vec::new(), vec![gone("t1"), gone("t2")]).await;
        until("all are gone", async || world.containers().await.is_empty()).await;
        agent.leave().await.unwrap();
        let left = world.engine().network_list(engine::Filters::default()).await.unwrap();
        assert!(!left.iter().any(|network| network.name == "back"));
        assert_eq!(world.left_behind(), [""; 0]);
    });
}

/// An address of the host's that containers are published at: the default bridge's.
async fn published_address(world: &crate::world::World) -> String {
    let bridge = world.engine().network_inspect("bridge", "").await.unwrap();
    let gateway = bridge.ipam.config.unwrap()[0].gateway.clone();
    format!("{gateway}:8080")
}

/// The page at `address`, or nothing: what was sent to a container that just went is never answered.
async fn http(address: &str) -> String {
    let patience = std::time::Duration::from_secs(5);
    tokio::time::timeout(patience, fetch(address)).await.unwrap_or_default()
}

async fn fetch(address: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
        return String::new();
    };
    let mut text = String::new();
    let _broken = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
    let _broken = stream.read_to_string(&mut text).await;
    text.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()
}
