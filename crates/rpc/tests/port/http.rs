//! HTTP/1.1 on the same port: forwarded calls and hijacked streams.

use crate::fixture::{Cluster, addr, full, soon, tls};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use rpc::{Body, Client};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use types::NodeId;
use types::swarm::node::Role;

fn get(path: &str) -> Request<Body> {
    Request::get(path).header("host", "docker").body(full("")).unwrap()
}

async fn text(response: hyper::Response<hyper::body::Incoming>) -> String {
    let body = soon(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_forwarded_request_says_who_forwards_it() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let worker = cluster.client("w1", Role::Worker);
    let mut connection =
        soon(worker.http_connect(&addr(&manager), Some(&NodeId::new("m1")))).await.unwrap();
    assert_eq!(connection.peer().node.as_str(), "m1");
    // One connection, several requests.
    for _ in 0..2 {
        let response = soon(connection.send(get("/who"))).await.unwrap();
        assert_eq!(text(response).await, "w1");
    }
    let big = "y".repeat(4 << 20);
    let request = Request::post("/").header("host", "docker").body(full(big.clone())).unwrap();
    let response = soon(connection.send(request)).await.unwrap();
    assert!(text(response).await == big, "all of it comes back");
}

#[tokio::test]
async fn an_upgraded_stream_carries_bytes_both_ways_and_ends_with_its_client() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let worker = cluster.client("w1", Role::Worker);
    let mut connection =
        soon(worker.http_connect(&addr(&manager), Some(&NodeId::new("m1")))).await.unwrap();
    let request = Request::post("/echo")
        .header("host", "docker")
        .header("connection", "Upgrade")
        .header("upgrade", "tcp")
        .body(full(""))
        .unwrap();
    let mut response = soon(connection.send(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
    let mut stream = TokioIo::new(upgraded);
    // The stream needs neither the connection's handle nor the client's pool.
    drop(connection);
    worker.renew();

    let mut answer = [0; 5];
    for word in [b"hello", b"again"] {
        stream.write_all(word).await.unwrap();
        soon(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, word);
    }
    // Half-closed, it still brings the rest.
    stream.write_all(b"final").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"final");
}

#[tokio::test]
async fn a_stopped_server_cuts_upgraded_streams_too() {
    let cluster = Cluster::new("c1");
    let manager = cluster.manager().await;
    let worker = cluster.client("w1", Role::Worker);
    let mut connection =
        soon(worker.http_connect(&addr(&manager), Some(&NodeId::new("m1")))).await.unwrap();
    let request = Request::post("/echo")
        .header("host", "docker")
        .header("connection", "Upgrade")
        .header("upgrade", "tcp")
        .body(full(""))
        .unwrap();
    let mut response = soon(connection.send(request)).await.unwrap();
    let mut stream = TokioIo::new(soon(hyper::upgrade::on(&mut response)).await.unwrap());
    stream.write_all(b"x").await.unwrap();
    soon(stream.read_exact(&mut [0; 1])).await.unwrap();
    soon(manager.stop()).await;
    let mut rest = Vec::new();
    // An end or a reset, but no silence.
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn without_a_current_certificate_http_answers_with_a_reason() {
    let cluster = Cluster::new("c1");
    let nobody = Client::new(tls(&cluster.joining(&cluster.record().root.certificate)));
    let expired = cluster.client("w1", Role::Worker);
    let manager = cluster.manager().await;
    let mut connection =
        soon(nobody.http_connect(&addr(&manager), Some(&NodeId::new("m1")))).await.unwrap();
    let response = soon(connection.send(get("/who"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(text(response).await, r#"{"message":"only nodes of the cluster are served here"}"#);

    cluster.clock.forward(Duration::from_secs(100 * 24 * 3600));
    let manager = cluster.manager().await;
    let mut connection =
        soon(expired.http_connect(&addr(&manager), Some(&NodeId::new("m1")))).await.unwrap();
    let response = soon(connection.send(get("/who"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let message = text(response).await;
    assert!(message.contains("the certificate of node w1 expired at"), "{message}");
}
