//! Telling systemd how we are (`sd_notify(3)`): ready, alive, stopping.

use engine::{Engine, ListOptions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Sends `state` if anybody listens. A service manager that does not is no reason to fail.
pub(crate) fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = path.as_encoded_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&path),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(err) = sent {
        tracing::debug!("failed to notify the service manager: {err}");
    }
}

/// How often the watchdog wants to hear of us; `None` when there is none.
fn watchdog() -> Option<Duration> {
    let read = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = read("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    read("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros)
}

/// Feeds the watchdog as long as the engine answers: a list of all containers takes every lock that a
/// stuck engine would hold.
pub(crate) async fn feed_watchdog(engine: Engine, stop: CancellationToken) {
    let Some(limit) = watchdog() else { return };
    let mut ticks = tokio::time::interval(limit / 3);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let everything = ListOptions { all: true, ..ListOptions::default() };
        match tokio::time::timeout(limit / 3, engine.container_list(everything)).await {
            Ok(Ok(_)) => tell("WATCHDOG=1"),
            Ok(Err(err)) => tracing::error!("the engine fails its liveness check: {err}"),
            Err(_) => tracing::error!("the engine does not answer its liveness check"),
        }
    }
}
