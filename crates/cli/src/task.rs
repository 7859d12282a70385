//! Tasks: `sampan task …`, and the tables of `service ps` and `node ps`.

use std::collections::HashMap;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::client::{Client, Query, segment};
use crate::clock;
use crate::ctx::Ctx;
use crate::format::units::human_duration;
use crate::format::{Listing, ellipsis, short_id};
use crate::inspect;
use crate::node::capital;
use crate::opts;
use crate::report::{self, Exit};
use crate::service::logs::{self, LogsArgs};

/// Docker cuts the error of a task there.
const LONGEST_ERROR: usize = 30;

/// What `sampan task` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Display detailed information on one or more tasks
    Inspect(inspect::InspectArgs),
    /// Fetch the logs of a task
    Logs(LogsArgs),
    /// List tasks
    #[command(visible_alias = "list")]
    Ls(LsArgs),
}

/// How a table of tasks is shown.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    pub(crate) filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    pub(crate) format: String,
    /// Do not map IDs to Names
    #[arg(long)]
    pub(crate) no_resolve: bool,
    /// Do not truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only display task IDs
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
}

/// `service ps`, `node ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    pub(crate) look: Look,
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

/// `task ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    #[command(flatten)]
    look: Look,
}

/// Runs a word of the `task` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Inspect(args) => inspect::run(ctx, args, inspect::Kind::Task).await,
        Command::Logs(args) => logs::run(ctx, args, "tasks").await,
        Command::Ls(args) => {
            let filters = opts::filters(&args.look.filter).map_err(|err| anyhow!(err))?;
            show(ctx.client().await?, &args.look, &filters).await
        }
    }
}

/// `node ps`; of this node when none is named.
pub(crate) async fn of_nodes(ctx: &Ctx, mut args: PsArgs) -> Result<Exit> {
    if args.names.is_empty() {
        args.names.push("self".to_owned());
    }
    of(ctx, &args, "/nodes", "node").await
}

/// `service ps`.
pub(crate) async fn of_services(ctx: &Ctx, args: PsArgs) -> Result<Exit> {
    of(ctx, &args, "/services", "service").await
}

async fn of(ctx: &Ctx, args: &PsArgs, path: &str, filter: &str) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut filters = opts::filters(&args.look.filter).map_err(|err| anyhow!(err))?;
    let (mut found, mut missing) = (false, Vec::new());
    for name in &args.names {
        match client.get(&format!("{path}/{}", segment(name)), &Query::new()).await {
            Ok(object) => {
                filters[filter][object["ID"].as_str().unwrap_or_default()] = Value::Bool(true);
                found = true;
            }
            Err(err) if err.status() == Some(404) => {
                missing.push(format!("no such {filter}: {name}"));
            }
            Err(err) => return Err(err.into()),
        }
    }
    let exit = if found { show(client, &args.look, &filters).await? } else { report::OK };
    for line in &missing {
        eprintln!("{line}");
    }
    Ok(if missing.is_empty() { exit } else { report::FAILED })
}

