//! `sampan node …`.

mod top;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Query, segment};
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::inspect;
use crate::opts;
use crate::report::{self, Exit};
use crate::task;

/// What `sampan node` offers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Demote one or more nodes from manager in the swarm
    Demote(NodesArgs),
    /// Display detailed information on one or more nodes
    Inspect(inspect::PrettyArgs),
    /// List nodes in the swarm
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Promote one or more nodes to manager in the swarm
    Promote(NodesArgs),
    /// List tasks running on one or more nodes, defaults to current node
    Ps(task::PsArgs),
    /// Remove one or more nodes from the swarm
    #[command(visible_alias = "remove")]
    Rm(RmArgs),
    /// Show what tasks reserve of each node, and what their limits come to
    Top(top::TopArgs),
    /// Update a node
    Update(UpdateArgs),
}

/// Nodes by id or host name.
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

/// `node ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Only display IDs
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// `node rm`.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force remove a node from the swarm
    #[arg(short = 'f', long)]
    force: bool,
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
}

/// `node update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Availability of the node ("active", "pause", "drain")
    #[arg(long, value_name = "string")]
    availability: Option<String>,
    /// Add or update a node label ("key=value")
    #[arg(long, value_name = "list")]
    label_add: Vec<String>,
    /// Remove a node label if exists
    #[arg(long, value_name = "list")]
    label_rm: Vec<String>,
    /// Role of the node ("worker", "manager")
    #[arg(long, value_name = "string")]
    role: Option<String>,
    #[arg(value_name = "NODE")]
    node: String,
}

/// Runs a word of the `node` object.
pub(crate) async fn run(ctx: &Ctx, command: Command) -> Result<Exit> {
    match command {
        Command::Demote(args) => set_role(ctx, &args.nodes, "worker").await,
        Command::Inspect(args) => inspect::run_pretty(ctx, args, inspect::Kind::Node, pretty).await,
        Command::Ls(args) => list(ctx, &args).await,
        Command::Promote(args) => set_role(ctx, &args.nodes, "manager").await,
        Command::Ps(args) => task::of_nodes(ctx, args).await,
        Command::Rm(args) => remove(ctx, &args).await,
        Command::Top(args) => top::run(ctx, &args).await,
        Command::Update(args) => update(ctx, &args).await,
    }
}

async fn list(ctx: &Ctx, args: &LsArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let found = client.get("/nodes", &Query::new().with("filters", filters.to_string())).await?;
    let info = client.get("/info", &Query::new()).await?;
    let own = info["Swarm"]["NodeID"].as_str().unwrap_or_default();
    let mut nodes: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    nodes.sort_by_key(|node| text(&node["Description"]["Hostname"]));
    let rows: Vec<Value> = nodes.into_iter().map(|node| row(node, own)).collect();
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table: &[
            ("Marked", "ID"),
            ("Hostname", "HOSTNAME"),
            ("Status", "STATUS"),
            ("Availability", "AVAILABILITY"),
            ("ManagerStatus", "MANAGER STATUS"),
            ("EngineVersion", "ENGINE VERSION"),
        ],
        more: &[("ID", "ID"), ("Self", "SELF"), ("TLSStatus", "TLS STATUS")],
        hidden: &["Marked"],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn row(node: &Value, own: &str) -> Value {
    let id = text(&node["ID"]);
    let manager = match &node["ManagerStatus"] {
        status if status["Leader"] == true => "Leader".to_owned(),
        status => capital(text(&status["Reachability"])),
    };
    json!({
        "Availability": capital(text(&node["Spec"]["Availability"])),
        "EngineVersion": node["Description"]["Engine"]["EngineVersion"],
        "Hostname": node["Description"]["Hostname"],
        "ID": id,
        "ManagerStatus": manager,
        "Marked": format!("{id} {}", if id == own { "*" } else { " " }),
        "Self": id == own,
        "Status": capital(text(&node["Status"]["State"])),
        "TLSStatus": "Ready",
    })
}

pub(crate) fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn get(client: &Client, node: &str) -> Result<Value> {
    Ok(client.get(&format!("/nodes/{}", segment(node)), &Query::new()).await?)
}

async fn put(client: &Client, node: &Value) -> Result<()> {
    let path = format!("/nodes/{}/update", text(&node["ID"]));
    let query = Query::new().with("version", node["Version"]["Index"].to_string());
    client.json(Method::POST, &path, &query, Some(&node["Spec"])).await?;
    Ok(())
}

async fn update(ctx: &Ctx, args: &UpdateArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let mut node = get(client, &args.node).await?;
    if let Some(role) = &args.role {
        node["Spec"]["Role"] = role.as_str().into();
    }
    if let Some(availability) = &args.availability {
        node["Spec"]["Availability"] = availability.as_str().into();
    }
    for (key, value) in opts::pairs(&args.label_add) {
        node["Spec"]["Labels"][key] = value.into();
    }
    for key in &args.label_rm {
        let labels = node["Spec"]["Labels"].as_object_mut();
        if labels.and_then(|labels| labels.shift_remove(key)).is_none() {
            return Err(anyhow!("key {key} doesn't exist in node's labels"));
        }
    }
    put(client, &node).await?;
    report::say(&args.node)?;
    Ok(report::OK)
}

async fn set_role(ctx: &Ctx, nodes: &[String], role: &str) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(nodes, async |name| {
        let mut node = get(client, &name).await?;
        if node["Spec"]["Role"] == role {
            return Ok(Some(format!("Node {name} is already a {role}.")));
        }
        node["Spec"]["Role"] = role.into();
        put(client, &node).await?;
        Ok(Some(match role {
            "manager" => format!("Node {name} promoted to a manager in the swarm."),
            _ => format!("Manager {name} demoted in the swarm."),
        }))
    })
    .await
}

