//! The engine's handle: cheap to clone, safe to share. The calls are written next to what they touch
//! (`impl Engine` blocks in the other modules).
//!
//! Tasks it spawns, all in `tasks` and ended by `closing`: for each running container a monitor (reads the
//! shim's exit, writes the record) and a health watcher; for each exec a watcher; for each event
//! subscriber a forwarder.

use crate::container::{Container, random_hex, write_atomically};
use crate::events::{EventStream, Events, EventsOptions};
use crate::exec::Execs;
use crate::networks::Networks;
use crate::registry::Registry;
use crate::runtimes::Runtimes;
use crate::volumes::Volumes;
use crate::{EngineConfig, Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use types::ContainerId;

/// How many containers are started at once when the daemon starts.
const STARTS_AT_ONCE: usize = 4;
/// Events that one slow subscriber may be behind.
const EVENT_QUEUE: usize = 256;

/// The single-node engine.
#[derive(Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) config: EngineConfig,
    /// Made once for a data root; shown by `info`.
    pub(crate) id: String,
    pub(crate) events: Events,
    pub(crate) containers: Registry,
    pub(crate) execs: Execs,
    pub(crate) images: image::Store,
    pub(crate) runtime: runtime::Runtime,
    pub(crate) runtimes: Runtimes,
    pub(crate) facts: ocispec::Facts,
    pub(crate) networks: Networks,
    pub(crate) cluster_networks: std::sync::OnceLock<Arc<dyn crate::ClusterNetworks>>,
    pub(crate) volumes: Volumes,
    pub(crate) tasks: TaskTracker,
    pub(crate) closing: CancellationToken,
    /// For threads that are not the runtime's own.
    pub(crate) handle: tokio::runtime::Handle,
}

impl Engine {
    /// Opens the stores, adopts what still runs, applies restart policies to what does not.
    pub async fn open(config: EngineConfig) -> Result<Engine> {
        for dir in [&config.data_root, &config.exec_root] {
            private_dir(dir)?;
        }
        private_dir(&config.exec_root.join("c"))?;
        // of builds that a kill ended
        let _ = std::fs::remove_dir_all(config.exec_root.join("build-secrets"));
        let id = engine_id(&config.data_root)?;
        let engine = Engine(Arc::new(Inner {
            events: Events::new(),
            containers: Registry::default(),
            execs: Execs::default(),
            images: Engine::open_images(&config).await?,
            runtime: crate::runtimes::open(&config)?,
            runtimes: Runtimes::new(&config)?,
            facts: runtime::observe_facts(),
            networks: Networks::open(&config, &id).await?,
            cluster_networks: std::sync::OnceLock::new(),
            volumes: Volumes::open(&config)?,
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
            handle: tokio::runtime::Handle::current(),
            id,
            config,
        }));
        let to_start = engine.restore().await?;
        engine.settle_networks().await;
        engine.sweep_rootfs().await;
        engine.start_all(to_start);
        engine.keep_house();
        Ok(engine)
    }

    /// Stops serving and leaves the containers running.
    pub async fn close(&self) {
        self.0.closing.cancel();
    }

    /// What the flags said.
    pub fn config(&self) -> &EngineConfig {
        &self.0.config
    }

    /// Starts what its restart policy wants up, a few at a time, while the API serves already.
    fn start_all(&self, containers: Vec<Arc<Container>>) {
        let engine = self.clone();
        let work = async move {
            let starts = containers.into_iter().map(|container| {
                let engine = engine.clone();
                async move {
                    if let Err(err) = engine.start(&container).await {
                        tracing::warn!(container = container.id.short(), error = %err, "failed to start");
                    }
                }
            });
            use futures_util::StreamExt;
            futures_util::stream::iter(starts)
                .buffer_unordered(STARTS_AT_ONCE)
                .collect::<()>()
                .await;
        };
        let closing = self.0.closing.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = work => {}
                () = closing.cancelled() => {}
            }
        });
    }

    /// `GET /events`: the past ones that are asked for, then live ones until `until` or the subscriber goes.
    pub fn events(&self, options: EventsOptions) -> Result<EventStream> {
        let (past, mut live) = self.0.events.subscribe(&options);
        let (send, receive) = tokio::sync::mpsc::channel(EVENT_QUEUE);
        let closing = self.0.closing.clone();
        self.0.tasks.spawn(async move {
            for event in past {
                if send.send(event).await.is_err() {
                    return;
                }
            }
            let deadline = options.until.map(until_instant);
            loop {
                let event = tokio::select! {
                    event = live.recv() => event,
                    () = send.closed() => return,
                    () = closing.cancelled() => return,
                    () = sleep_until(deadline) => return,
                };
                match event {
                    Ok(event) if crate::events::matches(&options.filters, &event) => {
                        if send.send(event).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    // A subscriber that reads too slowly misses events, as with dockerd.
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        Ok(receive)
    }

    pub(crate) fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.0.config.data_root.join("containers").join(id.as_str())
    }

    /// Short, because a socket's path has room for 108 bytes.
    pub(crate) fn run_dir(&self, id: &ContainerId) -> PathBuf {
        self.0.config.exec_root.join("c").join(id.as_str())
    }
}

fn until_instant(until: types::Timestamp) -> tokio::time::Instant {
    let now = types::Timestamp::from(std::time::SystemTime::now());
    tokio::time::Instant::now() + until.since(now)
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Only root looks into the engine's directories: they hold images' setuid files and containers' secrets.
pub(crate) fn private_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(dir)
        .map_err(|err| Error::caused(format!("failed to create {}", dir.display()), err))
}

fn engine_id(data_root: &Path) -> Result<String> {
    let path = data_root.join("engine-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.trim().is_empty()
    {
        return Ok(id.trim().to_owned());
    }
    let hex = random_hex();
    let id =
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]);
    write_atomically(&path, id.as_bytes())
        .map_err(|err| Error::caused(format!("failed to write {}", path.display()), err))?;
    Ok(id)
}
