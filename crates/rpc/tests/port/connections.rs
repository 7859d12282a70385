//! Connections that are lost, refused and made again; messages of any size.

use crate::fixture::{Cluster, addr, soon};
use bytes::Bytes;
use rpc::{Client, Code};
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use types::swarm::node::Role;
use types::swarm::session::{AgentMessage, ManagerMessage, TaskReport};
use types::swarm::task::TaskStatus;
use types::{NodeId, TaskId};

/// A wire to an address that can be changed: a new connection goes where it leads by then, or nowhere.
struct Wire {
    addr: String,
    leads_to: watch::Sender<Option<String>>,
    _forwards: JoinSet<()>,
}

impl Wire {
    async fn to(addr: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (leads_to, target) = watch::channel(Some(addr));
        let addr = listener.local_addr().unwrap().to_string();
        let mut forwards = JoinSet::new();
        forwards.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                connections.spawn(forward(near, target.clone()));
            }
        });
        Wire { addr, leads_to, _forwards: forwards }
    }

    /// Cuts every connection.
    fn lead_to(&self, addr: Option<String>) {
        self.leads_to.send_replace(addr);
    }
}

async fn forward(mut near: TcpStream, mut target: watch::Receiver<Option<String>>) {
    let Some(to) = target.borrow_and_update().clone() else { return };
    let mut far = TcpStream::connect(&to).await.unwrap();
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = target.changed() => {}
    }
}

fn report(message: String) -> TaskReport {
    let status = TaskStatus { message, ..TaskStatus::default() };
    TaskReport { task: TaskId::new("t1"), status }
}

#[tokio::test]
async fn a_session_whose_wire_is_cut_ends_at_both_ends() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let wire = Wire::to(addr(&manager)).await;
    let client = cluster.client("w1", Role::Worker);
    let (say, mut hear) = soon(client.session(&wire.addr, None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    wire.lead_to(None);
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

// Several threads: reading 16 MB of JSON without optimisation holds one up for longer than a keep-alive may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_of_many_megabytes_pass() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let client = cluster.client("m2", Role::Manager);
    let (say, mut hear) = soon(client.session(&addr(&manager), None)).await.unwrap();
    soon(hear.recv()).await.unwrap();
    // As large as a config may be, and one behind it.
    let statuses = vec![report("x".repeat(16 << 20)), report("xyz".to_owned())];
    soon(say.send(AgentMessage::Statuses(statuses))).await.unwrap();
    let lengths = vec![report((16 << 20).to_string()), report("3".to_owned())];
    assert_eq!(soon(hear.recv()).await, Some(ManagerMessage::Written(lengths)));

    let request = Bytes::from_iter((0..3u32 << 20).map(|at| (at % 251) as u8));
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
    let wire = Wire::to(addr(&manager)).await;
    let client = cluster.client("m2", Role::Manager);
    let call = async || client.consensus(&wire.addr, &m1, Bytes::from("ab")).await;
    assert_eq!(soon(call()).await.unwrap(), "ba");

    soon(manager.stop()).await;
    wire.lead_to(None);
    // The lost connection, then the attempt to make another, then a rest: each fails and says where.
    for _ in 0..3 {
        let err = soon(call()).await.unwrap_err();
        assert_eq!(err.code, Code::Unavailable);
        assert!(err.message.contains(&wire.addr), "{err}");
    }

    let manager = cluster.manager().await;
    wire.lead_to(Some(addr(&manager)));
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
