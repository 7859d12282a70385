//! What the daemon has of a project.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use compose::desired::Desired;
use compose::labels;
use compose::plan::{Container, Observed};
use serde_json::{Value, json};

use crate::client::{Client, Query, image_segment};
use crate::clock;

/// Rows of the container list that belong to a project, stopped ones too; one-off containers when asked.
pub(super) async fn rows(client: &Client, project: &str, oneoff: bool) -> Result<Vec<Value>> {
    let mut wanted = vec![format!("{}={project}", labels::PROJECT)];
    if !oneoff {
        wanted.push(format!("{}=False", labels::ONEOFF));
    }
    let filters = json!({ "label": wanted }).to_string();
    let query = Query::new().flag("all", true).with("filters", filters);
    let rows = client.get("/containers/json", &query).await?;
    let mut rows = match rows {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    };
    rows.sort_by_key(|row| (service(row).to_owned(), number(row)));
    Ok(rows)
}

/// A row's service.
pub(super) fn service(row: &Value) -> &str {
    row["Labels"][labels::SERVICE].as_str().unwrap_or_default()
}

/// A row's number within its service.
pub(super) fn number(row: &Value) -> u32 {
    row["Labels"][labels::NUMBER].as_str().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// A row's name, without the slash.
pub(super) fn name(row: &Value) -> &str {
    row["Names"][0].as_str().unwrap_or_default().trim_start_matches('/')
}

/// A row's id.
pub(super) fn id(row: &Value) -> &str {
    row["Id"].as_str().unwrap_or_default()
}

/// Everything that a plan looks at.
pub(super) async fn observe(client: &Client, desired: &Desired) -> Result<Observed> {
    let mut observed = Observed::default();
    for row in rows(client, &desired.project, true).await? {
        let row: types::container::Summary =
            serde_json::from_value(row).context("the daemon's container list is not understood")?;
        observed.containers.extend(Container::from_summary(&row));
    }
    let networks = client.get("/networks", &Query::new()).await?;
    for row in networks.as_array().into_iter().flatten() {
        let hash = row["Labels"][labels::HASH].as_str().map(str::to_owned);
        observed.networks.insert(row["Name"].as_str().unwrap_or_default().to_owned(), hash);
    }
    let volumes = client.get("/volumes", &Query::new()).await?;
    for row in volumes["Volumes"].as_array().into_iter().flatten() {
        let hash = row["Labels"][labels::SETTINGS].as_str().map(str::to_owned);
        observed.volumes.insert(row["Name"].as_str().unwrap_or_default().to_owned(), hash);
    }
    let images: BTreeMap<&str, ()> =
        desired.services.values().map(|s| (s.image.as_str(), ())).collect();
    for image in images.into_keys() {
        if let Some(id) = image_id(client, image).await? {
            observed.images.insert(image.to_owned(), id);
        }
    }
    Ok(observed)
}

/// When an image was last pulled or tagged, in seconds since the epoch.
pub(super) async fn tagged(client: &Client, image: &str) -> Result<Option<i64>> {
    let path = format!("/images/{}/json", image_segment(image));
    let image = client.get(&path, &Query::new()).await?;
    Ok(image["Metadata"]["LastTagTime"].as_str().and_then(clock::seconds_of))
}

/// The id of an image, if the daemon has it.
pub(super) async fn image_id(client: &Client, image: &str) -> Result<Option<String>> {
    let path = format!("/images/{}/json", image_segment(image));
    match client.get(&path, &Query::new()).await {
        Ok(image) => Ok(image["Id"].as_str().map(str::to_owned)),
        Err(err) if err.status() == Some(404) => Ok(None),
        Err(err) => Err(err.into()),
    }
}
