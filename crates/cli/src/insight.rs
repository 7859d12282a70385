//! `sampan why`, `plan` and `doctor`: what the daemon knows, in sentences.

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use crate::client::{Query, segment};
use crate::ctx::Ctx;
use crate::format;
use crate::report::{self, Exit};
use crate::service;
use crate::service::flags::UpdateArgs;

/// Events under an explanation; `--format json` has more.
const EVENTS: usize = 20;

/// `sampan why`.
#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    #[arg(value_name = "TASK|SERVICE|NODE")]
    name: String,
}

/// `sampan plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    update: UpdateArgs,
    /// Format output using a custom template: 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// `sampan doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Format output using a custom template: 'json' or a Go template
    #[arg(short = 'f', long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// Prints `value` by the template, if there is one.
fn templated(template: &str, value: &Value) -> Result<bool> {
    if template.is_empty() {
        return Ok(false);
    }
    report::say(&format::render_one(template, value)?)?;
    Ok(true)
}

/// `sampan why`.
pub(crate) async fn why(ctx: &Ctx, args: &WhyArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let path = format!("/sampan/why/{}", segment(&args.name));
    let answer = client.get(&path, &Query::new()).await?;
    if !templated(&args.format, &answer)? {
        report::print(&explanation(&answer))?;
    }
    Ok(report::OK)
}

fn explanation(answer: &Value) -> String {
    let mut out =
        format!("{} {} ({})\n", text(&answer["Kind"]), text(&answer["Name"]), text(&answer["ID"]));
    for (at, line) in list(&answer["Because"]).enumerate() {
        // The first says what is so, the others why.
        let mark = if at == 0 { "" } else { "- " };
        out.push_str(&format!("  {mark}{}\n", text(line)));
    }
    let events: Vec<String> = list(&answer["Events"]).map(event).collect();
    let skipped = events.len().saturating_sub(EVENTS);
    if !events.is_empty() {
        out.push_str("\nWhat happened:\n");
    }
    if skipped > 0 {
        out.push_str(&format!("  … {skipped} earlier events\n"));
    }
    for line in &events[skipped..] {
        out.push_str(&format!("  {line}\n"));
    }
    out
}

/// `2026-11-21T12:00:00Z task web.1 created: the service asks for it`
fn event(event: &Value) -> String {
    let attribute = |name: &str| text(&event["Actor"]["Attributes"][name]).to_owned();
    let nanos = event["timeNano"].as_i64().unwrap_or_default();
    let at = jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or_default();
    let at = at.strftime("%Y-%m-%dT%H:%M:%SZ");
    let (kind, action) = (text(&event["Type"]), text(&event["Action"]));
    let name = attribute("name");
    let name = match kind {
        // A task's name ends in its id.
        "task" => name.rsplit_once('.').map_or(name.clone(), |(short, _)| short.to_owned()),
        _ => name,
    };
    let mut parts = Vec::new();
    for field in
        ["state", "desired", "availability", "role", "leader", "replicas", "image", "updatestate"]
    {
        let (old, new) = (attribute(&format!("{field}.old")), attribute(&format!("{field}.new")));
        if !new.is_empty() {
            let arrow = if old.is_empty() { String::new() } else { format!("{old} → ") };
            parts.push(format!("{field} {arrow}{new}"));
        }
    }
    let why = [attribute("error"), attribute("why")].into_iter().find(|why| !why.is_empty());
    parts.extend(why);
    let parts = if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) };
    format!("{at}  {kind} {name} {action}{parts}")
}

/// `sampan plan`.
pub(crate) async fn plan(ctx: &Ctx, args: &PlanArgs) -> Result<Exit> {
    let plan = service::plan(ctx, &args.update).await?;
    if !templated(&args.format, &plan)? {
        report::print(&steps(&plan))?;
    }
    Ok(report::OK)
}

