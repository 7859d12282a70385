//! `stats`: one sample a second, each with the one before it. And what all containers of the node use together.

use super::options::StatsOptions;
use super::record::Container;
use crate::{ByteStream, Engine, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use types::stats::{NodeUsage, Stats};

const EVERY: Duration = Duration::from_secs(1);
/// Between the two looks that a use of processors is told from.
const BETWEEN: Duration = Duration::from_millis(300);

impl Engine {
    /// `GET /containers/{id}/stats`: JSON objects of `types::stats`, one per line. A container that does not
    /// run gives zeros, as dockerd does.
    pub async fn container_stats(&self, id: &str, options: StatsOptions) -> Result<ByteStream> {
        let container = self.0.containers.find(id)?;
        let first = self.sample(&container, None).await;
        if options.one_shot || !container.record().state.running {
            return Ok(Box::pin(futures_util::stream::iter([line(&first)])));
        }
        let engine = self.clone();
        let mut ticks = tokio::time::interval(EVERY);
        ticks.tick().await;
        let state = (engine, container, first, ticks, options.stream, true);
        let samples = futures_util::stream::unfold(
            state,
            |(engine, container, last, mut ticks, stream, go_on)| async move {
                if !go_on {
                    return None;
                }
                ticks.tick().await;
                if container.life.borrow().removed {
                    return None;
                }
                let next = engine.sample(&container, Some(&last)).await;
                Some((line(&next), (engine, container, next, ticks, stream, stream)))
            },
        );
        Ok(Box::pin(samples))
    }

    /// What the node's containers use together: read from the cgroup that holds them, when it is asked for and never else.
    pub async fn usage(&self) -> NodeUsage {
        let cgroup = self.cgroup_of_all();
        let before = metrics::group(&cgroup);
        tokio::time::sleep(BETWEEN).await;
        let now = metrics::group(&cgroup);
        let total = |stats: &Stats| stats.cpu_stats.cpu_usage.total_usage;
        let used = u128::from(total(&now).saturating_sub(total(&before)));
        let nanos = now.read.since(before.read).as_nanos().max(1);
        NodeUsage {
            node: String::new(),
            nano_cpus: u64::try_from(used * 1_000_000_000 / nanos).unwrap_or(u64::MAX),
            memory_bytes: now.memory_stats.in_use(),
        }
    }

    async fn sample(&self, container: &Arc<Container>, before: Option<&Stats>) -> Stats {
        let (pid, name) = {
            let record = container.record();
            (record.state.pid, record.name.clone())
        };
        let cgroup = self.cgroup_path(container);
        let mut stats = if pid > 0 {
            metrics::sample(&cgroup, pid).unwrap_or_default()
        } else {
            Stats::default()
        };
        stats.id = container.id.to_string();
        stats.name = format!("/{name}");
        if let Some(before) = before {
            stats.preread = before.read;
            stats.precpu_stats = before.cpu_stats.clone();
        }
        stats
    }
}

fn line(stats: &Stats) -> std::io::Result<Bytes> {
    let mut text = serde_json::to_vec(stats).map_err(std::io::Error::other)?;
    text.push(b'\n');
    Ok(Bytes::from(text))
}
