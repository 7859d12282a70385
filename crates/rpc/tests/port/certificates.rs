//! Certificates that do not count: expired, not yet valid, of another cluster, of another node.

use crate::fixture::{Cluster, DAY, TestClock, addr, obtain, soon, tls};
use bytes::Bytes;
use ca::Credentials;
use rpc::{Client, Code, Tls};
use std::sync::Arc;
use types::swarm::node::Role;
use types::{ClusterId, NodeId};

#[tokio::test]
async fn an_expired_node_is_told_so_and_joins_again_with_a_token_under_its_old_id() {
    let cluster = Cluster::new("c1");
    let expired = Client::new(tls(&cluster.credentials("w7", Role::Worker)));
    cluster.clock.forward(100 * DAY);
    let manager = cluster.manager().await;
    let to = addr(&manager);

    let err = soon(expired.session(&to, None)).await.unwrap_err();
    assert_eq!(err.code, Code::Unauthenticated);
    assert!(err.message.contains("the certificate of node w7 expired at 2027-"), "{err}");
    assert!(err.message.contains("join again with a token"), "{err}");

    let err = soon(obtain(&expired, &to, None)).await.unwrap_err();
    assert!(err.message.contains("the certificate of node w7 expired"), "{err}");
    let err = soon(obtain(&expired, &to, Some("SWMTKN-1-x-y"))).await.unwrap_err();
    assert!(err.message.contains("A valid join token is necessary"), "{err}");

    let token = cluster.record().worker_token;
    let identity = soon(obtain(&expired, &to, Some(&token))).await.unwrap();
    assert_eq!(identity.peer().node.as_str(), "w7");
    let again = Client::new(tls(&cluster.holding(&identity)));
    soon(again.session(&to, None)).await.unwrap();
}

#[tokio::test]
async fn a_current_node_renews_without_a_token() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let node = cluster.client("w1", Role::Worker);
    let identity = soon(obtain(&node, &addr(&manager), None)).await.unwrap();
    assert_eq!(identity.peer().node.as_str(), "w1");
}

#[tokio::test]
async fn a_manager_whose_certificate_expired_is_not_believed() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    cluster.clock.forward(100 * DAY);
    let node = cluster.client("w1", Role::Worker);
    let err = soon(node.session(&addr(&manager), None)).await.unwrap_err();
    assert_eq!(err.code, Code::Unavailable);
    assert!(err.message.contains("the certificate of 127.0.0.1:"), "{err}");
    assert!(err.message.contains(" expired at 2027-04-"), "{err}");
    assert!(err.message.contains("the clock here says 2027-04-"), "{err}");
}

#[tokio::test]
async fn a_clock_that_is_a_day_slow_is_named_on_either_side() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let slow = TestClock::new();
    slow.back(DAY);

    // The caller's clock.
    let identity = cluster.identity("w1", Role::Worker);
    let behind = slow.clone();
    let credentials =
        Credentials::new(&identity).unwrap().with_clock(Arc::new(move || behind.now()));
    let err =
        soon(Client::new(tls(&credentials)).session(&addr(&manager), None)).await.unwrap_err();
    assert!(err.message.contains("one of the clocks is wrong"), "{err}");

    // The manager's: it answers, as its own certificate counts for the caller.
    let behind = slow.clone();
    let credentials = Credentials::new(&cluster.identity("m2", Role::Manager))
        .unwrap()
        .with_clock(Arc::new(move || behind.now()));
    let manager = cluster.manager_with(&credentials).await;
    let node = cluster.client("w1", Role::Worker);
    let err = soon(node.session(&addr(&manager), None)).await.unwrap_err();
    assert_eq!(err.code, Code::Unauthenticated);
    assert!(err.message.contains("the certificate of node w1 is not valid before"), "{err}");
    assert!(err.message.contains("one of the clocks is wrong"), "{err}");
}

#[tokio::test]
async fn a_certificate_of_the_root_for_another_cluster_is_refused_with_a_reason() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let other = Cluster { id: ClusterId::new("c2"), ..cluster.clone() };
    let foreign = Client::new(Tls {
        identify: tls(&cluster.credentials("x", Role::Worker)).identify,
        ..tls(&other.credentials("w1", Role::Worker))
    });
    let to = addr(&manager);
    for err in [
        soon(foreign.session(&to, None)).await.unwrap_err(),
        soon(obtain(&foreign, &to, None)).await.unwrap_err(),
    ] {
        assert_eq!(err.code, Code::Unauthenticated);
        assert_eq!(err.message, "certificate: it is of cluster c2, this is c1");
    }
}

#[tokio::test]
async fn a_peer_with_a_foreign_certificate_is_told_by_an_alert() {
    let (cluster, other) = (Cluster::new("c1"), Cluster::new("c1"));
    let manager = cluster.manager().await;
    let foreign = other.identity("w1", Role::Worker);
    let foreign = foreign.with_roots(&cluster.record().root.certificate).unwrap();
    let client = Client::new(tls(&cluster.holding(&foreign)));
    let err = soon(client.consensus(&addr(&manager), &NodeId::new("m1"), Bytes::from("x")))
        .await
        .unwrap_err();
    assert_eq!(err.code, Code::Unavailable);
    assert!(err.message.contains("refused this node's certificate"), "{err}");
    assert!(err.message.contains("not signed by a root that is trusted there"), "{err}");
}

#[tokio::test]
async fn another_node_at_the_address_is_not_taken_for_the_one_that_was_meant() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let node = cluster.client("m2", Role::Manager);
    let err = soon(node.consensus(&addr(&manager), &NodeId::new("m9"), Bytes::new())).await;
    let err = err.unwrap_err().to_string();
    assert!(err.contains("is not node m9: its certificate is for swarm-manager, m1"), "{err}");
    let err =
        soon(node.http_connect(&addr(&manager), Some(&NodeId::new("m9")))).await.err().unwrap();
    assert!(err.to_string().contains("is not node m9"), "{err}");
}
