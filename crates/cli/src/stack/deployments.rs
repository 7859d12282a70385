//! `stack deployments`: what the managers wrote down of each deployment, how it ended and why.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::{service_names, text};
use crate::client::{Client, Query, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::report::{self, Exit};

/// `stack deployments`.
#[derive(Debug, Args)]
pub(crate) struct DeploymentsArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    #[arg(value_name = "STACK")]
    stack: String,
}

/// One row for each deployment, the newest first; the last row is of updates that no deployment of ours made.
pub(super) async fn run(ctx: &Ctx, args: &DeploymentsArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    if service_names(client, &args.stack).await?.is_empty() {
        bail!("nothing found in stack: {}", args.stack);
    }
    let known = known(client, &args.stack).await?;
    let rows: Vec<Value> = rows(&known).rev().map(row).collect();
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[
            ("Number", "DEPLOYMENT"),
            ("State", "STATE"),
            ("Started", "STARTED"),
            ("Ended", "ENDED"),
            ("Services", "SERVICES"),
            ("Reason", "REASON"),
        ],
        more: &[],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

/// Why the last change of each service did not complete, by the service's name.
pub(super) async fn reasons(client: &Client, stack: &str) -> Result<BTreeMap<String, String>> {
    let known = known(client, stack).await?;
    let mut services: Vec<&Value> = rows(&known).flat_map(|it| rows(&it["Services"])).collect();
    services.sort_by_key(|service| text(&service["StartedAt"]));
    // later ones take the place of earlier ones
    let reasons: BTreeMap<String, String> = services
        .into_iter()
        .map(|service| (text(&service["Name"]).to_owned(), text(&service["Reason"]).to_owned()))
        .collect();
    Ok(reasons.into_iter().filter(|(_, reason)| !reason.is_empty()).collect())
}

/// What a new deployment must know of those before it.
#[derive(Default)]
pub(super) struct Recorded {
    /// The number of the last one; 0 where nothing is known of any.
    pub(super) last: u64,
    /// Services whose last change has not ended.
    pub(super) underway: BTreeSet<String>,
}

pub(super) async fn recorded(client: &Client, stack: &str) -> Recorded {
    read(&known(client, stack).await.unwrap_or_default())
}

fn read(known: &Value) -> Recorded {
    let services = rows(known).flat_map(|deployment| rows(&deployment["Services"]));
    let underway = services.filter(|service| service["EndedAt"].is_null());
    Recorded {
        last: rows(known).filter_map(|deployment| deployment["Number"].as_u64()).max().unwrap_or(0),
        underway: underway.map(|service| text(&service["Name"]).to_owned()).collect(),
    }
}

async fn known(client: &Client, stack: &str) -> Result<Value> {
    let path = format!("/sampan/stacks/{}/deployments", segment(stack));
    Ok(client.get(&path, &Query::new()).await?)
}

fn rows(found: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    found.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

fn row(deployment: &Value) -> Value {
    let ago = |at: &Value| clock::seconds_of(text(at)).map(clock::ago).unwrap_or_default();
    let services: Vec<&str> =
        rows(&deployment["Services"]).map(|service| text(&service["Name"])).collect();
    let reasons = rows(&deployment["Services"]).filter_map(|service| {
        let reason = Some(text(&service["Reason"])).filter(|reason| !reason.is_empty())?;
        Some(format!("{}: {reason}", text(&service["Name"])))
    });
    json!({
        "Ended": ago(&deployment["EndedAt"]),
        // by hand, or by docker's client
        "Number": match deployment["Number"].as_u64() {
            Some(number @ 1..) => number.to_string(),
            _ => "-".to_owned(),
        },
        "Reason": reasons.collect::<Vec<_>>().join("; "),
        "Services": services.join(", "),
        "Started": ago(&deployment["StartedAt"]),
        "State": text(&deployment["State"]).replace('_', " "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_who_failed_and_why() {
        let row = row(&json!({
            "Number": 3, "State": "rolled_back", "StartedAt": "", "Services": [
                {"Name": "app_db", "State": "completed"},
                {"Name": "app_web", "State": "rolled_back", "Reason": "task: non-zero exit (127)"},
            ]
        }));
        assert_eq!(
            (row["Number"].as_str(), row["State"].as_str()),
            (Some("3"), Some("rolled back"))
        );
        assert_eq!(row["Services"], "app_db, app_web");
        assert_eq!(row["Reason"], "app_web: task: non-zero exit (127)");
        assert_eq!(row["Ended"], "");
        assert_eq!(super::row(&json!({"Number": 0, "Services": []}))["Number"], "-");
    }

    #[test]
    fn what_has_not_ended_is_underway() {
        let known = json!([
            {"Number": 1, "Services": [
                {"Name": "app_db", "EndedAt": "2026-01-01T00:00:00Z"},
                {"Name": "app_web", "EndedAt": "2026-01-01T00:00:00Z"},
            ]},
            {"Number": 2, "Services": [{"Name": "app_web"}]},
        ]);
        let found = read(&known);
        assert_eq!((found.last, found.underway), (2, BTreeSet::from(["app_web".to_owned()])));
        assert_eq!(read(&Value::Null).last, 0);
    }
}
