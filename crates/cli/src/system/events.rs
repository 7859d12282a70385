//! `events`: what happens in the daemon, as it happens.

use anyhow::{Result, anyhow};
use clap::Args;
use futures_util::StreamExt;
use serde_json::Value;

use crate::client::stream::JsonStream;
use crate::client::{Query, no_body};
use crate::clock;
use crate::ctx::Ctx;
use crate::format;
use crate::opts;
use crate::report::{self, Exit};

/// `sampan events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Show all events created since timestamp
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    since: String,
    /// Stream events until this timestamp
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    until: String,
}

/// Prints events until the stream ends.
pub(crate) async fn run(ctx: &Ctx, args: EventsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let time = |text: &str| clock::api_time(text).map_err(|err| anyhow!(err));
    let query = Query::new()
        .opt("since", Some(&time(&args.since)?))
        .opt("until", Some(&time(&args.until)?))
        .with("filters", filters.to_string());
    let client = ctx.client().await?;
    let mut stream =
        client.bytes(http::Method::GET, "/events", &query, Default::default(), no_body()).await?;
    let mut decoder = JsonStream::default();
    while let Some(chunk) = stream.next().await {
        for event in decoder.push(&chunk?)? {
            let line = match args.format.as_str() {
                "" => line(&event),
                format => format::render_one(format, &event)?,
            };
            report::say(&line)?;
        }
    }
    Ok(report::OK)
}

/// `2024-01-02T03:04:05.000000000Z container start <id> (image=…, name=…)`.
fn line(event: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let when = match event["timeNano"].as_i64() {
        Some(nanoseconds) if nanoseconds != 0 => clock::rfc3339_nano(nanoseconds),
        _ => clock::rfc3339_nano(event["time"].as_i64().unwrap_or(0) * 1_000_000_000),
    };
    let actor = &event["Actor"];
    let mut attributes: Vec<String> = actor["Attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", text(value)))
        .collect();
    attributes.sort();
    let tail = match attributes.is_empty() {
        true => String::new(),
        false => format!(" ({})", attributes.join(", ")),
    };
    format!(
        "{when} {} {} {}{tail}",
        text(&event["Type"]),
        text(&event["Action"]),
        text(&actor["ID"])
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_one_line_with_sorted_attributes() {
        let event = json!({
            "Type": "container", "Action": "start", "timeNano": 1_704_164_645_000_000_001_i64,
            "Actor": {"ID": "abc", "Attributes": {"name": "c", "image": "i"}},
        });
        let line = line(&event);
        assert!(line.ends_with(" container start abc (image=i, name=c)"), "{line}");
        assert!(line.contains(".000000001"), "{line}");
    }
}
