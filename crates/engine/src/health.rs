//! Runs a container's health checks. What a result means is decided by `lifecycle`; here it is run,
//! written down and announced.

use crate::container::Container;
use crate::{Engine, Result};
use lifecycle::{HealthStatus, Probe, ProbeOutcome, Vitals};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::AsyncReadExt;
use types::Timestamp;
use types::container::{ExecConfig, Health, HealthResult, Status};

/// Docker keeps this much of a probe's output, and this many probes.
const OUTPUT_BYTES: usize = 4096;
const KEPT_RESULTS: usize = 5;
/// dockerd's exit code for a probe that could not be run or timed out.
const PROBE_FAILED: i64 = -1;
/// How long a killed probe may take to vanish.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Probes until the container ends. The caller spawns it for each run of the container.
    pub(crate) async fn watch_health(&self, container: Arc<Container>) {
        let (probe, started_at) = {
            let record = container.record();
            (record.config.healthcheck.as_ref().and_then(Probe::new), record.state.started_at)
        };
        let Some(probe) = probe else { return };
        let mut life = container.life.subscribe();
        let mut number = 0u64;
        loop {
            let now = Timestamp::from(SystemTime::now());
            let pause = probe.delay(&vitals(&container), started_at, now);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ended = life.wait_for(|life| !life.running) => return,
            }
            if container.status() == Status::Paused {
                continue;
            }
            number += 1;
            let result = self.probe(&container, &probe, number).await;
            if !container.record().state.running
                || container.record().state.started_at != started_at
            {
                return;
            }
            if let Err(err) = self.note(&container, &probe, result) {
                tracing::warn!(container = container.id.short(), error = %err, "failed to save the health");
            }
        }
    }

    fn note(&self, container: &Container, probe: &Probe, result: HealthResult) -> Result<()> {
        let outcome =
            if result.exit_code == 0 { ProbeOutcome::Success } else { ProbeOutcome::Failure };
        let before = vitals(container);
        let started_at = container.record().state.started_at;
        let after = probe.judge(before, outcome, started_at, result.start);
        container.update(|record| {
            let health = record.state.health.get_or_insert_default();
            after.status.as_str().clone_into(&mut health.status);
            health.failing_streak = after.failing_streak;
            health.log.push(result);
            let surplus = health.log.len().saturating_sub(KEPT_RESULTS);
            health.log.drain(..surplus);
        })?;
        if before.status != after.status {
            let action = format!("health_status: {}", after.status.as_str());
            self.0.events.emit("container", &action, container.id.as_str(), container.attributes());
            container.life.send_modify(|_| ());
        }
        Ok(())
    }

    async fn probe(&self, container: &Container, probe: &Probe, number: u64) -> HealthResult {
        let start = Timestamp::from(SystemTime::now());
        let mut output = Vec::new();
        let ended = self.run_within_limit(container, probe, number, &mut output).await;
        let text = String::from_utf8_lossy(&output).into_owned();
        let (exit_code, output) = match ended {
            Some(Ok(code)) => (code, text),
            Some(Err(err)) => (PROBE_FAILED, err.to_string()),
            None => {
                let limit = go_duration(probe.timeout);
                let said = if text.is_empty() { text } else { format!(": {text}") };
                (PROBE_FAILED, format!("Health check exceeded timeout ({limit}){said}"))
            }
        };
        HealthResult { start, end: Timestamp::from(SystemTime::now()), exit_code, output }
    }

    /// The probe's exit code; `None` when it was killed because it took too long. `output` is what it said.
    async fn run_within_limit(
        &self,
        container: &Container,
        probe: &Probe,
        number: u64,
        output: &mut Vec<u8>,
    ) -> Option<Result<i64>> {
        let mut run = std::pin::pin!(self.run_probe(container, probe, number, output));
        if let Ok(ended) = tokio::time::timeout(probe.timeout, run.as_mut()).await {
            return Some(ended);
        }
        self.kill_probe(container, number).await;
        // Its last words, unless a child of it holds on to the pipe.
        if tokio::time::timeout(KILLED_WITHIN, run).await.is_err() {
            self.forget_probe(container, number).await;
        }
        None
    }

    async fn run_probe(
        &self,
        container: &Container,
        probe: &Probe,
        number: u64,
        output: &mut Vec<u8>,
    ) -> Result<i64> {
        let mut command = probe.command.clone();
        if probe.shell {
            let shell = container.record().config.shell.clone();
            let mut line = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            line.append(&mut command);
            command = line;
        }
        let config = ExecConfig { cmd: Some(command), ..ExecConfig::default() };
        let shim = container.running_shim()?;
        let request = runtime::ExecRequest {
            id: probe_id(number),
            process: self.exec_process(container, &config)?,
            tty: false,
            stdin: false,
            stdout: true,
            stderr: true,
            console_size: None,
        };
        let handle = shim.exec(request).await.map_err(crate::Error::from_lower)?;
        if let Some(stream) = handle.stream {
            read_output(stream, output).await;
        }
        handle.end.wait().await.map_err(crate::Error::from_lower)
    }

    async fn kill_probe(&self, container: &Container, number: u64) {
        if let Ok(shim) = container.running_shim()
            && let Err(err) = shim.exec_signal(&probe_id(number), 9).await
        {
            tracing::debug!(container = container.id.short(), error = %err, "the late probe is gone already");
        }
    }

    /// Asks for its end, or the shim would keep it for whoever asks later.
    async fn forget_probe(&self, container: &Container, number: u64) {
        if let Ok(shim) = container.running_shim() {
            let _gone =
                tokio::time::timeout(KILLED_WITHIN, shim.exec_wait(&probe_id(number))).await;
        }
    }
}

