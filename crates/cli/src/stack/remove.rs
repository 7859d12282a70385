//! `stack rm`: everything that carries the stack's label, services first.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use http::Method;
use serde_json::Value;
use types::swarm::policy::with_own;

use super::{labelled, observe, text};
use crate::client::{Client, ClientError, Query, segment};
use crate::ctx::Ctx;
use crate::network::policy;
use crate::report::{self, Exit};

/// `stack rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Do not wait for stack removal
    #[arg(short = 'd', long, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true", hide_default_value = true, action = clap::ArgAction::Set)]
    detach: bool,
    #[arg(value_name = "STACK", required = true)]
    stacks: Vec<String>,
}

/// A kind of a stack's objects: word, path, where their id is, and their name.
type Kind = (&'static str, &'static str, &'static str, fn(&Value) -> &Value);

/// In the order of their removal.
const KINDS: [Kind; 4] = [
    ("service", "/services", "ID", |row| &row["Spec"]["Name"]),
    ("secret", "/secrets", "ID", |row| &row["Spec"]["Name"]),
    ("config", "/configs", "ID", |row| &row["Spec"]["Name"]),
    ("network", "/networks", "Id", |row| &row["Name"]),
];
/// How long a network may still be in use by the tasks of services that are gone.
const ATTEMPTS: u32 = 150;
const PAUSE: Duration = Duration::from_millis(200);

/// Removes stacks; what fails is told, and the rest goes on.
pub(super) async fn run(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut errors = Vec::new();
    for stack in &args.stacks {
        let mut found = false;
        for (word, path, id, name) in KINDS {
            let rows = client.get(path, &labelled(stack)).await?;
            let mut rows: Vec<&Value> = rows.as_array().into_iter().flatten().collect();
            rows.sort_by_key(|row| text(name(row)));
            for row in rows {
                found = true;
                report::say(&format!("Removing {word} {}", text(name(row))))?;
                let path = format!("{path}/{}", segment(text(&row[id])));
                if let Err(err) = remove(client, word, &path).await {
                    eprintln!("Failed to remove {word} {}: {err}", text(&row[id]));
                    errors.push(format!("Failed to remove some resources from stack: {stack}"));
                }
            }
        }
        // On networks that are not the stack's own, its rules go with it.
        for (network, rules) in observe::with_policies(client, stack).await? {
            policy::write(client, &network, &with_own(&rules, stack, &[])).await?;
        }
        if !found {
            eprintln!("Nothing found in stack: {stack}");
        } else if !args.detach {
            gone(client, stack).await?;
        }
    }
    errors.dedup();
    for error in &errors {
        eprintln!("{error}");
    }
    Ok(if errors.is_empty() { report::OK } else { report::FAILED })
}

/// A network may be in use until the last task of a removed service has ended.
async fn remove(client: &Client, word: &str, path: &str) -> Result<(), ClientError> {
    let mut attempts = 0;
    loop {
        let outcome = client.json(Method::DELETE, path, &Query::new(), None).await;
        let refused = matches!(&outcome, Err(err) if matches!(err.status(), Some(400 | 403 | 409)));
        attempts += 1;
        match outcome {
            Err(_) if refused && word == "network" && attempts < ATTEMPTS => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(err) if err.status() == Some(404) => return Ok(()),
            outcome => return outcome.map(drop),
        }
    }
}

/// Until the last task of the stack is gone.
async fn gone(client: &Client, stack: &str) -> Result<()> {
    loop {
        let tasks = client.get("/tasks", &labelled(stack)).await?;
        let live = |task: &Value| {
            !matches!(
                text(&task["Status"]["State"]),
                "complete" | "shutdown" | "failed" | "rejected" | "remove" | "orphaned"
            )
        };
        if !tasks.as_array().into_iter().flatten().any(live) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
