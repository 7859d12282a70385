//! What keeps a network of the cluster known on a node.

use super::world::World;
use types::network::{CreateRequest, Network};
use types::swarm::network::ClusterNetwork;
use types::{NetworkId, TaskId};

fn red(id: &str) -> ClusterNetwork {
    ClusterNetwork {
        id: NetworkId::new(id),
        spec: CreateRequest { name: "red".to_owned(), ..CreateRequest::default() },
        subnet: "10.0.1.0/24".to_owned(),
        gateway: "10.0.1.1".to_owned(),
        ..ClusterNetwork::default()
    }
}

fn ids(networks: &[Network]) -> Vec<&str> {
    networks.iter().map(|network| network.id.as_str()).collect()
}

#[test]
fn a_network_of_the_cluster_stays_while_a_task_has_it_or_a_place_is_asked_for() {
    World::run(async |world| {
        let networks = world.networks();
        let place = TaskId::new("place");
        networks.ensure_cluster(&red("one"), Some(&place)).await.unwrap();
        assert!(networks.sweep_cluster().await.unwrap().is_empty());
        networks.let_go(&place).await;
        assert_eq!(ids(&networks.sweep_cluster().await.unwrap()), ["one"]);
        assert!(networks.inspect("red").await.is_err());

        networks.assign_cluster([NetworkId::new("one")].into());
        networks.ensure_cluster(&red("one"), None).await.unwrap();
        assert!(networks.sweep_cluster().await.unwrap().is_empty());
        // One that is known already is held just so.
        networks.ensure_cluster(&red("one"), Some(&place)).await.unwrap();
        networks.assign_cluster([].into());
        assert!(networks.sweep_cluster().await.unwrap().is_empty());
        networks.let_go(&place).await;
        assert_eq!(ids(&networks.sweep_cluster().await.unwrap()), ["one"]);
        assert!(networks.sweep_cluster().await.unwrap().is_empty());
    });
}

/// Removed and made again on managers: what this node still knows of the first gives way.
#[test]
fn a_networks_name_is_the_newer_ones() {
    World::run(async |world| {
        let networks = world.networks();
        networks.ensure_cluster(&red("one"), None).await.unwrap();
        let elsewhere = ClusterNetwork {
            subnet: "10.0.2.0/24".to_owned(),
            gateway: "10.0.2.1".to_owned(),
            ..red("two")
        };
        networks.ensure_cluster(&elsewhere, None).await.unwrap();
        assert_eq!(networks.inspect("red").await.unwrap().id.as_str(), "two");
        assert!(networks.inspect("one").await.is_err());
    });
}
