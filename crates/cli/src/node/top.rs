//! `node top`: what tasks reserve of each node, what limits let them take and what they use now, beside what it has.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::text;
use crate::client::Query;
use crate::ctx::Ctx;
use crate::format::Listing;
use crate::format::units::bytes_size;
use crate::report::{self, Exit};

/// `node top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
}

/// Sums over the tasks of one node.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Sums {
    tasks: u64,
    reserved_cpus: f64,
    reserved_memory: f64,
    limit_cpus: f64,
    limit_memory: f64,
    /// Tasks without a limit of memory: they may take all of it.
    unlimited: u64,
}

/// One row for each node.
pub(super) async fn run(ctx: &Ctx, args: &TopArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let nodes = client.get("/nodes", &Query::new()).await?;
    let filters = json!({"desired-state": {"running": true}}).to_string();
    let tasks = client.get("/tasks", &Query::new().with("filters", filters)).await?;
    let used = client.get("/sampan/usage", &Query::new()).await?;
    let mut nodes: Vec<&Value> = nodes.as_array().into_iter().flatten().collect();
    nodes.sort_by_key(|node| text(&node["Description"]["Hostname"]));
    let rows: Vec<Value> =
        nodes.into_iter().map(|node| row(node, sums(node, &tasks), used_of(node, &used))).collect();
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[
            ("Hostname", "HOSTNAME"),
            ("Tasks", "TASKS"),
            ("CPUReserved", "CPU RESERVED"),
            ("CPULimit", "CPU LIMIT"),
            ("CPUUsed", "CPU USED"),
            ("MemoryReserved", "MEMORY RESERVED"),
            ("MemoryLimit", "MEMORY LIMIT"),
            ("MemoryUsed", "MEMORY USED"),
            ("Unlimited", "UNLIMITED TASKS"),
        ],
        more: &[("ID", "ID")],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn sums(node: &Value, tasks: &Value) -> Sums {
    let mut sums = Sums::default();
    let ended = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];
    for task in tasks.as_array().into_iter().flatten() {
        if task["NodeID"] != node["ID"] || ended.contains(&text(&task["Status"]["State"])) {
            continue;
        }
        let amount =
            |kind: &str, of: &str| task["Spec"]["Resources"][kind][of].as_f64().unwrap_or_default();
        sums.tasks += 1;
        sums.reserved_cpus += amount("Reservations", "NanoCPUs") / 1e9;
        sums.reserved_memory += amount("Reservations", "MemoryBytes");
        sums.limit_cpus += amount("Limits", "NanoCPUs") / 1e9;
        sums.limit_memory += amount("Limits", "MemoryBytes");
        sums.unlimited += u64::from(amount("Limits", "MemoryBytes") == 0.0);
    }
    sums
}

/// Processors and bytes that the node's containers use, by its own word; none when it does not answer.
fn used_of(node: &Value, used: &Value) -> Option<(f64, f64)> {
    let mut used = used.as_array().into_iter().flatten();
    let its = used.find(|its| its["Node"] == node["ID"])?;
    Some((its["NanoCPUs"].as_f64()? / 1e9, its["MemoryBytes"].as_f64()?))
}

fn row(node: &Value, sums: Sums, used: Option<(f64, f64)>) -> Value {
    let has = &node["Description"]["Resources"];
    let cpus = has["NanoCPUs"].as_f64().unwrap_or_default() / 1e9;
    let memory = has["MemoryBytes"].as_f64().unwrap_or_default();
    let of = |part: String, whole: String, share: f64, all: f64| match all > 0.0 {
        true => format!("{part} / {whole} ({:.0}%)", 100.0 * share / all),
        false => part,
    };
    let unknown = || "-".to_owned();
    let used_cpus = used
        .map(|(cpus_used, _)| of(format!("{cpus_used:.2}"), format!("{cpus}"), cpus_used, cpus));
    let used_memory =
        used.map(|(_, bytes)| of(bytes_size(bytes), bytes_size(memory), bytes, memory));
    json!({
        "CPUUsed": used_cpus.unwrap_or_else(unknown),
        "MemoryUsed": used_memory.unwrap_or_else(unknown),
        "CPULimit": of(format!("{:.2}", sums.limit_cpus), format!("{cpus}"), sums.limit_cpus, cpus),
        "CPUReserved": of(format!("{:.2}", sums.reserved_cpus), format!("{cpus}"), sums.reserved_cpus, cpus),
        "Hostname": node["Description"]["Hostname"],
        "ID": node["ID"],
        "MemoryLimit": of(bytes_size(sums.limit_memory), bytes_size(memory), sums.limit_memory, memory),
        "MemoryReserved": of(bytes_size(sums.reserved_memory), bytes_size(memory), sums.reserved_memory, memory),
        "Tasks": sums.tasks.to_string(),
        "Unlimited": sums.unlimited.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_live_tasks_of_the_node_are_summed() {
        let task = |node: &str, state: &str, memory: u64| {
            json!({"NodeID": node, "Status": {"State": state}, "Spec": {"Resources": {
                "Reservations": {"NanoCPUs": 500_000_000, "MemoryBytes": memory},
                "Limits": {"MemoryBytes": memory}}}})
        };
        let mib = 1 << 20;
        let tasks = json!([
            task("a", "running", 64 * mib),
            task("a", "starting", 0),
            task("a", "failed", 64 * mib),
            task("b", "running", 64 * mib),
        ]);
        let resources = json!({"NanoCPUs": 2_000_000_000_u64, "MemoryBytes": 256 * mib});
        let node = json!({"ID": "a", "Description": {"Hostname": "n1", "Resources": resources}});
        let used = json!([{"Node": "a", "NanoCPUs": 500_000_000, "MemoryBytes": 32 * mib}]);
        let row = |node: &Value| row(node, sums(node, &tasks), used_of(node, &used));
        assert_eq!(row(&json!({"ID": "b"}))["MemoryUsed"], "-");
        let row = row(&node);
        assert_eq!(
            (row["CPUUsed"].as_str(), row["MemoryUsed"].as_str()),
            (Some("0.50 / 2 (25%)"), Some("32MiB / 256MiB (12%)"))
        );
        assert_eq!((row["Tasks"].as_str(), row["Unlimited"].as_str()), (Some("2"), Some("1")));
        assert_eq!(row["CPUReserved"], "1.00 / 2 (50%)");
        assert_eq!(row["MemoryReserved"], "64MiB / 256MiB (25%)");
    }
}
