//! What a project has: `ps`, `ls`, `images`, `top`, `port`.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use compose::labels;
use serde_json::{Value, json};

use super::args::{Images, Ls, Named, Port, ProjectFlags, Ps};
use super::{observe, project};
use crate::client::{Query, image_segment, segment};
use crate::container::row_of;
use crate::ctx::Ctx;
use crate::format::{Columns, Listing, short_id, table, units};
use crate::report::{self, Exit};

const PS: Columns = &[
    ("Name", "NAME"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("Service", "SERVICE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Ports", "PORTS"),
];
const PS_MORE: Columns = &[
    ("ID", "CONTAINER ID"),
    ("Project", "PROJECT"),
    ("State", "STATE"),
    ("Health", "HEALTH"),
    ("ExitCode", "EXIT CODE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Networks", "NETWORKS"),
    ("Publishers", "PUBLISHERS"),
];

/// Columns of lists of projects and images are at least so wide.
const WIDTH: usize = 20;

/// `compose ps`.
pub(super) async fn ps(ctx: &Ctx, flags: &ProjectFlags, args: Ps) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.names).await?;
    loaded.check(&args.names)?;
    let client = ctx.client().await?;
    let mut args = args;
    match args.filter.as_deref().map(|word| word.split_once('=').unwrap_or((word, ""))) {
        None => {}
        Some(("status", value)) => args.status.push(value.to_owned()),
        Some((key, _)) => bail!("invalid filter {key:?}: only status=… is understood"),
    }
    let all = args.all || !args.status.is_empty();
    let rows = observe::rows(client, &loaded.desired.project, args.all).await?;
    let rows: Vec<&Value> = rows
        .iter()
        .filter(|row| {
            let state = row["State"].as_str().unwrap_or_default();
            let live = matches!(state, "running" | "restarting" | "paused");
            let named = args.names.is_empty()
                || args.names.iter().any(|name| name == observe::service(row));
            let status = args.status.is_empty() || args.status.iter().any(|status| status == state);
            let known = loaded.desired.services.contains_key(observe::service(row));
            (all || live) && named && status && (args.orphans || known)
        })
        .collect();
    if args.services {
        let mut services: Vec<&str> = rows.iter().map(|row| observe::service(row)).collect();
        services.dedup();
        return lines(&services);
    }
    if args.quiet {
        let ids: Vec<&str> = rows.iter().map(|row| observe::id(row)).collect();
        return lines(&ids);
    }
    let rows: Vec<Value> = rows.into_iter().map(|row| ps_row(row, !args.no_trunc)).collect();
    let config = ctx.config()?;
    let format = match args.format.as_str() {
        "" => config.text("psFormat").unwrap_or_default(),
        given => given,
    };
    let listing = Listing { format, quiet: None, table: PS, more: PS_MORE, hidden: &["Label"] };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn ps_row(container: &Value, truncate: bool) -> Value {
    let mut row = row_of(container, truncate);
    let status = container["Status"].as_str().unwrap_or_default();
    let between = |open: &str, close: char| {
        let rest = status.split_once(open)?.1;
        Some(rest.split_once(close)?.0.to_owned())
    };
    let health = between("(", ')').filter(|word| ["healthy", "unhealthy"].contains(&word.as_str()));
    row["Name"] = json!(observe::name(container));
    row["Service"] = json!(observe::service(container));
    row["Project"] = container["Labels"][labels::PROJECT].clone();
    row["Publishers"] = publishers(container);
    // Docker's rows have it, Compose's have not
    if let Some(row) = row.as_object_mut() {
        row.remove("Platform");
    }
    row["Health"] = json!(health.unwrap_or_default());
    row["ExitCode"] =
        json!(between("Exited (", ')').and_then(|code| code.parse::<i64>().ok()).unwrap_or(0));
    row
}

/// The ports of a container as programs read them.
fn publishers(container: &Value) -> Value {
    let mut ports: Vec<&Value> = container["Ports"].as_array().into_iter().flatten().collect();
    ports.sort_by_key(|port| port["PrivatePort"].as_u64());
    let row = |port: &Value| {
        json!({
            "URL": port["IP"].as_str().unwrap_or_default(),
            "TargetPort": port["PrivatePort"].as_u64().unwrap_or(0),
            "PublishedPort": port["PublicPort"].as_u64().unwrap_or(0),
            "Protocol": port["Type"],
        })
    };
    ports.into_iter().map(row).collect()
}

fn lines(words: &[&str]) -> Result<Exit> {
    for word in words {
        report::say(word)?;
    }
    Ok(report::OK)
}

/// `compose ls`.
pub(super) async fn ls(ctx: &Ctx, args: Ls) -> Result<Exit> {
    let filters = json!({ "label": [labels::PROJECT] }).to_string();
    let query = Query::new().flag("all", args.all).with("filters", filters);
    let rows = ctx.client().await?.get("/containers/json", &query).await?;
    let mut projects: BTreeMap<&str, (BTreeMap<&str, usize>, &str)> = BTreeMap::new();
    for row in rows.as_array().into_iter().flatten() {
        let name = row["Labels"][labels::PROJECT].as_str().unwrap_or_default();
        let files = row["Labels"][labels::CONFIG_FILES].as_str().unwrap_or_default();
        let project = projects.entry(name).or_default();
        *project.0.entry(row["State"].as_str().unwrap_or_default()).or_default() += 1;
        project.1 = files;
    }
    for word in &args.filter {
        match word.split_once('=') {
            Some(("name", wanted)) => projects.retain(|name, _| name.contains(wanted)),
            _ => bail!("invalid filter {word:?}: only name=… is understood"),
        }
    }
    if args.quiet {
        return lines(&projects.into_keys().collect::<Vec<_>>());
    }
    let status = |states: &BTreeMap<&str, usize>| {
        let words: Vec<String> =
            states.iter().map(|(state, count)| format!("{state}({count})")).collect();
        words.join(", ")
    };
    if args.format == "json" {
        let rows: Vec<Value> = projects
            .iter()
            .map(|(name, (states, files))| json!({"Name": name, "Status": status(states), "ConfigFiles": files}))
            .collect();
        report::say(&Value::Array(rows).to_string())?;
        return Ok(report::OK);
    }
    let mut text = vec!["NAME\tSTATUS\tCONFIG FILES".to_owned()];
    text.extend(
        projects
            .iter()
            .map(|(name, (states, files))| format!("{name}\t{}\t{files}", status(states))),
    );
    report::print(&table::align_at(WIDTH, &text))?;
    Ok(report::OK)
}