/// Prints the tasks that `filters` leave.
pub(crate) async fn show(client: &Client, look: &Look, filters: &Value) -> Result<Exit> {
    let query = Query::new().with("filters", filters.to_string());
    let found = client.get("/tasks", &query).await?;
    let mut names = Names::default();
    if !look.no_resolve {
        names = Names::read(client).await?;
    }
    let mut tasks: Vec<(String, &Value)> =
        found.as_array().into_iter().flatten().map(|task| (names.task(task), task)).collect();
    tasks.sort_by(|(one, a), (other, b)| {
        let newest = text(&b["CreatedAt"]).cmp(text(&a["CreatedAt"]));
        natural(one).cmp(&natural(other)).then(newest)
    });
    let mut last = String::new();
    let rows: Vec<Value> = tasks
        .into_iter()
        .map(|(name, task)| {
            // Earlier runs of a slot hang under the newest.
            let shown = if name == last { format!(" \\_ {name}") } else { name.clone() };
            last = name;
            row(task, &shown, &names, !look.no_trunc)
        })
        .collect();
    let listing = Listing {
        format: &look.format,
        quiet: look.quiet.then_some("ID"),
        table: &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("Image", "IMAGE"),
            ("Node", "NODE"),
            ("DesiredState", "DESIRED STATE"),
            ("CurrentState", "CURRENT STATE"),
            ("Error", "ERROR"),
            ("Ports", "PORTS"),
        ],
        more: &[],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

/// Names by id; an id without one stands for itself.
#[derive(Default)]
pub(crate) struct Names {
    services: HashMap<String, String>,
    nodes: HashMap<String, String>,
}

impl Names {
    pub(crate) async fn read(client: &Client) -> Result<Self> {
        let services = client.get("/services", &Query::new()).await?;
        let nodes = client.get("/nodes", &Query::new()).await?;
        let by_id = |list: &Value, name: fn(&Value) -> &Value| {
            let list = list.as_array().into_iter().flatten();
            list.map(|row| (text(&row["ID"]).to_owned(), text(name(row)).to_owned())).collect()
        };
        Ok(Names {
            services: by_id(&services, |row| &row["Spec"]["Name"]),
            nodes: by_id(&nodes, |row| &row["Description"]["Hostname"]),
        })
    }

    /// `web.1`, or `web.<node's id>` for a task of a global service.
    pub(crate) fn task(&self, task: &Value) -> String {
        let service = text(&task["ServiceID"]);
        let service = self.services.get(service).map_or(service, String::as_str);
        match task["Slot"].as_u64().unwrap_or(0) {
            0 => format!("{service}.{}", text(&task["NodeID"])),
            slot => format!("{service}.{slot}"),
        }
    }

    pub(crate) fn node<'a>(&'a self, id: &'a str) -> &'a str {
        self.nodes.get(id).map_or(id, String::as_str)
    }
}

fn row(task: &Value, name: &str, names: &Names, truncate: bool) -> Value {
    let status = &task["Status"];
    let image = text(&task["Spec"]["ContainerSpec"]["Image"]);
    let image = if truncate { without_digest(image) } else { image };
    let since = clock::seconds_of(text(&status["Timestamp"])).unwrap_or_default();
    let since = human_duration(clock::now_seconds() - since).to_lowercase();
    let error = text(&status["Err"]);
    let error = if truncate { ellipsis(error, LONGEST_ERROR) } else { error.to_owned() };
    json!({
        "CurrentState": format!("{} {since} ago", capital(text(&status["State"]))),
        "DesiredState": capital(text(&task["DesiredState"])),
        "Error": if error.is_empty() { error } else { format!("\"{error}\"") },
        "ID": short_id(text(&task["ID"]), truncate),
        "Image": image,
        "Name": name,
        "Node": names.node(text(&task["NodeID"])),
        "Ports": ports(&status["PortStatus"]["Ports"]),
    })
}

fn ports(ports: &Value) -> String {
    let ports = ports.as_array().into_iter().flatten();
    let shown = ports.map(|port| {
        format!("*:{}->{}/{}", port["PublishedPort"], port["TargetPort"], text(&port["Protocol"]))
    });
    shown.collect::<Vec<_>>().join(",")
}

/// `nginx:1@sha256:…` as `nginx:1`.
pub(crate) fn without_digest(image: &str) -> &str {
    match image.split_once('@') {
        Some((name, _)) if name.rsplit('/').next().is_some_and(|last| last.contains(':')) => name,
        _ => image,
    }
}

/// Orders `web.2` before `web.10`.
pub(crate) fn natural(name: &str) -> (String, u64, String) {
    match name.rsplit_once('.') {
        Some((service, slot)) => {
            (service.to_owned(), slot.parse().unwrap_or(u64::MAX), slot.to_owned())
        }
        None => (name.to_owned(), 0, String::new()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_ordered_as_numbers() {
        let mut names = ["web.10", "web.2", "api.1"];
        names.sort_by_key(|name| natural(name));
        assert_eq!(names, ["api.1", "web.2", "web.10"]);
    }

    #[test]
    fn a_row_has_dockers_words() {
        let task = json!({
            "ID": "abcdefghijklmnopqrstuvwxy", "ServiceID": "s", "NodeID": "n", "Slot": 2,
            "DesiredState": "shutdown", "Spec": {"ContainerSpec": {"Image": "nginx:1@sha256:00"}},
            "Status": {"State": "failed", "Err": "task: non-zero exit (137): and much more of it"},
        });
        let names = Names {
            services: HashMap::from([("s".to_owned(), "web".to_owned())]),
            nodes: HashMap::from([("n".to_owned(), "node1".to_owned())]),
        };
        let row = row(&task, &names.task(&task), &names, true);
        assert_eq!(row["ID"], "abcdefghijkl");
        assert_eq!(row["Name"], "web.2");
        assert_eq!(row["Image"], "nginx:1");
        assert_eq!(row["Node"], "node1");
        assert_eq!(row["Error"], "\"task: non-zero exit (137): an…\"");
    }
}
