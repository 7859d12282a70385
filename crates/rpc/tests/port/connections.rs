//! Connections that are lost, refused and made again; messages of any size.

use crate::fixture::{Cluster, addr, soon, tls};
use bytes::Bytes;
use rpc::{Client, Code, Server};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use types::swarm::node::Role;
use types::swarm::session::{AgentMessage, ManagerMessage, TaskReport};
use types::swarm::task::TaskStatus;
use types::{NodeId, TaskId};

/// A wire that can be cut: forwards one connection after another until then.
async fn wire(to: String) -> (String, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (cut, is_cut) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let forward = async {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let mut far = TcpStream::connect(&to).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            }
        };
        tokio::select! { () = forward => {}, _ = is_cut => {} }
    });
    (addr, cut)
}

fn report(size: usize) -> TaskReport {
    let status = TaskStatus { message: "x".repeat(size), ..TaskStatus::default() };
    TaskReport { task: TaskId::new("t1"), status }
}

#[tokio::test]
async fn a_session_whose_wire_is_cut_ends_at_both_ends() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let (through, cut) = wire(addr(&manager)).await;
    let client = cluster.client("w1", Role::Worker);
    let (say, mut hear) = soon(client.session(&through, None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    cut.send(()).unwrap();
    assert_eq!(soon(hear.recv()).await, None);
    soon(say.closed()).await;
}

#[tokio::test]
async fn either_end_may_end_a_session() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let client = cluster.client("w1", Role::Worker);

    // The dispatcher, told to by a heartbeat.
    let (say, mut hear) = soon(client.session(&addr(&manager), None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    say.send(AgentMessage::Heartbeat).await.unwrap();
    assert_eq!(soon(hear.recv()).await, None);
    soon(say.closed()).await;

    // The agent, by dropping its side: the dispatcher's task ends and takes the answers with it.
    let (say, mut hear) = soon(client.session(&addr(&manager), None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    drop(say);
    assert_eq!(soon(hear.recv()).await, None);
}

#[tokio::test]
async fn messages_of_many_megabytes_pass() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let client = cluster.client("m2", Role::Manager);
    let (say, mut hear) = soon(client.session(&addr(&manager), None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    let statuses = vec![report(16 << 20), report(3)];
    soon(say.send(AgentMessage::Statuses(statuses.clone()))).await.unwrap();
    assert!(soon(hear.recv()).await == Some(ManagerMessage::Written(statuses)), "all of it");

    let request = Bytes::from_iter((0..20u32 << 20).map(|at| (at % 251) as u8));
    let to = addr(&manager);
    let answer = soon(client.consensus(&to, &NodeId::new("m1"), request.clone())).await.unwrap();
    assert!(answer.iter().eq(request.iter().rev()), "all of it");
    let none = soon(client.consensus(&to, &NodeId::new("m1"), Bytes::new())).await.unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let cluster = Cluster::new("c1");
    let m1 = NodeId::new("m1");
    let manager = cluster.manager().await;
    let at = manager.addr();
    let client = cluster.client("m2", Role::Manager);
    let call = async || client.consensus(&at.to_string(), &m1, Bytes::from("ab")).await;
    assert_eq!(soon(call()).await.unwrap(), "ba");

    soon(manager.stop()).await;
    let err = soon(call()).await.unwrap_err();
    assert_eq!(err.code, Code::Unavailable);
    // While it rests, calls fail as the attempt did.
    assert!(soon(call()).await.unwrap_err().message.contains(&at.to_string()));

    let listener = TcpListener::bind(at).await.unwrap();
    let credentials = cluster.credentials("m1", Role::Manager);
    let _manager = Server::start(listener, tls(&credentials), cluster.services()).unwrap();
    let answered = async {
        let mut retry = tokio::time::interval(Duration::from_millis(20));
        loop {
            retry.tick().await;
            if let Ok(answer) = call().await {
                return answer;
            }
        }
    };
    assert_eq!(soon(answered).await, "ba");
}

#[tokio::test]
async fn what_speaks_no_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
        std::future::pending::<()>().await;
    });
    let err = soon(rpc::fetch_root(&at, ca::Credentials::stranger().unverified_config())).await;
    let err = err.unwrap_err().to_string();
    assert!(err.contains("does not speak TLS: is it the cluster's port?"), "{err}");
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_spoil_the_dialling_for_the_next() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let client = cluster.client("m2", Role::Manager);
    let (to, m1) = (addr(&manager), NodeId::new("m1"));
    // Polled once: the attempt has begun, the caller is gone.
    let gives_up = client.consensus(&to, &m1, Bytes::from("ab"));
    assert!(futures_util::FutureExt::now_or_never(gives_up).is_none());
    assert_eq!(soon(client.consensus(&to, &m1, Bytes::from("ab"))).await.unwrap(), "ba");
}

#[tokio::test]
async fn a_client_that_stops_leaves_nothing_open() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let client: Client = cluster.client("w1", Role::Worker);
    let (say, mut hear) = soon(client.session(&addr(&manager), None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    soon(client.stop()).await;
    assert_eq!(soon(hear.recv()).await, None);
    soon(say.closed()).await;
    assert!(soon(client.session(&addr(&manager), None)).await.is_err());
}
