//! Certificates: who gets one, and as what.

use crate::world::World;
use rpc::{Code, Peer};
use store::{Change, Kind};
use types::swarm::cluster::Cluster;
use types::swarm::node::Role;

fn cluster(world: &World) -> Cluster {
    Cluster::clone(world.state().clusters().iter().next().unwrap())
}

fn record(world: &World) -> types::swarm::extension::ClusterRecord {
    cluster(world).record.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_decides_the_role_and_a_wrong_one_is_refused() {
    let world = World::new().await;
    let worker = world.issue(None, Some(&record(&world).worker_token)).await.unwrap();
    let manager = world.issue(None, Some(&record(&world).manager_token)).await.unwrap();
    assert_eq!((worker.role, manager.role), (Role::Worker, Role::Manager));
    let before = world.state().nodes().len();
    let mut wrong = record(&world).worker_token;
    wrong.pop();
    let refused = world.issue(None, Some(&wrong)).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
    );
    assert_eq!(world.state().nodes().len(), before);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_certificate_renews_itself_until_its_node_is_removed() {
    let mut world = World::new().await;
    let node = world.join(Role::Worker).await;
    let peer = Peer { identity: world.peer(&node, Role::Worker), lapsed: None };
    assert_eq!(world.issue(Some(peer.clone()), None).await.unwrap().role, Role::Worker);
    world.change_node(&node, |row| row.spec.role = Role::Manager).await;
    assert_eq!(world.issue(Some(peer.clone()), None).await.unwrap().role, Role::Manager);
    world.remove(Kind::Node, node.as_str()).await;
    assert_eq!(world.issue(Some(peer), None).await.unwrap_err().code, Code::PermissionDenied);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_node_comes_back_with_its_id_and_a_token() {
    let mut world = World::new().await;
    let node = world.join(Role::Worker).await;
    let lapsed = Some("expired".to_owned());
    let peer = Peer { identity: world.peer(&node, Role::Worker), lapsed };
    assert!(world.issue(Some(peer.clone()), None).await.is_err());
    let token = record(&world).worker_token;
    assert_eq!(world.issue(Some(peer), Some(&token)).await.unwrap().node, node);
    world.check();
}

#[tokio::test(start_paused = true)]
async fn a_root_rotation_is_over_when_every_node_has_renewed() {
    let mut world = World::new().await;
    let node = world.join(Role::Worker).await;
    let old = record(&world);
    let next = ca::rotation::begin(&old, world.clock.now()).unwrap();
    let mut row = cluster(&world);
    row.record = Some(next);
    row.root_rotation_in_progress = true;
    world.write(vec![Change::Update(row.into())]).await.unwrap();
    for (node, role) in [(world.first.clone(), Role::Manager), (node, Role::Worker)] {
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        assert!(cluster(&world).root_rotation_in_progress);
        let peer = Peer { identity: world.peer(&node, role), lapsed: None };
        world.issue(Some(peer), None).await.unwrap();
    }
    world.eventually("it is over", |world| !cluster(world).root_rotation_in_progress).await;
    let new = record(&world);
    assert_ne!(new.root.certificate, old.root.certificate);
    assert!(new.next_root.is_none());
    assert_ne!(new.worker_token, old.worker_token);
    world.check();
}