fn probe_id(number: u64) -> String {
    format!("health-{number}")
}

fn vitals(container: &Container) -> Vitals {
    let record = container.record();
    let Some(health) = &record.state.health else { return Vitals::default() };
    let status = match health.status.as_str() {
        "healthy" => HealthStatus::Healthy,
        "unhealthy" => HealthStatus::Unhealthy,
        _ => HealthStatus::Starting,
    };
    Vitals { status, failing_streak: health.failing_streak }
}

/// The health of a container that has just started; `None` without a health check.
pub(crate) fn at_start(record: &crate::container::Record) -> Option<Health> {
    record.config.healthcheck.as_ref().and_then(Probe::new)?;
    Some(Health { status: HealthStatus::Starting.as_str().to_owned(), ..Health::default() })
}

/// The frames' payloads, as much as is kept; the rest is read and dropped so that the probe can end.
async fn read_output(mut stream: tokio::net::UnixStream, output: &mut Vec<u8>) {
    let mut header = [0u8; 8];
    let mut payload = Vec::new();
    while stream.read_exact(&mut header).await.is_ok() {
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        payload.resize(length as usize, 0);
        if stream.read_exact(&mut payload).await.is_err() {
            break;
        }
        let room = OUTPUT_BYTES.saturating_sub(output.len()).min(payload.len());
        output.extend_from_slice(&payload[..room]);
    }
}

/// As Go prints a duration: `50ms`, `1.5s`, `1m30s`, `1h0m0s`.
fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |unit: u128, name: &str| {
        let (whole, rest) = (nanos / unit, nanos % unit);
        let digits = unit.ilog10() as usize;
        let text = format!("{whole}.{rest:0digits$}");
        format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => fraction(1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(1_000_000, "ms"),
        _ => {
            let minutes = duration.as_secs() / 60;
            let rest = duration - Duration::from_secs(minutes * 60);
            let seconds = format!("{}.{:09}", rest.as_secs(), rest.subsec_nanos());
            let seconds = seconds.trim_end_matches('0').trim_end_matches('.');
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        let cases = [
            (0, "0s"),
            (50_000_000, "50ms"),
            (1_500_000, "1.5ms"),
            (2_000, "2µs"),
            (7, "7ns"),
            (30_000_000_000, "30s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }
}
