//! From a token to a session.

use crate::fixture::{Cluster, addr, obtain, soon, tls};
use ca::{Credentials, JoinToken};
use rpc::Client;
use types::swarm::node::Role;
use types::swarm::session::ManagerMessage;

#[tokio::test]
async fn a_node_joins_with_nothing_but_an_address_and_a_token() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let token = JoinToken::parse(&cluster.record().worker_token).unwrap();

    let stranger = Credentials::stranger();
    let roots = soon(rpc::fetch_root(&addr(&manager), stranger.unverified_config())).await.unwrap();
    let root = token.check_root(&roots).unwrap();

    let joining = Client::new(tls(&cluster.joining(&root)));
    let identity = soon(obtain(&joining, &addr(&manager), Some(token.as_str()))).await.unwrap();
    assert_eq!(identity.peer().role, Role::Worker);
    assert_eq!(identity.peer().cluster.as_str(), "c1");

    let node = Client::new(tls(&cluster.holding(&identity)));
    let (_to, mut from) = soon(node.session(&addr(&manager), None)).await.unwrap();
    let Some(ManagerMessage::Settings(settings)) = soon(from.recv()).await else {
        panic!("no settings")
    };
    assert_eq!(settings.signing_root, "new-node", "the dispatcher knows who it is");
    soon(manager.stop()).await;
}

#[tokio::test]
async fn the_managers_token_makes_a_manager() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let joining = Client::new(tls(&cluster.joining(&cluster.record().root.certificate)));
    let token = cluster.record().manager_token;
    let identity = soon(obtain(&joining, &addr(&manager), Some(&token))).await.unwrap();
    assert_eq!(identity.peer().role, Role::Manager);
}

#[tokio::test]
async fn a_wrong_token_is_refused_in_dockers_words() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let joining = Client::new(tls(&cluster.joining(&cluster.record().root.certificate)));
    let token = JoinToken::parse(&cluster.record().worker_token).unwrap();
    let wrong = JoinToken::new(token.digest(), [0; 16]);
    for token in [Some(wrong.as_str()), Some(""), None] {
        let err = soon(obtain(&joining, &addr(&manager), token)).await.unwrap_err();
        assert_eq!(
            err.to_string(),
            "rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster"
        );
    }
}

#[tokio::test]
async fn a_token_of_another_cluster_does_not_vouch_for_this_one() {
    let (cluster, other) = (Cluster::new("c1"), Cluster::new("c2"));
    let manager = cluster.manager().await;
    let token = JoinToken::parse(&other.record().worker_token).unwrap();
    let stranger = Credentials::stranger();
    let roots = soon(rpc::fetch_root(&addr(&manager), stranger.unverified_config())).await.unwrap();
    let err = token.check_root(&roots).unwrap_err().to_string();
    assert_eq!(
        err,
        format!("remote CA does not match fingerprint. Expected: {}", token.digest().hex())
    );
}

#[tokio::test]
async fn whoever_trusts_another_root_gets_no_further_than_the_handshake() {
    let (cluster, other) = (Cluster::new("c1"), Cluster::new("c2"));
    let manager = cluster.manager().await;
    let joining = Client::new(tls(&cluster.joining(&other.record().root.certificate)));
    let err = soon(obtain(&joining, &addr(&manager), Some("x"))).await.unwrap_err();
    let text = err.to_string();
    assert!(text.contains("is of another cluster: its certificate was not signed"), "{text}");
}

#[test]
fn a_request_does_not_print_its_token() {
    let token = Some("SWMTKN-1-secret".to_owned());
    let request = rpc::IssueRequest { token, ..rpc::IssueRequest::default() };
    let text = format!("{request:?}");
    assert!(text.contains("token") && !text.contains("SWMTKN"), "{text}");
}
