//! What the cluster has, as the planner wants to see it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use compose::stack::{Known, Observed, Shared};
use serde::de::DeserializeOwned;
use serde_json::Value;
use types::swarm::policy::PolicyRule;
use types::swarm::service::Service;
use types::swarm::task::Task;

use super::{deployments, labelled, text};
use crate::client::{Client, Query};

/// Everything that a deployment of the stack looks at.
pub(super) async fn observe(client: &Client, stack: &str) -> Result<Observed> {
    let all = Query::new();
    let networks = client.get("/networks", &all).await?;
    let network = |row: &Value| {
        let (id, scope) = (text(&row["Id"]).to_owned(), text(&row["Scope"]).to_owned());
        let policies = policies(row);
        (text(&row["Name"]).to_owned(), Shared { id, scope, policies })
    };
    let recorded = deployments::recorded(client, stack).await;
    Ok(Observed {
        networks: rows(&networks).map(network).collect(),
        secrets: known(client, "/secrets").await?,
        configs: known(client, "/configs").await?,
        services: services(client, stack).await?,
        nodes: read(client.get("/nodes", &all).await?)?,
        tasks: tasks(client, &all).await?,
        last_deployment: recorded.last,
        underway: recorded.underway,
    })
}

/// Of a network; none where the daemon does not know of such a thing.
fn policies(network: &Value) -> Vec<PolicyRule> {
    serde_json::from_value(network["Policies"].clone()).unwrap_or_default()
}

/// The networks that have rules of the stack, with all of their rules.
pub(super) async fn with_policies(
    client: &Client,
    stack: &str,
) -> Result<Vec<(String, Vec<PolicyRule>)>> {
    let found = client.get("/networks", &Query::new()).await?;
    let all = rows(&found).map(|row| (text(&row["Name"]).to_owned(), policies(row)));
    Ok(all.filter(|(_, rules)| rules.iter().any(|rule| rule.owner == stack)).collect())
}

/// The stack's services.
pub(super) async fn services(client: &Client, stack: &str) -> Result<Vec<Service>> {
    read(client.get("/services", &labelled(stack)).await?)
}

/// Tasks, as the query chooses them.
pub(super) async fn tasks(client: &Client, query: &Query) -> Result<Vec<Task>> {
    let mut found = client.get("/tasks", query).await?;
    for row in found.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        // Answers have the networks in full, and nobody here asks for them.
        row.remove("NetworksAttachments");
    }
    read(found)
}

/// Secrets or configs by name.
pub(super) async fn known(client: &Client, path: &str) -> Result<BTreeMap<String, Known>> {
    let found = client.get(path, &Query::new()).await?;
    let known = rows(&found).map(|row| {
        let labels = row["Spec"]["Labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(key, value)| (key.clone(), text(value).to_owned())).collect();
        let id = text(&row["ID"]).to_owned();
        (text(&row["Spec"]["Name"]).to_owned(), Known { id, labels })
    });
    Ok(known.collect())
}

fn rows(found: &Value) -> impl Iterator<Item = &Value> {
    found.as_array().into_iter().flatten()
}

fn read<T: DeserializeOwned>(found: Value) -> Result<Vec<T>> {
    if found.is_null() {
        return Ok(Vec::new());
    }
    serde_json::from_value(found).context("the daemon's answer is none that this client knows")
}
