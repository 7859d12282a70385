//! The daemon for `sampan init` and `sampan join`, where none runs: a machine becomes a node by one command.
//!
//! On a machine with a unit for it the service manager starts it. Elsewhere it is this program again, in a process
//! group of its own, which outlives the terminal.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::client::{Address, ClientError};
use crate::ctx::Ctx;

/// How long a new daemon may take to answer: it unpacks and repairs before it does.
const READY_WITHIN: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// Where a daemon without a service manager writes its log, unless `SAMPAN_LOG_FILE` says otherwise.
const LOG: &str = "/var/log/sampan.log";
/// The unit that `systemctl` is asked for.
const UNIT: &str = "sampan.service";

/// Starts the daemon unless one answers.
///
/// # Errors
/// When it is another machine's that does not answer, and when the new one ends at once: the end of its log is told.
pub(crate) async fn daemon(ctx: &Ctx) -> Result<()> {
    match ctx.client().await {
        Err(ClientError::Unreachable { .. }) => {}
        // Whatever else is wrong, the command itself says.
        _ => return Ok(()),
    }
    let Address::Unix(socket) = ctx.options.resolve()? else { return Ok(()) };
    if !nix::unistd::geteuid().is_root() {
        bail!("no daemon runs here, and only root can start one");
    }
    let own = ctx.options.host.is_none();
    if own && by_service_manager()? {
        return ready(ctx, None).await;
    }
    let log = std::env::var_os("SAMPAN_LOG_FILE").map_or_else(|| PathBuf::from(LOG), PathBuf::from);
    let child = by_ourselves(&log, (!own).then_some(&*socket))?;
    eprintln!("Started the daemon (pid {}); it logs to {}.", child.id(), log.display());
    ready(ctx, Some((child, log))).await
}

/// Whether there was a unit to start.
fn by_service_manager() -> Result<bool> {
    if !Path::new("/run/systemd/system").exists() {
        return Ok(false);
    }
    let systemctl = |args: &[&str]| {
        let mut command = Command::new("systemctl");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
        command.status().context("running systemctl")
    };
    if !systemctl(&["--quiet", "cat", UNIT])?.success() {
        return Ok(false);
    }
    if !systemctl(&["start", UNIT])?.success() {
        bail!("the daemon did not start: see `systemctl status {UNIT}`");
    }
    eprintln!("Started the daemon ({UNIT}).");
    Ok(true)
}

fn by_ourselves(log: &Path, socket: Option<&Path>) -> Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let opened = OpenOptions::new().create(true).append(true).open(log);
    let opened = opened.with_context(|| format!("opening {}", log.display()))?;
    let mut command = Command::new(program);
    command.arg("daemon").current_dir("/").stdin(Stdio::null()).process_group(0);
    if let Some(socket) = socket {
        command.arg("--host").arg(format!("unix://{}", socket.display()));
    }
    command.stdout(opened.try_clone()?).stderr(opened);
    command.spawn().context("starting the daemon")
}

/// Waits until it answers.
async fn ready(ctx: &Ctx, mut own: Option<(Child, PathBuf)>) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if ctx.client().await.is_ok() {
            return Ok(());
        }
        if let Some((child, log)) = &mut own
            && let Some(status) = child.try_wait()?
        {
            bail!("the daemon ended at once ({status}):\n{}", last_lines(log));
        }
        if Instant::now() > deadline {
            bail!("the daemon was started and does not answer");
        }
        tokio::time::sleep(POLL).await;
    }
}

fn last_lines(log: &Path) -> String {
    let text = File::open(log).and_then(std::io::read_to_string).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
