//! What the daemon reports while people wait (pull, push, load, build).
//!
//! On a terminal: one live line per layer. In a pipe: docker's plain lines, without the moving parts.

use std::collections::HashMap;
use std::io::Write;

use anyhow::{Result, bail};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::client::stream::JsonStream;
use crate::terminal;

/// Shows a stream of JSON messages; returns the `aux` objects. An `error` message ends it.
pub(crate) async fn show(
    mut messages: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    mut display: Display,
) -> Result<Vec<Value>> {
    let mut decoder = JsonStream::default();
    let mut aux = Vec::new();
    while let Some(chunk) = messages.next().await {
        for message in decoder.push(&chunk?)? {
            if let Some(error) = error_of(&message) {
                display.finish();
                bail!(error);
            }
            if let Some(value) = message.get("aux").filter(|value| !value.is_null()) {
                aux.push(value.clone());
            }
            display.message(&message)?;
        }
    }
    display.finish();
    Ok(aux)
}

/// Gives every message to `see`; an `error` message ends it.
pub(crate) async fn follow(
    mut messages: impl Stream<Item = std::io::Result<Bytes>> + Unpin,
    mut see: impl FnMut(&Value),
) -> Result<()> {
    let mut decoder = JsonStream::default();
    while let Some(chunk) = messages.next().await {
        for message in decoder.push(&chunk?)? {
            if let Some(error) = error_of(&message) {
                bail!(error);
            }
            see(&message);
        }
    }
    Ok(())
}

fn error_of(message: &Value) -> Option<String> {
    let detail = message.get("errorDetail").and_then(|detail| detail.get("message"));
    let text = detail.or_else(|| message.get("error"))?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// Where messages go.
pub(crate) enum Display {
    /// Nowhere (`-q`): only errors and `aux` count.
    Silent,
    /// Lines on standard output or standard error.
    Lines(Box<dyn Write + Send>),
    /// Live lines.
    Live(Live),
}

/// The bars of a terminal, one per layer.
pub(crate) struct Live {
    bars: MultiProgress,
    by_id: HashMap<String, ProgressBar>,
}

impl Display {
    /// Live on a terminal, lines in a pipe, nothing when `quiet`.
    pub(crate) fn stdout(quiet: bool) -> Self {
        match (quiet, terminal::stdout_is_terminal()) {
            (true, _) => Display::Silent,
            (false, true) => Display::live(ProgressDrawTarget::stdout()),
            (false, false) => Display::Lines(Box::new(std::io::stdout())),
        }
    }

    /// As `stdout`, on standard error: where `run` reports a pull.
    pub(crate) fn stderr(quiet: bool) -> Self {
        use std::io::IsTerminal;
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Display::Silent,
            (false, true) => Display::live(ProgressDrawTarget::stderr()),
            (false, false) => Display::Lines(Box::new(std::io::stderr())),
        }
    }

    fn live(target: ProgressDrawTarget) -> Self {
        Display::Live(Live { bars: MultiProgress::with_draw_target(target), by_id: HashMap::new() })
    }

    fn message(&mut self, message: &Value) -> Result<()> {
        let text = |key: &str| message.get(key).and_then(Value::as_str).unwrap_or_default();
        let counts = message.get("progressDetail").and_then(|detail| {
            let total = detail.get("total").and_then(Value::as_u64).unwrap_or(0);
            Some((detail.get("current")?.as_u64()?, total))
        });
        match self {
            Display::Silent => {}
            Display::Lines(out) => {
                if !text("stream").is_empty() {
                    write!(out, "{}", text("stream"))?;
                } else if counts.is_none() && !text("status").is_empty() {
                    let id = text("id");
                    let separator = if id.is_empty() { "" } else { ": " };
                    writeln!(out, "{id}{separator}{}", text("status"))?;
                }
                out.flush()?;
            }
            Display::Live(live) => {
                live.message(text("id"), text("status"), text("stream"), counts)?
            }
        }
        Ok(())
    }

    fn finish(&mut self) {
        if let Display::Live(live) = self {
            live.by_id.values().for_each(ProgressBar::abandon);
        }
    }
}

impl Live {
    fn message(
        &mut self,
        id: &str,
        status: &str,
        stream: &str,
        counts: Option<(u64, u64)>,
    ) -> std::io::Result<()> {
        if !stream.is_empty() {
            return self.bars.suspend(|| {
                let mut out = std::io::stdout();
                out.write_all(stream.as_bytes())?;
                out.flush()
            });
        }
        if status.is_empty() {
            return Ok(());
        }
        if id.is_empty() || status.starts_with("Pulling from") {
            let separator = if id.is_empty() { "" } else { ": " };
            return self.bars.suspend(|| writeln!(std::io::stdout(), "{id}{separator}{status}"));
        }
        let bars = &self.bars;
        let bar = self.by_id.entry(id.to_owned()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::new(0).with_style(plain_style()));
            bar.set_prefix(id.to_owned());
            bar
        });
        match counts.filter(|(_, total)| *total > 0) {
            Some((current, total)) => {
                if bar.length() != Some(total) {
                    bar.set_length(total);
                    bar.set_style(bar_style());
                }
                bar.set_position(current);
            }
            None => bar.set_style(plain_style()),
        }
        bar.set_message(status.to_owned());
        Ok(())
    }
}

fn plain_style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix}: {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn bar_style() -> ProgressStyle {
    let bar = if terminal::colour() { "{bar:40.cyan/blue}" } else { "{bar:40}" };
    let template = format!("{{prefix}}: {{msg:12}} [{bar}] {{bytes}}/{{total_bytes}}");
    ProgressStyle::with_template(&template)
        .map(|style| style.progress_chars("=> "))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
