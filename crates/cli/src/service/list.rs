//! `service ls`.

use anyhow::{Result, anyhow};
use clap::Args;
use serde_json::{Value, json};

use crate::client::Query;
use crate::ctx::Ctx;
use crate::format::{Listing, short_id};
use crate::opts;
use crate::report::{self, Exit};
use crate::task::{natural, without_digest};

/// `service ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Filter output based on conditions provided
    #[arg(short = 'f', long, value_name = "filter")]
    pub(crate) filter: Vec<String>,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Only display IDs
    #[arg(short = 'q', long)]
    quiet: bool,
}

/// Lists services.
pub(crate) async fn run(ctx: &Ctx, args: LsArgs) -> Result<Exit> {
    let filters = opts::filters(&args.filter).map_err(|err| anyhow!(err))?;
    let query = Query::new().with("filters", filters.to_string()).with("status", "true");
    let found = ctx.client().await?.get("/services", &query).await?;
    let mut services: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    services.sort_by_key(|service| natural(text(&service["Spec"]["Name"])));
    let rows: Vec<Value> = services.into_iter().map(row).collect();
    let listing = Listing {
        format: &args.format,
        quiet: args.quiet.then_some("ID"),
        table: &[
            ("ID", "ID"),
            ("Name", "NAME"),
            ("Mode", "MODE"),
            ("Replicas", "REPLICAS"),
            ("Image", "IMAGE"),
            ("Ports", "PORTS"),
        ],
        more: &[],
        hidden: &[],
    };
    report::print(&listing.render(&rows)?)?;
    Ok(report::OK)
}

fn row(service: &Value) -> Value {
    let spec = &service["Spec"];
    let mode = match &spec["Mode"] {
        mode if mode["Global"].is_object() => "global",
        mode if mode["ReplicatedJob"].is_object() => "replicated job",
        mode if mode["GlobalJob"].is_object() => "global job",
        _ => "replicated",
    };
    json!({
        "ID": short_id(text(&service["ID"]), true),
        "Image": without_digest(text(&spec["TaskTemplate"]["ContainerSpec"]["Image"])),
        "Mode": mode,
        "Name": spec["Name"],
        "Ports": ports(&service["Endpoint"]["Ports"]),
        "Replicas": replicas(service, mode),
    })
}

fn replicas(service: &Value, mode: &str) -> String {
    let status = &service["ServiceStatus"];
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let running = number(&status["RunningTasks"]);
    let desired = number(&status["DesiredTasks"]);
    let completed = number(&status["CompletedTasks"]);
    let most = number(&service["Spec"]["TaskTemplate"]["Placement"]["MaxReplicas"]);
    match mode {
        "replicated job" => {
            let total = number(&service["Spec"]["Mode"]["ReplicatedJob"]["TotalCompletions"]);
            format!("{running}/{desired} ({completed}/{total} completed)")
        }
        "global job" => {
            format!("{running}/{desired} ({completed}/{} completed)", desired + completed)
        }
        "replicated" if most > 0 => format!("{running}/{desired} (max {most} per node)"),
        _ => format!("{running}/{desired}"),
    }
}

/// `*:8080-8081->80-81/tcp`: neighbours in both are drawn together.
pub(crate) fn ports(ports: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let mut ingress: Vec<(&str, u64, u64)> = ports
        .as_array()
        .into_iter()
        .flatten()
        .filter(|port| port["PublishMode"] != "host")
        .map(|port| {
            (text(&port["Protocol"]), number(&port["PublishedPort"]), number(&port["TargetPort"]))
        })
        .collect();
    ingress.sort_unstable();
    let mut runs: Vec<(&str, u64, u64, u64)> = Vec::new();
    for (protocol, published, target) in ingress {
        match runs.last_mut() {
            Some((last, from, to, count))
                if *last == protocol && *from + *count == published && *to + *count == target =>
            {
                *count += 1;
            }
            _ => runs.push((protocol, published, target, 1)),
        }
    }
    let range = |from: u64, count: u64| match count {
        1 => from.to_string(),
        _ => format!("{from}-{}", from + count - 1),
    };
    let shown = runs.into_iter().map(|(protocol, from, to, count)| {
        format!("*:{}->{}/{protocol}", range(from, count), range(to, count))
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(published: u16, target: u16, protocol: &str) -> Value {
        json!({"PublishedPort": published, "TargetPort": target, "Protocol": protocol})
    }

    #[test]
    fn neighbouring_ports_are_one_range() {
        let all = json!([port(81, 91, "tcp"), port(80, 90, "tcp"), port(80, 90, "udp")]);
        assert_eq!(ports(&all), "*:80-81->90-91/tcp, *:80->90/udp");
        assert_eq!(ports(&Value::Null), "");
    }

    #[test]
    fn replicas_are_counted_by_mode() {
        let status = json!({"RunningTasks": 1, "DesiredTasks": 3, "CompletedTasks": 2});
        let service = json!({"ServiceStatus": status, "Spec": {
            "Mode": {"ReplicatedJob": {"TotalCompletions": 9}},
            "TaskTemplate": {"Placement": {"MaxReplicas": 2}},
        }});
        assert_eq!(replicas(&service, "replicated"), "1/3 (max 2 per node)");
        assert_eq!(replicas(&service, "replicated job"), "1/3 (2/9 completed)");
        assert_eq!(replicas(&service, "global"), "1/3");
    }
}
