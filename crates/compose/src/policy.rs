//! `x-sampan-policy` of a service: who may come to it inside its networks, as rules of the cluster.
//!
//! ```yaml
//! services:
//!   db:
//!     networks: [back]
//!     x-sampan-policy: {from: [api, "label=tier=front"], ports: [5432]}
//! ```
//! One mapping or a list of them; `networks` says which of its networks are meant, all of them if it is absent.

use crate::model::Project;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use types::swarm::policy::PolicyRule;

pub(crate) const KEY: &str = "x-sampan-policy";
const KEYS: [&str; 3] = ["from", "ports", "networks"];

/// The rules of a project that runs on one node, by their network's key in the file. Its services go by their keys, which are
/// names of their containers.
///
/// # Errors
/// The first mistake, with its service.
pub fn policies(project: &Project) -> Result<BTreeMap<String, Vec<PolicyRule>>, String> {
    let mut all: BTreeMap<String, Vec<PolicyRule>> = BTreeMap::new();
    for service in project.services.keys() {
        let rules = of_service(project, service, &|key| key.to_owned(), &project.name);
        let rules = rules.map_err(|what| format!("services.{service}.{KEY}: {what}"))?;
        for (network, rule) in rules {
            all.entry(network).or_default().push(rule);
        }
    }
    Ok(all)
}

/// The rules of one service with the keys of the networks that they are for. `called` gives the name of a service of the
/// file; `owner` is the project or stack.
pub(crate) fn of_service(
    project: &Project,
    service: &str,
    called: &dyn Fn(&str) -> String,
    owner: &str,
) -> Result<Vec<(String, PolicyRule)>, String> {
    let tree = project.tree().and_then(|tree| tree.at(&["services", service, KEY]));
    let Some(value) = tree.map(crate::Node::to_json) else { return Ok(Vec::new()) };
    let own: Vec<&String> =
        project.services.get(service).iter().flat_map(|it| it.networks.keys()).collect();
    let entries = match value {
        Value::Array(entries) => entries,
        entry => vec![entry],
    };
    let mut rules = Vec::new();
    for entry in &entries {
        let entry = entry.as_object().ok_or("must be a mapping or a list of mappings")?;
        if let Some(key) = entry.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("unknown key `{key}`"));
        }
        let known = |name: String| match project.services.contains_key(&name) {
            true => called(&name),
            false => name,
        };
        let from = words(entry, "from")?.unwrap_or_default().into_iter().map(known).collect();
        let ports = words(entry, "ports")?.unwrap_or_default();
        let rule = PolicyRule { to: called(service), from, ports, owner: owner.to_owned() };
        rule.check()?;
        let chosen = words(entry, "networks")?;
        if let Some(key) = chosen.iter().flatten().find(|key| !own.contains(key)) {
            return Err(format!("the service is not on network `{key}`"));
        }
        let chosen = chosen.unwrap_or_else(|| own.iter().map(|key| (*key).clone()).collect());
        if chosen.is_empty() {
            return Err("the service is on no network".to_owned());
        }
        rules.extend(chosen.into_iter().map(|key| (key, rule.clone())));
    }
    Ok(rules)
}

/// One word or a list of them. An empty list is refused: it would let everybody in where nobody is named.
fn words(entry: &Map<String, Value>, key: &str) -> Result<Option<Vec<String>>, String> {
    let word = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let found = match entry.get(key) {
        None => return Ok(None),
        Some(Value::Array(list)) => list.iter().map(word).collect::<Option<Vec<_>>>(),
        Some(value) => word(value).map(|word| vec![word]),
    };
    match found {
        Some(words) if !words.is_empty() => Ok(Some(words)),
        _ => Err(format!("`{key}` must be a name or a list of names")),
    }
}
