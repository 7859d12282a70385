//! `stats`: one sample, or a screen that follows.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::client::stream::JsonStream;
use crate::client::{Client, Query, no_body, segment};
use crate::ctx::Ctx;
use crate::format::units::{bytes_size, human_size3};
use crate::format::{Listing, short_id};
use crate::report::{self, Exit};
use crate::terminal;

/// `sampan stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Show all containers (default shows just running)
    #[arg(short = 'a', long)]
    all: bool,
    /// Format output using a custom template: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
    format: String,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Clears the screen and moves to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Shows resource usage.
pub(crate) async fn run(ctx: &Ctx, args: StatsArgs) -> Result<Exit> {
    let client = ctx.client().await?;
    let names = if args.containers.is_empty() {
        listed(client, args.all).await?
    } else {
        args.containers.clone()
    };
    if args.no_stream {
        return once(client, &args, &names).await;
    }
    let (sender, mut samples) = mpsc::channel(names.len().max(1));
    let mut followers = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let (client, name, sender) = (client.clone(), name.clone(), sender.clone());
        followers.spawn(async move { follow(&client, at, &name, sender).await });
    }
    drop(sender);
    let mut rows: BTreeMap<usize, Value> =
        names.iter().enumerate().map(|(at, name)| (at, unknown(name, !args.no_trunc))).collect();
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(500));
    loop {
        tokio::select! {
            sample = samples.recv() => match sample {
                Some((at, sample)) => { rows.insert(at, row(&sample, &names[at], !args.no_trunc)); }
                None => break,
            },
            Some(ended) = followers.join_next() => ended??,
            _ = ticks.tick() => show(&args, &rows)?,
        }
    }
    show(&args, &rows)?;
    Ok(report::OK)
}

