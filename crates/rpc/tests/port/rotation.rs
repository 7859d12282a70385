//! From one root to the next while connections live.

use crate::fixture::{Cluster, addr, obtain, soon, tls};
use ca::{Credentials, Digest, Identity, rotation};
use rpc::{Client, Code};
use types::NodeId;
use types::swarm::extension::NodeRecord;
use types::swarm::node::{Node, Role};
use types::swarm::session::{AgentMessage, ManagerMessage};

fn node(id: &str, root: &str) -> Node {
    Node {
        id: NodeId::new(id),
        record: Some(NodeRecord { certificate_root: root.to_owned(), ..NodeRecord::default() }),
        ..Node::default()
    }
}

async fn reaches(client: &Client, addr: &str) -> bool {
    soon(client.session(addr, None)).await.is_ok()
}

#[tokio::test]
async fn the_root_changes_under_living_connections() {
    let cluster = Cluster::new("c1");
    let manager_credentials = cluster.credentials("m1", Role::Manager);
    let manager = cluster.manager_with(&manager_credentials).await;
    let to = addr(&manager);
    let before = cluster.identity("w1", Role::Worker);
    let credentials = cluster.holding(&before);
    let worker = Client::new(tls(&credentials));
    let (say, mut hear) = soon(worker.session(&to, None)).await.unwrap();
    soon(hear.recv()).await.unwrap();

    // The rotation begins; the worker trusts only the old root yet.
    let old = Digest::of_pem(&cluster.record().root.certificate).unwrap();
    let begun = rotation::begin(&cluster.record(), cluster.clock.now()).unwrap();
    *cluster.record.lock().unwrap() = begun.clone();
    let new = rotation::signing_root(&begun).unwrap();
    assert_ne!(old, new);
    let nodes = [node("m1", &old.to_string()), node("w1", &old.to_string())];
    assert_eq!(rotation::behind(&begun, &nodes).unwrap().len(), 2);

    // The manager first: its certificate is the new root's, and whoever knows only the old one believes it.
    manager_credentials.set(&cluster.identity("m1", Role::Manager)).unwrap();
    let old_only = Client::new(tls(&cluster.holding(&before)));
    assert!(reaches(&old_only, &to).await, "an old node reaches a new manager");

    // A node that joins meanwhile, with the token that names the old root.
    let joining = Client::new(tls(&cluster.joining(&begun.root.certificate)));
    let joined = soon(obtain(&joining, &to, Some(&begun.worker_token))).await.unwrap();
    assert!(joined.signed_by(&new.to_string()) && !joined.signed_by(&old.to_string()));
    assert!(reaches(&Client::new(tls(&cluster.holding(&joined))), &to).await);

    // The worker renews over the connection it has; new certificate and both roots, no reconnect.
    let after = soon(obtain(&worker, &to, None)).await.unwrap();
    assert!(before.signed_by(&old.to_string()) && after.signed_by(&new.to_string()));
    credentials.set(&after).unwrap();
    let nodes = [node("m1", &new.to_string()), node("w1", &new.to_string())];
    assert!(rotation::behind(&begun, &nodes).unwrap().is_empty());

    // The end: one root, new tokens.
    let finished = rotation::finish(&begun).unwrap();
    *cluster.record.lock().unwrap() = finished.clone();
    assert_ne!(finished.worker_token, begun.worker_token);
    let only_new = finished.root.certificate.clone();
    let settle = |credentials: &Credentials, identity: &Identity| {
        credentials.set(&identity.with_roots(&only_new).unwrap()).unwrap();
    };
    settle(&credentials, &after);
    settle(&manager_credentials, &cluster.identity("m1", Role::Manager));

    // The session of the beginning is still there, and new ones open.
    say.send(AgentMessage::Statuses(Vec::new())).await.unwrap();
    assert_eq!(soon(hear.recv()).await, Some(ManagerMessage::Written(Vec::new())));
    worker.renew();
    assert!(reaches(&worker, &to).await);

    // Who slept through it is not believed any more.
    let slept = before.with_roots(&format!("{}{only_new}", begun.root.certificate)).unwrap();
    let err =
        soon(Client::new(tls(&cluster.holding(&slept))).session(&to, None)).await.unwrap_err();
    assert_eq!(err.code, Code::Unavailable);
    assert!(err.message.contains("refused this node's certificate"), "{err}");
}
