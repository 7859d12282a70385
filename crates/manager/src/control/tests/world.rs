//! A store with one of everything, and how an answer reads: `400 sentence`, or `ok`.

use crate::control::Error;
use errdefs::Classify;
use serde_json::{Value, json};
use store::{Change, Entry, Snapshot, Store};
use types::Timestamp;
use types::swarm::cluster::Cluster;
use types::swarm::network::ClusterNetwork;
use types::swarm::node::{Node, NodeState, Role};
use types::swarm::secret::{Config, Secret};
use types::swarm::service::ServiceSpec;
use types::{ClusterId, ConfigId, NetworkId, NodeId, SecretId, ServiceId};

pub(super) const AT: Timestamp = Timestamp(1_000);

/// A manager `m1`, a worker `w1`, networks `ingress` and `net`, a secret `s`, a config `c`, and a service `web` that
/// uses all of them and publishes 80.
pub(super) fn world() -> Store {
    let mut store = Store::default();
    let node = |id: &str, role| {
        let mut node = Node { id: NodeId::new(id), ..Node::default() };
        node.description.hostname = format!("host-{id}");
        node.spec.role = role;
        node.status.state = NodeState::Ready;
        Change::Create(node.into())
    };
    let network = |id: &str, ingress| {
        let mut network = ClusterNetwork { id: NetworkId::new(id), ..ClusterNetwork::default() };
        network.spec.name = id.to_owned();
        network.spec.ingress = ingress;
        Change::Create(network.into())
    };
    let mut cluster = Cluster { id: ClusterId::new("cluster1"), ..Cluster::default() };
    cluster.spec.name = "default".to_owned();
    let mut secret = Secret { id: SecretId::new("secret1"), ..Secret::default() };
    secret.spec.name = "s".to_owned();
    secret.spec.data = "YQ==".to_owned();
    let mut config = Config { id: ConfigId::new("config1"), ..Config::default() };
    config.spec.name = "c".to_owned();
    config.spec.data = "YQ==".to_owned();
    write(
        &mut store,
        vec![
            Change::Create(cluster.into()),
            node("m1", Role::Manager),
            node("w1", Role::Worker),
            network("ingress", true),
            network("net", false),
            Change::Create(secret.into()),
            Change::Create(config.into()),
        ],
    );
    let spec = spec(json!({"Name": "web", "TaskTemplate": {
        "Networks": [{"Target": "net"}],
        "ContainerSpec": {
            "Image": "nginx",
            "Secrets": [{"SecretID": "secret1", "SecretName": "s", "File": {"Name": "s"}}],
            "Configs": [{"ConfigID": "config1", "ConfigName": "c", "File": {"Name": "c"}}],
        },
    }, "EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 80}]}}));
    let id = ServiceId::new("service1");
    let changes = crate::control::service::create(store.state(), id, &spec, "secret", AT).unwrap();
    write(&mut store, changes);
    store
}

/// What a client would send, over the least that makes a service.
pub(super) fn spec(value: Value) -> ServiceSpec {
    let mut whole = json!({"Name": "new", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}});
    merge(&mut whole, value);
    types::json::from_value(whole).unwrap()
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[track_caller]
pub(super) fn write(store: &mut Store, changes: Vec<Change>) {
    let applied = store.apply(&Entry::one(AT, changes));
    assert_eq!(applied.refused, [], "the store refused");
}

/// How the request ends, the store's own checks included.
pub(super) fn outcome(state: &Snapshot, decided: Result<Vec<Change>, Error>) -> String {
    let refused = |err: &dyn std::fmt::Display, status: u16| format!("{status} {err}");
    match decided {
        Err(err) => refused(&err, err.kind().status()),
        Ok(changes) => {
            let applied = Store::new(state.clone()).apply(&Entry::one(AT, changes));
            match applied.refused.first() {
                Some(refusal) => refused(&refusal.error, refusal.error.kind().status()),
                None => "ok".to_owned(),
            }
        }
    }
}
