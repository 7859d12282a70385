//! What is on the wire: heads, refusals, streams, TLS.

#[path = "support/server.rs"]
mod server;

use server::{Server, read_chunk, read_head};
use std::io::{BufReader, Write};

#[test]
fn every_reply_says_who_answers() {
    let server = Server::start();
    let reply = server.get("/v1.41/_ping");
    assert_eq!((reply.status, reply.body.as_str()), (200, "OK"));
    for (name, value) in [
        ("api-version", "1.51"),
        ("ostype", "linux"),
        ("docker-experimental", "false"),
        ("builder-version", "1"),
    ] {
        assert_eq!(reply.headers.get(name).map(String::as_str), Some(value));
    }
    assert!(reply.headers["server"].starts_with("Sampan/"));
    assert_eq!(server.get("/nosuch").headers["api-version"], "1.51");
    let head = server.send("HEAD /_ping HTTP/1.1", "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn wrong_requests_are_refused_in_dockers_words() {
    let server = Server::start();
    let text = "\r\nContent-Type: text/plain";
    let refusals = [
        (server.get("/v1.23/info"), 400, "client version 1.23 is too old."),
        (
            server.get("/v1.52/info"),
            400,
            "client version 1.52 is too new. Maximum supported API version is 1.51",
        ),
        (server.get("/nosuch"), 404, "page not found"),
        (server.post("/containers/json", ""), 404, "page not found"),
        (server.get("/containers/nosuch/json"), 404, "No such container: nosuch"),
        (
            server.get("/containers/nosuch/logs"),
            400,
            "Bad parameters: you must choose at least one stream",
        ),
        (server.get("/containers/json?filters=%7B"), 400, "invalid filter"),
        (
            server.get("/containers/json?filters=%7B%22bogus%22:[%221%22]%7D"),
            400,
            "invalid filter 'bogus'",
        ),
        (
            server.post("/containers/create", ""),
            400,
            "invalid JSON: got EOF while reading request body",
        ),
        (
            server.post("/containers/create", "{}"),
            400,
            "config cannot be empty in order to create a container",
        ),
        (server.post("/containers/create", "{\"Image\":"), 400, "invalid JSON: unexpected EOF"),
        (
            server.post("/containers/create", "{\"Image\":\"nosuch\"}"),
            404,
            "No such image: nosuch:latest",
        ),
        (
            server.send(&format!("POST /containers/create HTTP/1.1{text}"), "{}"),
            400,
            "unsupported Content-Type header (text/plain): must be 'application/json'",
        ),
        (
            server.post("/containers/nosuch/wait?condition=bogus", ""),
            400,
            "invalid condition: \"bogus\"",
        ),
        (
            server.post("/containers/nosuch/resize?h=1", ""),
            400,
            "invalid resize width \"\": invalid syntax",
        ),
        (server.get("/containers/nosuch/archive"), 400, "bad parameter: pathcannot be empty"),
        (server.post("/exec/nosuch/start", "{}"), 404, "No such exec instance: nosuch"),
        (server.get("/images/a/b/json"), 404, "No such image: a/b:latest"),
        (server.get("/system/df?type=bogus"), 400, "unknown object type: bogus"),
        (
            server.get("/events?since=2&until=1"),
            400,
            "`since` time (2) cannot be after `until` time (1)",
        ),
        (server.get("/swarm"), 503, "This node is not a swarm manager."),
        (server.get("/services/x/logs"), 503, "This node is not a swarm manager."),
        (server.post("/session", ""), 501, "BuildKit is not part of this engine"),
    ];
    for (reply, status, message) in refusals {
        assert_eq!(reply.status, status, "{message}: {reply:?}");
        assert!(
            reply.message().starts_with(message),
            "want {message:?}, got {:?}",
            reply.message()
        );
        assert!(reply.body.ends_with("\n"));
    }
    assert_eq!(server.get("/plugins").json(), serde_json::json!([]));
}

#[test]
fn a_body_larger_than_any_document_is_refused() {
    let server = Server::start();
    let body = format!("{{\"Image\":\"{}\"}}", "a".repeat(5 << 20));
    let mut stream = server.connect();
    let head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    // The server may close before it has read everything.
    let _closed_early = stream.write_all(body.as_bytes());
    assert_eq!(read_head(&mut BufReader::new(stream)).0, 400);
}

#[test]
fn volumes_are_made_listed_and_removed() {
    let server = Server::start();
    let made =
        server.post("/volumes/create", r#"{"name":"data","Labels":{"a":"b"},"DriverOpts":null}"#);
    assert_eq!((made.status, made.json()["Driver"].as_str()), (201, Some("local")));
    assert_eq!(made.json()["Options"], serde_json::Value::Null);
    let named = server.get("/volumes?filters=%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%7D%7D").json();
    assert_eq!(named["Volumes"][0]["Name"], "data");
    assert_eq!(server.get("/volumes/data").json()["Scope"], "local");
    assert_eq!(server.post("/volumes/create", r#"{"Name":"a/b"}"#).status, 400);
    let anonymous = server.post("/volumes/create", "").json()["Name"].as_str().unwrap().to_owned();
    assert_eq!(
        server.post("/volumes/prune", "").json()["VolumesDeleted"],
        serde_json::json!([anonymous])
    );
    assert_eq!(server.delete("/volumes/data").status, 204);
    let gone = server.delete("/volumes/data");
    assert_eq!((gone.status, gone.message()), (404, "get data: no such volume".to_owned()));
    assert_eq!(server.delete("/volumes/data?force=1").status, 204);
}

#[test]
fn events_begin_at_once_come_as_they_happen_and_end_with_the_server() {
    let mut server = Server::start();
    let mut stream = server.connect();
    write!(stream, "GET /events HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut stream = BufReader::new(stream);
    let (status, headers) = read_head(&mut stream);
    assert_eq!((status, headers["content-type"].as_str()), (200, "application/json"));
    server.post("/volumes/create", r#"{"Name":"data"}"#);
    let event: serde_json::Value = serde_json::from_str(&read_chunk(&mut stream).unwrap()).unwrap();
    assert_eq!(
        (event["Type"].as_str(), event["Action"].as_str()),
        (Some("volume"), Some("create"))
    );
    assert_eq!(event["Actor"]["ID"], "data");
    server.stop();
    assert_eq!(read_chunk(&mut stream), None);
}

#[test]
fn a_live_stream_ends_when_its_reader_leaves() {
    let server = Server::start();
    let mut stream = server.connect();
    write!(stream, "GET /events HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    read_head(&mut reader);
    // dockerd, too, takes the end of the client's side for its leave.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_chunk(&mut reader), None);
}

#[test]
fn info_version_and_df_have_what_clients_read() {
    let server = Server::start();
    let info = server.get("/info").json();
    for field in [
        "ID",
        "NCPU",
        "MemTotal",
        "KernelVersion",
        "OperatingSystem",
        "DockerRootDir",
        "CgroupVersion",
    ] {
        assert!(
            info[field].is_string() || info[field].as_u64().is_some_and(|value| value > 0),
            "{field}: {info}"
        );
    }
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(server.get("/v1.43/info").json()["BridgeNfIptables"], false);
    let version = server.get("/version").json();
    assert_eq!(
        (version["ApiVersion"].as_str(), version["MinAPIVersion"].as_str()),
        (Some("1.51"), Some("1.24"))
    );
    let usage = server.get("/system/df?type=volume").json();
    assert!(usage["Volumes"].is_array() && usage["Images"].is_null());
}