/// `compose images`.
pub(super) async fn images(ctx: &Ctx, flags: &ProjectFlags, args: Images) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let mut seen = Vec::new();
    for row in observe::rows(client, &loaded.desired.project, false).await? {
        let named = args.services.is_empty()
            || args.services.iter().any(|name| name == observe::service(&row));
        if !named {
            continue;
        }
        let id = row["ImageID"].as_str().unwrap_or_default().to_owned();
        let size = match client
            .get(&format!("/images/{}/json", image_segment(&id)), &Query::new())
            .await
        {
            Ok(image) => image["Size"].as_i64().unwrap_or(0),
            Err(err) if err.status() == Some(404) => 0,
            Err(err) => return Err(err.into()),
        };
        let reference = row["Image"].as_str().unwrap_or_default();
        let (repository, tag) = match reference.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => (repository, tag),
            _ => (reference, "latest"),
        };
        seen.push(json!({
            "ID": id, "ContainerName": observe::name(&row), "Repository": repository, "Tag": tag, "Size": size,
        }));
    }
    show_images(&args, &seen)
}

fn show_images(args: &Images, seen: &[Value]) -> Result<Exit> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    if args.quiet {
        let mut ids: Vec<String> = seen
            .iter()
            .map(|row| text(row, "ID").trim_start_matches("sha256:").to_owned())
            .collect();
        ids.sort();
        ids.dedup();
        return lines(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    }
    if args.format == "json" {
        report::say(&Value::Array(seen.to_vec()).to_string())?;
        return Ok(report::OK);
    }
    let mut out = vec!["CONTAINER\tREPOSITORY\tTAG\tIMAGE ID\tSIZE".to_owned()];
    out.extend(seen.iter().map(|row| {
        let size = units::human_size3(row["Size"].as_f64().unwrap_or(0.0));
        let id = short_id(&text(row, "ID"), true);
        format!(
            "{}\t{}\t{}\t{id}\t{size}",
            text(row, "ContainerName"),
            text(row, "Repository"),
            text(row, "Tag")
        )
    }));
    report::print(&table::align_at(WIDTH, &out))?;
    Ok(report::OK)
}

/// `compose top`: one table of all processes, each with its service and the number of its container.
pub(super) async fn top(ctx: &Ctx, flags: &ProjectFlags, args: Named) -> Result<Exit> {
    let loaded = project::known(ctx, flags, &args.services).await?;
    loaded.check(&args.services)?;
    let client = ctx.client().await?;
    let mut text = Vec::new();
    for row in observe::rows(client, &loaded.desired.project, false).await? {
        let service = observe::service(&row);
        let named = args.services.is_empty() || args.services.iter().any(|name| name == service);
        if !named || row["State"] != "running" {
            continue;
        }
        let path = format!("/containers/{}/top", segment(observe::id(&row)));
        let reply = client.get(&path, &Query::new()).await?;
        let line = |cells: &Value| {
            let cells = cells.as_array().into_iter().flatten();
            cells.filter_map(Value::as_str).collect::<Vec<_>>().join("\t")
        };
        if text.is_empty() {
            text.push(format!("SERVICE\t#\t{}", line(&reply["Titles"])));
        }
        let number = observe::number(&row);
        let processes = reply["Processes"].as_array().into_iter().flatten();
        text.extend(processes.map(|cells| format!("{service}\t{number}\t{}", line(cells))));
    }
    if !text.is_empty() {
        report::print(&table::align_at(4, &text))?;
    }
    Ok(report::OK)
}

/// `compose port`.
pub(super) async fn port(ctx: &Ctx, flags: &ProjectFlags, args: Port) -> Result<Exit> {
    let loaded = project::known(ctx, flags, std::slice::from_ref(&args.service)).await?;
    loaded.check(std::slice::from_ref(&args.service))?;
    let client = ctx.client().await?;
    let rows = observe::rows(client, &loaded.desired.project, false).await?;
    let row = rows
        .iter()
        .find(|row| observe::service(row) == args.service && observe::number(row) == args.index);
    let Some(row) = row else {
        bail!("service {:?} has no running container number {}", args.service, args.index)
    };
    let found = row["Ports"].as_array().into_iter().flatten().find(|port| {
        port["PrivatePort"] == args.port
            && port["Type"] == args.protocol.as_str()
            && port.get("PublicPort").is_some()
    });
    let Some(found) = found else {
        bail!("no port {}/{} for container {}", args.port, args.protocol, observe::name(row));
    };
    let ip = found["IP"].as_str().unwrap_or("0.0.0.0");
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    report::say(&format!("{host}:{}", found["PublicPort"]))?;
    Ok(report::OK)
}
