//! `system df`.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use crate::client::Query;
use crate::clock;
use crate::container;
use crate::ctx::Ctx;
use crate::format::units::{human_size, human_size3};
use crate::format::{Listing, short_id, table};
use crate::image;
use crate::report::{self, Exit};
use crate::volume;

/// `sampan system df`.
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Show detailed information on space usage
    #[arg(short = 'v', long)]
    verbose: bool,
}

/// Shows what takes space and what of it could be given back.
pub(crate) async fn run(ctx: &Ctx, args: DfArgs) -> Result<Exit> {
    let usage = ctx.client().await?.get("/system/df", &Query::new()).await?;
    if args.verbose {
        report::print(&verbose(&usage))?;
        return Ok(report::OK);
    }
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[
            ("Type", "TYPE"),
            ("TotalCount", "TOTAL"),
            ("Active", "ACTIVE"),
            ("Size", "SIZE"),
            ("Reclaimable", "RECLAIMABLE"),
        ],
        more: &[],
        hidden: &[],
    };
    let rows = [images(&usage), containers(&usage), volumes(&usage), cache(&usage)];
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn list<'a>(usage: &'a Value, key: &str) -> &'a [Value] {
    usage[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn row(kind: &str, total: usize, active: usize, size: f64, reclaimable: String) -> Value {
    json!({
        "Type": kind, "TotalCount": total.to_string(), "Active": active.to_string(),
        "Size": human_size(size), "Reclaimable": reclaimable,
    })
}

fn with_percent(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{} ({}%)", human_size(part), (part / whole * 100.0) as i64)
    } else {
        human_size(part)
    }
}

fn images(usage: &Value) -> Value {
    let all = list(usage, "Images");
    let in_use = |image: &&Value| number(&image["Containers"]) > 0.0;
    let used: f64 = all
        .iter()
        .filter(in_use)
        .filter(|image| number(&image["Size"]) >= 0.0 && number(&image["SharedSize"]) >= 0.0)
        .map(|image| number(&image["Size"]) - number(&image["SharedSize"]))
        .sum();
    let size = number(&usage["LayersSize"]);
    row(
        "Images",
        all.len(),
        all.iter().filter(in_use).count(),
        size,
        with_percent(size - used, size),
    )
}

fn containers(usage: &Value) -> Value {
    let all = list(usage, "Containers");
    let running =
        |c: &&Value| matches!(c["State"].as_str(), Some("running" | "paused" | "restarting"));
    let size: f64 = all.iter().map(|c| number(&c["SizeRw"])).sum();
    let idle: f64 = all.iter().filter(|c| !running(c)).map(|c| number(&c["SizeRw"])).sum();
    row("Containers", all.len(), all.iter().filter(running).count(), size, with_percent(idle, size))
}

fn volumes(usage: &Value) -> Value {
    let all = list(usage, "Volumes");
    let in_use = |volume: &&Value| number(&volume["UsageData"]["RefCount"]) > 0.0;
    let size = |volume: &Value| number(&volume["UsageData"]["Size"]).max(0.0);
    let total: f64 = all.iter().map(size).sum();
    let idle: f64 = all.iter().filter(|volume| !in_use(volume)).map(size).sum();
    let active = all.iter().filter(in_use).count();
    row("Local Volumes", all.len(), active, total, with_percent(idle, total))
}

fn cache(usage: &Value) -> Value {
    let all = list(usage, "BuildCache");
    let own = |entry: &&Value| entry["Shared"] != true;
    let size: f64 = all.iter().filter(own).map(|entry| number(&entry["Size"])).sum();
    let in_use: f64 = all
        .iter()
        .filter(|entry| entry["InUse"] == true && own(entry))
        .map(|entry| number(&entry["Size"]))
        .sum();
    let active = all.iter().filter(|entry| entry["InUse"] == true).count();
    row("Build Cache", all.len(), active, size, human_size(size - in_use))
}

fn verbose(usage: &Value) -> String {
    let mut out = String::from("Images space usage:\n\n");
    let mut lines = vec![
        "REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS".to_owned(),
    ];
    for entry in list(usage, "Images") {
        let name = entry["RepoTags"][0].as_str().unwrap_or("<none>:<none>");
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
        let row = image::row_of(entry, repository, tag, "", true);
        lines.push(cells(
            &row,
            &[
                "Repository",
                "Tag",
                "ID",
                "CreatedSince",
                "Size",
                "SharedSize",
                "UniqueSize",
                "Containers",
            ],
        ));
    }
    out.push_str(&table::align(&lines));
    out.push_str("\nContainers space usage:\n\n");
    lines = vec![
        "CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES".to_owned(),
    ];
    for entry in list(usage, "Containers") {
        let mut row = container::row_of(entry, true);
        row["Size"] = Value::from(human_size3(number(&entry["SizeRw"])));
        lines.push(cells(
            &row,
            &["ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"],
        ));
    }
    out.push_str(&table::align(&lines));
    out.push_str("\nLocal Volumes space usage:\n\n");
    lines = vec!["VOLUME NAME\tLINKS\tSIZE".to_owned()];
    lines.extend(
        list(usage, "Volumes")
            .iter()
            .map(|v| cells(&volume::row_of(v), &["Name", "Links", "Size"])),
    );
    out.push_str(&table::align(&lines));
    let cached = list(usage, "BuildCache");
    let size: f64 = cached.iter().filter(|e| e["Shared"] != true).map(|e| number(&e["Size"])).sum();
    out.push_str(&format!("\nBuild cache usage: {}\n\n", human_size(size)));
    lines = vec!["CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED".to_owned()];
    lines.extend(cached.iter().map(cache_line));
    out.push_str(&table::align(&lines));
    out
}

fn cells(row: &Value, fields: &[&str]) -> String {
    fields
        .iter()
        .map(|field| row[*field].as_str().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\t")
}

fn cache_line(entry: &Value) -> String {
    let ago = |key: &str| {
        entry[key].as_str().and_then(clock::seconds_of).map(clock::ago).unwrap_or_default()
    };
    let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let fields = [
        short_id(&text("ID"), true),
        text("Type"),
        human_size3(number(&entry["Size"])),
        ago("CreatedAt"),
        ago("LastUsedAt"),
        entry["UsageCount"].to_string(),
        (entry["Shared"] == true).to_string(),
    ];
    fields.join("\t")
}
