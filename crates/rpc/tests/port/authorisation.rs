//! Who may call what.

use crate::fixture::{Cluster, addr, soon, tls};
use bytes::Bytes;
use rpc::{Client, Code, Services};
use types::NodeId;
use types::swarm::node::Role;

#[tokio::test]
async fn consensus_and_membership_are_for_managers() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let (to, m1) = (addr(&manager), NodeId::new("m1"));

    let worker = cluster.client("w1", Role::Worker);
    let err = soon(worker.consensus(&to, &m1, Bytes::from("x"))).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "rpc error: code = PermissionDenied desc = Permission denied: only managers may call this, node w1 is a worker"
    );
    assert_eq!(soon(worker.join(&to, None, "a:1")).await.unwrap_err().code, Code::PermissionDenied);
    assert_eq!(soon(worker.leave(&to, None)).await.unwrap_err().code, Code::PermissionDenied);

    let other = cluster.client("m2", Role::Manager);
    assert_eq!(soon(other.consensus(&to, &m1, Bytes::from("abc"))).await.unwrap(), "cba");
    let members = soon(other.join(&to, Some(&m1), "10.0.0.2:2377")).await.unwrap();
    assert_eq!((members[0].node.as_str(), members[0].addr.as_str()), ("m2", "10.0.0.2:2377"));
    let err = soon(other.leave(&to, Some(&m1))).await.unwrap_err();
    assert_eq!(
        (err.code, err.message.as_str()),
        (Code::FailedPrecondition, "m2 is the last manager")
    );
}

#[tokio::test]
async fn without_a_certificate_only_trust_answers() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let nobody = Client::new(tls(&cluster.joining(&cluster.record().root.certificate)));
    let err = soon(nobody.session(&addr(&manager), None)).await.unwrap_err();
    assert_eq!(err.code, Code::Unauthenticated);
    let err = soon(nobody.consensus(&addr(&manager), &NodeId::new("m1"), Bytes::new())).await;
    assert_eq!(err.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_node_whose_role_changes_keeps_its_listener() {
    let cluster = Cluster::new("c1");
    let credentials = cluster.credentials("n1", Role::Worker);
    let node = cluster.manager_with(&credentials).await;
    node.set_services(Services { http: cluster.services().http, ..Services::default() });
    let (to, n1) = (addr(&node), NodeId::new("n1"));

    let caller = cluster.client("m1", Role::Manager);
    let err = soon(caller.consensus(&to, &n1, Bytes::from("ab"))).await.unwrap_err();
    assert_eq!(
        (err.code, err.message.as_str()),
        (Code::Unimplemented, "this node is not a manager")
    );
    // Nor does anyone take it for a manager.
    let err = soon(caller.leave(&to, None)).await.unwrap_err().to_string();
    assert!(err.contains("is not a manager: its certificate is for swarm-worker, n1"), "{err}");

    node.set_services(cluster.services());
    credentials.set(&cluster.identity("n1", Role::Manager)).unwrap();
    assert_eq!(soon(caller.consensus(&to, &n1, Bytes::from("ab"))).await.unwrap(), "ba");
    caller.renew();
    assert_eq!(soon(caller.join(&to, None, "a:1")).await.unwrap()[0].node.as_str(), "m1");
}
