//! `pre_start`: the hooks of a service before its first container starts, each in a container of its own.

use anyhow::{Context, Result, bail};
use compose::desired::{Init, Service};
use compose::labels;
use serde_json::json;

use super::board::Board;
use super::container::{self, Said};
use super::project::Loaded;
use crate::client::{Client, Query, segment};

/// Runs the hooks in their order; the first that fails ends it, and its container stays to be looked at.
///
/// # Errors
/// A hook that ends with another code than 0, or that cannot run.
pub(super) async fn run(
    client: &Client,
    loaded: &Loaded,
    name: &str,
    containers: &[String],
    board: &Board,
) -> Result<()> {
    let Some(service) = loaded.desired.services.get(name) else { return Ok(()) };
    forget(client, &loaded.desired.project, name).await?;
    for (index, hook) in service.init.iter().enumerate() {
        let count = if hook.per_replica { containers.len() } else { 1 };
        for beside in containers.iter().take(count) {
            let id = create(client, &loaded.desired.project, service, hook, beside).await?;
            let what = format!("service {name:?} pre_start[{index}]");
            container::start(client, &id, (name, &[]), Said::Nowhere)
                .await
                .context(what.clone())?;
            let path = format!("/containers/{}", segment(&id));
            let wait = format!("{path}/wait");
            let ended = client.json(http::Method::POST, &wait, &Query::new(), None).await?;
            if let Some(code) = ended["StatusCode"].as_i64().filter(|code| *code != 0) {
                let short = id.get(..12).unwrap_or(&id);
                bail!(
                    "{what} exited with code {code} (hook container {short} retained for inspection)"
                );
            }
            container::remove(client, &id, true).await?;
            board.step(&what, "Completed");
        }
    }
    Ok(())
}

/// A container like the hook says, with the volumes of `beside`.
async fn create(
    client: &Client,
    project: &str,
    service: &Service,
    hook: &Init,
    beside: &str,
) -> Result<String> {
    let mut request = hook.request.clone();
    request.host_config.volumes_from = Some(vec![format!("container:{beside}")]);
    let mut own = Service { image: request.config.image.clone(), ..service.clone() };
    own.injected.clear();
    for (_, endpoint) in &mut own.more_networks {
        *endpoint = Default::default();
    }
    container::create(client, project, &own, request).await
}

/// Takes away the containers of hooks that failed before.
async fn forget(client: &Client, project: &str, service: &str) -> Result<()> {
    let wanted = [
        format!("{}={project}", labels::PROJECT),
        format!("{}={service}", labels::SERVICE),
        labels::HOOK.to_owned(),
    ];
    let query =
        Query::new().flag("all", true).with("filters", json!({ "label": wanted }).to_string());
    let rows = client.get("/containers/json", &query).await?;
    for row in rows.as_array().into_iter().flatten() {
        container::remove(client, super::observe::id(row), true).await?;
    }
    Ok(())
}