async fn remove(ctx: &Ctx, args: &RmArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    report::each(&args.nodes, async |name| {
        let query = Query::new().flag("force", args.force);
        client.json(Method::DELETE, &format!("/nodes/{}", segment(&name)), &query, None).await?;
        Ok(Some(name))
    })
    .await
}

fn pretty(node: &Value) -> String {
    let description = &node["Description"];
    let mut out = format!("ID:\t\t\t{}\n", text(&node["ID"]));
    let labels = node["Spec"]["Labels"].as_object();
    if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
        out.push_str("Labels:\n");
        for (key, value) in labels {
            out.push_str(&format!(" - {key}={}\n", text(value)));
        }
    }
    let resources = &description["Resources"];
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            out.push_str(&format!("{name}{value}\n"));
        }
    };
    line("Hostname:              \t", text(&description["Hostname"]).to_owned());
    line("Joined at:             \t", crate::clock::go_time_text(text(&node["CreatedAt"])));
    line("Status:", "\n State:\t\t\t".to_owned() + &capital(text(&node["Status"]["State"])));
    line(" Availability:         \t", capital(text(&node["Spec"]["Availability"])));
    line(" Address:\t\t", text(&node["Status"]["Addr"]).to_owned());
    if node["ManagerStatus"].is_object() {
        let status = &node["ManagerStatus"];
        line("Manager Status:", format!("\n Address:\t\t{}", text(&status["Addr"])));
        line(" Raft Status:\t\t", capital(text(&status["Reachability"])));
        let leader = if status["Leader"] == true { "Yes" } else { "No" };
        line(" Leader:\t\t", leader.to_owned());
    }
    let platform = &description["Platform"];
    line("Platform:", format!("\n Operating System:\t{}", text(&platform["OS"])));
    line(" Architecture:\t\t", text(&platform["Architecture"]).to_owned());
    let cpus = resources["NanoCPUs"].as_i64().unwrap_or(0) / 1_000_000_000;
    line("Resources:", format!("\n CPUs:\t\t\t{cpus}"));
    let memory = resources["MemoryBytes"].as_f64().unwrap_or(0.0);
    line(" Memory:\t\t", crate::format::units::bytes_size(memory));
    let engine = &description["Engine"];
    line("Engine Version:\t\t", text(&engine["EngineVersion"]).to_owned());
    if let Some(labels) = engine["Labels"].as_object().filter(|labels| !labels.is_empty()) {
        out.push_str("Engine Labels:\n");
        for (key, value) in labels {
            out.push_str(&format!(" - {key}={}\n", text(value)));
        }
    }
    out
}