async fn once(client: &Client, args: &StatsArgs, names: &[String]) -> Result<Exit> {
    let mut waiting = JoinSet::new();
    for (at, name) in names.iter().enumerate() {
        let (client, name) = (client.clone(), name.clone());
        waiting.spawn(async move {
            let path = format!("/containers/{}/stats", segment(&name));
            let query = Query::new().with("stream", "0");
            client.get(&path, &query).await.map(|sample| (at, sample))
        });
    }
    let mut rows = BTreeMap::new();
    let mut failures = Vec::new();
    while let Some(ended) = waiting.join_next().await {
        match ended? {
            Ok((at, sample)) => {
                rows.insert(at, row(&sample, &names[at], !args.no_trunc));
            }
            Err(err) => failures.push(err.to_string()),
        }
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    report::print(&table(args, &rows)?)?;
    Ok(report::OK)
}

async fn listed(client: &Client, all: bool) -> Result<Vec<String>> {
    let list = client.get("/containers/json", &Query::new().flag("all", all)).await?;
    let ids = list.as_array().into_iter().flatten();
    Ok(ids.filter_map(|c| Some(c["Id"].as_str()?.to_owned())).collect())
}

async fn follow(
    client: &Client,
    at: usize,
    name: &str,
    sender: mpsc::Sender<(usize, Value)>,
) -> Result<()> {
    let path = format!("/containers/{}/stats", segment(name));
    let query = Query::new().with("stream", "1");
    let mut stream =
        client.bytes(http::Method::GET, &path, &query, Default::default(), no_body()).await?;
    let mut decoder = JsonStream::default();
    while let Some(chunk) = stream.next().await {
        for sample in decoder.push(&chunk?)? {
            if sender.send((at, sample)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn show(args: &StatsArgs, rows: &BTreeMap<usize, Value>) -> Result<()> {
    let clear = if terminal::stdout_is_terminal() { CLEAR } else { "" };
    report::print(&format!("{clear}{}", table(args, rows)?))?;
    Ok(())
}

fn table(args: &StatsArgs, rows: &BTreeMap<usize, Value>) -> Result<String> {
    let rows: Vec<Value> = rows.values().cloned().collect();
    let listing = Listing {
        format: &args.format,
        quiet: None,
        table: &[
            ("ID", "CONTAINER ID"),
            ("Name", "NAME"),
            ("CPUPerc", "CPU %"),
            ("MemUsage", "MEM USAGE / LIMIT"),
            ("MemPerc", "MEM %"),
            ("NetIO", "NET I/O"),
            ("BlockIO", "BLOCK I/O"),
            ("PIDs", "PIDS"),
        ],
        more: &[("Container", "CONTAINER")],
        hidden: &[],
    };
    listing.render(&rows)
}

fn unknown(name: &str, truncate: bool) -> Value {
    json!({
        "BlockIO": "-- / --", "CPUPerc": "--", "Container": name, "ID": short_id(name, truncate),
        "MemPerc": "--", "MemUsage": "-- / --", "Name": "--", "NetIO": "--", "PIDs": "--",
    })
}

fn row(sample: &Value, asked: &str, truncate: bool) -> Value {
    let (used, limit) = memory(&sample["memory_stats"]);
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (received, sent) = network(&sample["networks"]);
    let (read, written) = block_io(&sample["blkio_stats"]["io_service_bytes_recursive"]);
    let id = sample["id"].as_str().unwrap_or(asked);
    json!({
        "BlockIO": format!("{} / {}", human_size3(read), human_size3(written)),
        "CPUPerc": format!("{:.2}%", cpu_percent(sample)),
        "Container": short_id(asked, truncate && id.starts_with(asked)),
        "ID": short_id(id, truncate),
        "MemPerc": format!("{percent:.2}%"),
        "MemUsage": format!("{} / {}", bytes_size(used), bytes_size(limit)),
        "Name": sample["name"].as_str().unwrap_or_default().trim_start_matches('/'),
        "NetIO": format!("{} / {}", human_size3(received), human_size3(sent)),
        "PIDs": sample["pids_stats"]["current"].as_u64().unwrap_or(0).to_string(),
    })
}

/// Share of one processor over the time between two samples, times the processors.
fn cpu_percent(sample: &Value) -> f64 {
    let number = |value: &Value| value.as_f64().unwrap_or(0.0);
    let usage = |stats: &Value| number(&stats["cpu_usage"]["total_usage"]);
    let (now, before) = (&sample["cpu_stats"], &sample["precpu_stats"]);
    let container = usage(now) - usage(before);
    let system = number(&now["system_cpu_usage"]) - number(&before["system_cpu_usage"]);
    let online = match number(&now["online_cpus"]) {
        0.0 => now["cpu_usage"]["percpu_usage"].as_array().map_or(1, Vec::len) as f64,
        online => online,
    };
    if system > 0.0 && container > 0.0 { container / system * online * 100.0 } else { 0.0 }
}

/// Used and limit; the page cache that can be dropped is not "used".
fn memory(stats: &Value) -> (f64, f64) {
    let usage = stats["usage"].as_f64().unwrap_or(0.0);
    let cache = ["total_inactive_file", "inactive_file"];
    let cache = cache.iter().find_map(|key| stats["stats"][*key].as_f64()).unwrap_or(0.0);
    (if cache < usage { usage - cache } else { usage }, stats["limit"].as_f64().unwrap_or(0.0))
}

fn network(networks: &Value) -> (f64, f64) {
    networks.as_object().into_iter().flatten().fold((0.0, 0.0), |(rx, tx), (_, net)| {
        (rx + net["rx_bytes"].as_f64().unwrap_or(0.0), tx + net["tx_bytes"].as_f64().unwrap_or(0.0))
    })
}

fn block_io(entries: &Value) -> (f64, f64) {
    entries.as_array().into_iter().flatten().fold((0.0, 0.0), |(read, written), entry| {
        let value = entry["value"].as_f64().unwrap_or(0.0);
        match entry["op"].as_str().and_then(|op| op.chars().next()) {
            Some('r' | 'R') => (read + value, written),
            Some('w' | 'W') => (read, written + value),
            _ => (read, written),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_counted_as_docker_counts_it() {
        let sample = json!({
            "id": "0123456789abcdef", "name": "/c1",
            "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 200}, "system_cpu_usage": 1000},
            "memory_stats": {"usage": 2048, "limit": 4096, "stats": {"inactive_file": 1024}},
            "networks": {"eth0": {"rx_bytes": 756, "tx_bytes": 0}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "Read", "value": 10}, {"op": "write", "value": 5}]},
            "pids_stats": {"current": 3},
        });
        let row = row(&sample, "c1", true);
        assert_eq!(row["CPUPerc"], "20.00%");
        assert_eq!(row["MemUsage"], "1KiB / 4KiB");
        assert_eq!(row["MemPerc"], "25.00%");
        assert_eq!(row["NetIO"], "756B / 0B");
        assert_eq!(row["BlockIO"], "10B / 5B");
        assert_eq!(row["PIDs"], "3");
    }
}
