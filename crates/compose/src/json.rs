//! A canonical tree as JSON: what `config --format json` prints.
//!
//! Compose v2 says some things there that its YAML leaves out: commands that are not given are null, and networks and
//! `deploy` have all their sections. Programs that read the one must be able to read the other.

use crate::node::Node;
use serde_json::{Map, Value, json};

/// The tree as JSON, with everything that Compose v2 says in it.
pub fn json(tree: &Node) -> Value {
    let mut out = tree.to_json();
    for network in entries(&mut out, "networks") {
        given(network, "ipam", json!({}));
    }
    for service in entries(&mut out, "services") {
        given(service, "command", Value::Null);
        given(service, "entrypoint", Value::Null);
        if let Some(deploy) = service.get_mut("deploy").and_then(Value::as_object_mut) {
            given(deploy, "placement", json!({}));
            given(deploy, "resources", json!({}));
        }
        let watch = service.get_mut("develop").and_then(|develop| develop.get_mut("watch"));
        for rule in watch.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(rule) = rule.as_object_mut() else { continue };
            let exec = rule.entry("exec").or_insert_with(|| json!({}));
            if let Some(exec) = exec.as_object_mut() {
                given(exec, "command", Value::Null);
            }
        }
    }
    out
}

/// The objects of a section; those that say nothing become empty ones.
fn entries<'j>(
    tree: &'j mut Value,
    section: &str,
) -> impl Iterator<Item = &'j mut Map<String, Value>> {
    let section = tree.get_mut(section).and_then(Value::as_object_mut);
    section.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut)
}

fn given(object: &mut Map<String, Value>, key: &str, value: Value) {
    object.entry(key).or_insert(value);
}