fn steps(plan: &Value) -> String {
    let name = text(&plan["Service"]);
    let changes: Vec<&Value> = list(&plan["Changes"]).collect();
    let steps: Vec<&Value> = list(&plan["Steps"]).collect();
    let mut out = String::new();
    if changes.is_empty() && steps.is_empty() {
        out.push_str(&format!("{name}: nothing would change\n"));
    }
    if !changes.is_empty() {
        out.push_str(&format!("{name} would change:\n"));
    }
    for change in changes {
        let (old, new) = (&change["Old"], &change["New"]);
        out.push_str(&format!("  {}: {} → {}\n", text(&change["Field"]), shown(old), shown(new)));
    }
    if !steps.is_empty() {
        let count = |action: &str| steps.iter().filter(|step| step["Action"] == action).count();
        out.push_str(&format!(
            "\n{} tasks started, {} stopped, {} kept as they are:\n",
            count("start"),
            count("stop"),
            plan["Kept"]
        ));
        let mut lines = vec!["WAVE\tAFTER\tACTION\tTASK\tNODE\tWHY".to_owned()];
        let (mut wave, mut last) = (0, None);
        for step in &steps {
            if last != Some(&step["Wave"]) {
                (wave, last) = (wave + 1, Some(&step["Wave"]));
            }
            let seconds = step["After"].as_f64().unwrap_or(0.0) / 1e9;
            let word = |key: &str| text(&step[key]);
            lines.push(format!(
                "{wave}\t{seconds:.0}s\t{}\t{}\t{}\t{}",
                word("Action"),
                word("Task"),
                word("Node"),
                word("Why")
            ));
        }
        out.push_str(&format::table::align(&lines));
    }
    for wait in list(&plan["Waits"]) {
        out.push_str(&format!("in the end: {}\n", text(wait)));
    }
    out
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `sampan doctor`. Fails when there is a problem, so that scripts can ask.
pub(crate) async fn doctor(ctx: &Ctx, args: &DoctorArgs) -> Result<Exit> {
    let answer = ctx.client().await?.get("/sampan/doctor", &Query::new()).await?;
    let found = || list(&answer["Nodes"]).flat_map(|node| list(&node["Findings"]));
    let problems = found().filter(|finding| finding["Level"] == "problem").count();
    if !templated(&args.format, &answer)? {
        report::print(&findings(&answer))?;
    }
    if problems > 0 {
        bail!("{problems} problem{} found", if problems == 1 { "" } else { "s" });
    }
    Ok(report::OK)
}

fn findings(answer: &Value) -> String {
    let mut lines = vec!["NODE\tLEVEL\tCHECK\tFINDING".to_owned()];
    for node in list(&answer["Nodes"]) {
        let name = [&node["Name"], &node["Node"]].into_iter().map(text).find(|it| !it.is_empty());
        for finding in list(&node["Findings"]) {
            let word = |key: &str| text(&finding[key]);
            lines.push(format!(
                "{}\t{}\t{}\t{}",
                name.unwrap_or("this node"),
                word("Level"),
                word("Check"),
                word("Text")
            ));
        }
    }
    format::table::align(&lines)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_explanation_goes_from_what_is_so_to_its_causes() {
        let answer = json!({
            "Kind": "task", "Name": "web.1", "ID": "t1",
            "Because": ["web.1 is pending", "no suitable node (1 node not available for new tasks)"],
            "Events": [{"Type": "task", "Action": "update", "timeNano": 1_000_000_000,
                "Actor": {"ID": "t1", "Attributes": {"name": "web.1.t1", "state.old": "new",
                    "state.new": "pending", "error": "no suitable node"}}}],
        });
        assert_eq!(
            explanation(&answer),
            "task web.1 (t1)\n  web.1 is pending\n  - no suitable node (1 node not available for new tasks)\n\n\
             What happened:\n  1970-01-01T00:00:01Z  task web.1 update: state new → pending, no suitable node\n"
        );
    }

    #[test]
    fn a_plan_is_a_table_of_waves() {
        let step = |wave, after: u64, action, task| json!({"Wave": wave, "After": after, "Action": action, "Task": task, "Node": "n1", "Why": "w"});
        let plan = json!({
            "Service": "web", "Kept": 1, "Waits": [],
            "Changes": [{"Field": "Image", "Old": "a", "New": "b"}],
            "Steps": [step(0, 0, "stop", "web.1"), step(2, 10_000_000_000, "start", "web.1")],
        });
        let shown = steps(&plan);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[..2], ["web would change:", "  Image: a → b"]);
        assert_eq!(lines[3], "1 tasks started, 1 stopped, 1 kept as they are:");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines[5]), "1 0s stop web.1 n1 w");
        assert_eq!(words(lines[6]), "2 10s start web.1 n1 w");
    }
}
