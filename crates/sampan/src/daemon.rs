//! `sampan daemon`: wiring, signals, an orderly end.
//!
//! ```text
//! settings → pid file, data root's lock → sockets → engine → cluster → READY=1 → serve … SIGTERM
//!   → STOPPING=1 → requests drain → cluster and engine close → exit; containers go on
//! ```

use crate::flags::Cli;
use crate::logging::{self, Level};
use crate::notify;
use crate::pidfile::{PidFile, lock_data_root};
use crate::settings::{Registry, Settings};
use anyhow::{Context, Result};
use api::{ListenOptions, Listeners};
use clap::Parser;
use cluster::Cluster;
use engine::Engine;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Enough to serve while one worker waits for the disk; each costs memory.
const WORKERS: usize = 2;
/// Threads for file work; idle ones go away.
const BLOCKING_THREADS: usize = 64;
/// Heaps of the C library: what threads of file work have freed serves the others too.
const ARENAS: i32 = 2;
/// How often what bursts of work have freed goes back to the kernel.
const GIVE_BACK: std::time::Duration = std::time::Duration::from_secs(30);
/// What is still running after the server has drained does not hold the end up for longer.
const LAST_WORK: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the daemon; `args` are those after the word `daemon`.
pub(crate) fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = Cli::parse_from(std::iter::once(OsString::from("sampan daemon")).chain(args));
    match start(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<()> {
    sys::heap::limit_arenas(ARENAS);
    let settings = Settings::load(cli)?;
    if cli.validate {
        println!("configuration OK");
        return Ok(());
    }
    let activated = sys::systemd::listen_fds();
    let level = logging::start(&settings.log_filter, settings.log_json)?;
    let _pidfile = PidFile::claim(&settings.pidfile)?;
    let _lock = lock_data_root(&settings.engine.data_root)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("failed to start the runtime")?;
    let listen = ListenOptions {
        hosts: settings.hosts,
        group: settings.group,
        tls: settings.tls,
        allow_plain_tcp: settings.allow_plain_tcp,
        activated,
    };
    let open = Open { listen, registry: settings.registry };
    let ended = runtime.block_on(run(cli, settings.engine, settings.cluster, open, &level));
    runtime.shutdown_timeout(LAST_WORK);
    ended
}

/// Where others come in.
struct Open {
    listen: ListenOptions,
    registry: Option<Registry>,
}

async fn run(
    cli: &Cli,
    config: engine::EngineConfig,
    membership: cluster::Config,
    open: Open,
    level: &Level,
) -> Result<()> {
    // Handlers first: a signal during the start is not to kill us half way.
    let mut signals = Signals::new().context("failed to handle signals")?;
    let listeners = Listeners::bind(open.listen).await?;
    let registry = match open.registry {
        Some(registry) => {
            let listener = TcpListener::bind(registry.listen).await;
            let at = || format!("failed to listen on {} for the registry", registry.listen);
            Some((listener.with_context(at)?, registry.options))
        }
        None => None,
    };
    let engine = Engine::open(config).await.context("failed to start daemon")?;
    let cluster = Cluster::open(membership, engine.clone()).await;
    let cluster = cluster.context("failed to take up the swarm")?;
    let stop = CancellationToken::new();
    let api = api::serve(engine.clone(), cluster.clone(), listeners, stop.clone());
    let server = tokio::spawn(api);
    let registry = registry.map(|(listener, options)| {
        let (engine, cluster) = (engine.clone(), cluster.clone());
        tokio::spawn(api::serve_registry(engine, cluster, listener, options, stop.clone()))
    });
    notify::tell("READY=1");
    let watchdog = tokio::spawn(notify::feed_watchdog(engine.clone(), stop.clone()));
    let heap = tokio::spawn(give_memory_back(stop.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "daemon has completed initialization");
    signals.wait_for_end(cli, level).await;
    notify::tell("STOPPING=1");
    stop.cancel();
    let (served, watched, _) = tokio::join!(server, watchdog, heap);
    if let Some(registry) = registry {
        registry.await.context("the registry failed")?;
    }
    cluster.close().await;
    engine.close().await;
    served.and(watched).context("a part of the daemon failed")?;
    tracing::info!("daemon has ended; containers go on");
    Ok(())
}

/// Hundreds of containers started at once leave their buffers on the heap; nobody is to see that for days.
async fn give_memory_back(stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(GIVE_BACK)).await.is_some() {
        let _ = tokio::task::spawn_blocking(sys::heap::give_back).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns at SIGTERM or SIGINT. SIGHUP reads the configuration again and takes its log level.
    async fn wait_for_end(&mut self, cli: &Cli, level: &Level) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => reload(cli, level),
            }
        }
    }
}

fn reload(cli: &Cli, level: &Level) {
    match Settings::load(cli).and_then(|settings| level.set(&settings.log_filter)) {
        Ok(()) => tracing::info!("the log level was read again"),
        Err(err) => tracing::error!("the configuration stays as it was: {err:#}"),
    }
}
