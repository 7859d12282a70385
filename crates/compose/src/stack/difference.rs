//! What an update would change. The cluster writes defaults out and ids for names; neither is a change.

use super::DEPLOYMENT;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use types::swarm::service::ServiceSpec;

/// What the cluster writes where a spec is silent.
const DEFAULTS: [(&str, &str); 8] = [
    ("Isolation", "default"),
    ("Runtime", "container"),
    ("Condition", "any"),
    ("FailureAction", "pause"),
    ("Order", "stop-first"),
    ("Mode", "vip"),
    ("Protocol", "tcp"),
    ("PublishMode", "ingress"),
];
/// What is not the file's to say: ids follow from names, platforms from the image (docker's client writes them down),
/// and the rest is the cluster's and other commands'.
const NOT_OURS: [&str; 6] =
    ["SecretID", "ConfigID", "Platforms", "PullOptions", "ForceUpdate", DEPLOYMENT];

/// A field that another spec has otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `TaskTemplate.ContainerSpec.Image`
    pub field: String,
    /// Null where it is absent.
    pub old: Value,
    pub new: Value,
}

/// The fields in which `new` differs from what the cluster has; `networks` are the cluster's, names by id.
pub fn differences(
    old: &ServiceSpec,
    new: &ServiceSpec,
    networks: &BTreeMap<String, String>,
) -> Vec<Difference> {
    let mut named = old.clone();
    for attachment in &mut named.task_template.networks {
        if let Some(name) = networks.get(&attachment.target) {
            attachment.target.clone_from(name);
        }
    }
    let mut found = Vec::new();
    compare(String::new(), &plain(&named), &plain(new), &mut found);
    found
}

fn plain(spec: &ServiceSpec) -> Value {
    let mut value = serde_json::to_value(spec).unwrap_or_default();
    clean(&mut value);
    value
}

fn clean(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(clean);
            let default = |key: &str, value: &Value| {
                DEFAULTS.iter().any(|(name, word)| *name == key && value == word)
            };
            map.retain(|key, value| {
                !NOT_OURS.contains(&key.as_str()) && !is_empty(value) && !default(key, value)
            });
        }
        Value::Array(items) => items.iter_mut().for_each(clean),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // `Global: {}` says all there is to say
        Value::Object(_) => false,
    }
}

fn compare(field: String, old: &Value, new: &Value, found: &mut Vec<Difference>) {
    let empty = Map::new();
    let none = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    if old == new || (none(old) && none(new) && !field.starts_with("Mode")) {
        return;
    }
    let map = |value: &Value| value.is_object() || value.is_null();
    if !(map(old) && map(new)) || field.starts_with("Mode") {
        found.push(Difference { field, old: old.clone(), new: new.clone() });
        return;
    }
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
        let null = Value::Null;
        compare(path, old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null), found);
    }
}
