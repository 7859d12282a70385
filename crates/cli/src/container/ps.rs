//! `ps` and `container ls`.

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use super::ports::displayable;
use crate::client::Query;
use crate::clock;
use crate::ctx::Ctx;
use crate::format::units::human_size3;
use crate::format::{Listing, ellipsis, labels, short_id};
use crate::opts;
use crate::report::{self, Exit};

/// `sampan ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "int", default_value_t = -1, allow_negative_numbers = true)]
    last: i64,
    /// Show the latest created container (includes all states)
    #[arg(short = 'l', long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short = 'q', long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short = 's', long)]
    size: bool,
}

/// Lists containers.
pub(crate) async fn run(ctx: &Ctx, args: PsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let last = if args.latest { 1 } else { args.last };
    let size = args.size || args.format.contains(".Size");
    let mut query = Query::new()
        .flag("all", args.all || last > 0)
        .flag("size", size)
        .with("filters", filters.to_string());
    if last > 0 {
        query = query.with("limit", last.to_string());
    }
    let list = ctx.client().await?.get("/containers/json", &query).await?;
    let rows: Vec<Value> =
        list.as_array().into_iter().flatten().map(|c| row(c, !args.no_trunc)).collect();
    let table = if args.size { WITH_SIZE } else { TABLE };
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table,
        more: MORE,
        hidden: &["Label"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

const TABLE: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
];
const WITH_SIZE: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
];
const MORE: &[(&str, &str)] = &[
    ("Size", "SIZE"),
    ("State", "STATE"),
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("Label", "LABEL"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

/// One container as docker's formatter shows it.
pub(crate) fn row(c: &Value, truncate: bool) -> Value {
    let created = c["Created"].as_i64().unwrap_or(0);
    json!({
        "Command": format!("{:?}", ellipsis(text(&c["Command"]), if truncate { 20 } else { usize::MAX })),
        "CreatedAt": clock::go_time(created),
        "ID": short_id(text(&c["Id"]), truncate),
        "Image": image(c, truncate),
        "Labels": labels(&c["Labels"]),
        "Label": c["Labels"],
        "LocalVolumes": local_volumes(c),
        "Mounts": mounts(c, truncate),
        "Names": names(c, truncate),
        "Networks": networks(c),
        "Platform": c.get("ImageManifestDescriptor").map_or(Value::Null, |d| d["platform"].clone()),
        "Ports": displayable(&c["Ports"]),
        "RunningFor": clock::ago(created),
        "Size": size(c),
        "State": c["State"],
        "Status": c["Status"],
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn image(c: &Value, truncate: bool) -> String {
    let image = text(&c["Image"]);
    if image.is_empty() {
        return "<no image>".to_owned();
    }
    if !truncate {
        return image.to_owned();
    }
    let id = short_id(text(&c["ImageID"]), true);
    if id == short_id(image, true) {
        return id;
    }
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => {
            name.to_owned()
        }
        _ => image.to_owned(),
    }
}

fn names(c: &Value, truncate: bool) -> String {
    let names = c["Names"].as_array().into_iter().flatten();
    let names = names.map(|name| text(name).strip_prefix('/').unwrap_or(text(name)));
    // links to the container are its further names, with a slash inside
    names.filter(|name| !truncate || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn networks(c: &Value) -> String {
    let networks = c["NetworkSettings"]["Networks"].as_object();
    let mut names: Vec<&str> =
        networks.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.join(",")
}

fn mounts(c: &Value, truncate: bool) -> String {
    let name = |mount: &Value| {
        let name = Some(text(&mount["Name"])).filter(|name| !name.is_empty());
        let name = name.unwrap_or(text(&mount["Source"])).to_owned();
        if truncate { ellipsis(&name, 15) } else { name }
    };
    c["Mounts"].as_array().into_iter().flatten().map(name).collect::<Vec<_>>().join(",")
}

fn local_volumes(c: &Value) -> String {
    let local = |mount: &&Value| text(&mount["Driver"]) == "local";
    c["Mounts"].as_array().into_iter().flatten().filter(local).count().to_string()
}

fn size(c: &Value) -> String {
    let writable = human_size3(c["SizeRw"].as_f64().unwrap_or(0.0));
    match c["SizeRootFs"].as_f64() {
        Some(total) if total > 0.0 => format!("{writable} (virtual {})", human_size3(total)),
        _ => writable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_end_in_an_ellipsis() {
        assert_eq!(ellipsis("0123456789", 10), "0123456789");
        assert_eq!(ellipsis("0123456789a", 10), "012345678…");
    }

    #[test]
    fn a_row_has_dockers_words() {
        let seen = json!({
            "Id": "72e6a721b036d73df7f2", "Names": ["/c1", "/other/link"], "Image": "busybox:1@sha256:00",
            "ImageID": "sha256:41c8", "Command": "sh -c 'echo \"x\"'", "State": "running",
            "Labels": {"b": "2", "a": "1"},
            "Mounts": [{"Driver": "local", "Name": "0123456789abcdef"}],
        });
        let row = row(&seen, true);
        assert_eq!(row["ID"], "72e6a721b036");
        assert_eq!(row["Names"], "c1");
        assert_eq!(row["Image"], "busybox:1");
        assert_eq!(row["Command"], r#""sh -c 'echo \"x\"'""#);
        assert_eq!(row["Labels"], "a=1,b=2");
        assert_eq!(row["Mounts"], "0123456789abcd…");
    }
}
