//! The cluster's objects on the wire, on a swarm of one: statuses, bodies, what is left out.

#[path = "support/server.rs"]
mod server;

use serde_json::{Value, json};
use server::Server;

const INIT: &str = r#"{"ListenAddr":"127.0.0.1:2377","AdvertiseAddr":"127.0.0.1:2377"}"#;

/// A server whose node is a swarm of one, and the node's id.
fn swarm() -> (Server, String) {
    let server = Server::start();
    let reply = server.post("/swarm/init", INIT);
    assert_eq!(reply.status, 200, "{}", reply.body);
    // The id alone, as a JSON string.
    let id = reply.json().as_str().unwrap_or_default().to_owned();
    assert_eq!(id.len(), 25, "{}", reply.body);
    (server, id)
}

fn service(name: &str) -> Value {
    json!({"Name": name, "Mode": {"Replicated": {"Replicas": 0}},
        "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}})
}

fn created(server: &Server, path: &str, body: &Value) -> String {
    let reply = server.post(path, &body.to_string());
    assert_eq!(reply.status, 201, "{}", reply.body);
    reply.json()["ID"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_swarm_of_one_says_who_it_is() {
    let (mut server, node) = swarm();
    assert_eq!(server.get("/_ping").headers["swarm"], "active/manager");
    let info = server.get("/info").json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "active");
    assert_eq!(info["Swarm"]["NodeID"], node.as_str());
    assert_eq!(info["Swarm"]["ControlAvailable"], true);
    let swarm = server.get("/swarm").json();
    assert_eq!(swarm["Spec"]["Name"], "default");
    assert_eq!(swarm["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"], 5);
    assert!(swarm["JoinTokens"]["Worker"].as_str().unwrap_or_default().starts_with("SWMTKN-1-"));
    assert_eq!(swarm.get("Sampan"), None, "what only managers may see is shown");
    assert!(
        !info.to_string().contains("PRIVATE KEY") && !swarm.to_string().contains("PRIVATE KEY")
    );
    let again = server.post("/swarm/init", INIT);
    assert_eq!(again.status, 503, "{}", again.body);
    assert!(again.message().starts_with("This node is already part of a swarm."));
    let own = server.get("/nodes/self").json();
    assert_eq!(own["ID"], node.as_str());
    assert_eq!(own["ManagerStatus"]["Leader"], true);
    server.stop();
}

#[test]
fn objects_are_made_shown_changed_and_removed() {
    let (mut server, _) = swarm();
    let id = created(&server, "/services/create", &service("web"));
    let seen = server.get("/services/web").json();
    assert_eq!(seen["ID"], id.as_str());
    assert_eq!(seen["Spec"]["TaskTemplate"]["Runtime"], "container");
    let defaults = server.get("/services/web?insertDefaults=true").json();
    assert_eq!(
        defaults["Spec"]["TaskTemplate"]["ContainerSpec"]["StopGracePeriod"],
        10_000_000_000_i64
    );
    let listed = server.get("/services?status=true").json();
    assert_eq!(listed[0]["ServiceStatus"]["DesiredTasks"], 0);
    assert_eq!(server.get("/services").json()[0].get("ServiceStatus"), None);

    let secret = json!({"Name": "s", "Data": "YQ=="});
    let id = created(&server, "/secrets/create", &secret);
    assert_eq!(server.get(&format!("/secrets/{id}")).json()["Spec"].get("Data"), None);
    let config = json!({"Name": "c", "Data": "YQ=="});
    let id = created(&server, "/configs/create", &config);
    let seen = server.get("/configs/c").json();
    assert_eq!(seen["Spec"]["Data"], "YQ==");
    // Beyond Docker: the data change in place.
    let version = &seen["Version"]["Index"];
    let other = json!({"Name": "c", "Data": "Yg=="}).to_string();
    let reply = server.post(&format!("/configs/{id}/update?version={version}"), &other);
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_eq!(server.get("/configs/c").json()["Spec"]["Data"], "Yg==");
    let stale = server.post(&format!("/configs/{id}/update?version={version}"), &other);
    assert_eq!(
        (stale.status, stale.message().as_str()),
        (500, "rpc error: code = Unknown desc = update out of sequence")
    );

    assert_eq!(server.delete("/services/web").status, 200);
    assert_eq!(server.delete("/secrets/s").status, 204);
    assert_eq!(server.delete("/configs/c").status, 204);
    for path in ["/services/web", "/secrets/s", "/configs/c", "/tasks/t"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    server.stop();
}

#[test]
fn a_config_may_have_16_mebibytes_less_one() {
    let (mut server, _) = swarm();
    let data = |bytes: usize| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(vec![b'x'; bytes])
    };
    let largest = json!({"Name": "large", "Data": data((16 << 20) - 1)});
    created(&server, "/configs/create", &largest);
    let larger = json!({"Name": "larger", "Data": data(16 << 20)});
    let refused = server.post("/configs/create", &larger.to_string());
    assert_eq!(refused.status, 400, "{}", refused.body);
    assert!(refused.message().contains("less than 16777216 bytes"), "{}", refused.body);
    server.stop();
}

#[test]
fn filters_and_parameters_that_are_none_are_refused() {
    let (mut server, _) = swarm();
    let cases = [
        ("/services?filters=%7B%22x%22%3A%5B%22y%22%5D%7D", 400, "invalid filter 'x'"),
        ("/services?status=maybe", 400, "invalid value for status: maybe"),
        ("/nodes?filters=%7B%22role%22%3A%5B%22king%22%5D%7D", 500, "Invalid role filter: 'king'"),
        (
            "/tasks?filters=%7B%22desired-state%22%3A%5B%22happy%22%5D%7D",
            500,
            "Invalid desired-state filter: 'happy'",
        ),
        ("/tasks?filters=%7B%22service%22%3A%5B%22nope%22%5D%7D", 404, "service nope not found"),
    ];
    for (path, status, message) in cases {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.message().as_str()), (status, message), "{path}");
    }
    let id = created(&server, "/services/create", &service("web"));
    let body = service("web").to_string();
    let reply = server.post(&format!("/services/{id}/update"), &body);
    assert_eq!(reply.status, 400);
    assert!(reply.message().starts_with("invalid service version ''"), "{}", reply.body);
    let reply = server.post("/nodes/self/update?version=1", r#"{"Availability":"drain"}"#);
    assert_eq!((reply.status, reply.message().as_str()), (400, "invalid Role: \"\""));
    server.stop();
}
