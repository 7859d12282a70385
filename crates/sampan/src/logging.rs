//! Structured logs on stderr, with a level that can be changed while the daemon runs.

use anyhow::{Context, Result};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt};

/// The libraries' own chatter, at any level of ours.
const QUIET: &str = "hyper=info,hyper_util=info,h2=info,rustls=info,tungstenite=info,reqwest=info,netlink_proto=info,openraft=warn";

/// A tracing filter for one of dockerd's levels, or for a filter in tracing's own language.
pub(crate) fn filter(level: &str) -> Result<String> {
    let filter = match level {
        "trace" | "debug" | "info" | "warn" | "error" => format!("{level},{QUIET}"),
        "fatal" | "panic" => format!("error,{QUIET}"),
        other if other.contains('=') => other.to_owned(),
        other => anyhow::bail!("invalid logging level: {other}"),
    };
    EnvFilter::try_new(&filter).with_context(|| format!("invalid logging level: {level}"))?;
    Ok(filter)
}

/// Changes the level later.
pub(crate) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    pub(crate) fn set(&self, filter: &str) -> Result<()> {
        self.0.reload(EnvFilter::try_new(filter)?)?;
        Ok(())
    }
}

/// Starts logging.
pub(crate) fn start(filter: &str, json: bool) -> Result<Level> {
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(false);
    if json {
        registry.with(layer.json().flatten_event(true)).try_init()?;
    } else {
        registry.with(layer).try_init()?;
    }
    Ok(Level(handle))
}
