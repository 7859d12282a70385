//! What the worker has done to containers. Each call can be repeated after a crash at any line; what came
//! of it is an event for the task's machine.

use crate::files::{Files, Wanted};
use crate::pulls::{Pulls, Wish};
use crate::spec;
use engine::{Engine, RemoveOptions, Sight};
use errdefs::{Classify, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use taskfsm::Event;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use types::container::CreateRequest;
use types::image::AuthConfig;
use types::swarm::network::ClusterNetwork;
use types::swarm::service::PortConfig;

/// Containers that are made or started at once, for each processor: more only waits for locks and disk.
const PER_CPU: usize = 2;
const AT_LEAST: usize = 4;
/// Between two tries to remove a container that would not go.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// The engine, as tasks need it.
#[derive(Clone)]
pub(crate) struct Executor {
    pub(crate) engine: Engine,
    pub(crate) files: Files,
    pulls: Pulls,
    room: Arc<Semaphore>,
    /// The agent's.
    stop: CancellationToken,
}

/// All that making a task's container needs.
pub(crate) struct Preparation {
    pub(crate) task: String,
    pub(crate) name: String,
    pub(crate) service: String,
    /// How often the service's update was forced.
    pub(crate) forced: u64,
    pub(crate) auth: AuthConfig,
    pub(crate) networks: Vec<Arc<ClusterNetwork>>,
    pub(crate) files: Vec<Wanted>,
    /// The container but for its files.
    pub(crate) request: CreateRequest,
}

impl Executor {
    pub(crate) fn new(engine: Engine, files: Files, pulls: Pulls, stop: CancellationToken) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let room = Arc::new(Semaphore::new((cpus * PER_CPU).max(AT_LEAST)));
        Executor { engine, files, pulls, room, stop }
    }

    /// Makes the container, or finds it made. Answers its id too.
    pub(crate) async fn prepare(
        &self,
        wanted: Preparation,
        cancel: &CancellationToken,
    ) -> (Event, Option<String>) {
        let task = wanted.task.clone();
        let prepared = tokio::select! {
            biased;
            () = cancel.cancelled() => return (Event::PrepareFailed("cancelled".to_owned()), None),
            () = self.fetch(&wanted) => self.make(wanted).await,
        };
        match prepared {
            Ok(container) => (Event::Prepared, Some(container)),
            Err(err) => {
                self.drop_files(&task);
                (Event::PrepareFailed(err), None)
            }
        }
    }

    /// A failure is logged; that the image is not here is found out, and said in Docker's words, right after.
    async fn fetch(&self, wanted: &Preparation) {
        let image = wanted.request.config.image.as_str();
        let (service, forced) = (wanted.service.as_str(), wanted.forced);
        let wish = Wish { service, image, forced, auth: &wanted.auth };
        if let Err(err) = self.pulls.obtain(wish).await {
            tracing::warn!(image, error = err, "pulling image failed");
        }
    }

    /// Services of which this node has something: what is known of others' images is forgotten.
    pub(crate) fn keep_services(&self, has: impl Fn(&str) -> bool) {
        self.pulls.keep_services(has);
    }

    async fn make(&self, wanted: Preparation) -> Result<String, String> {
        let _room = self.room.acquire().await;
        if let Some(container) = self.find(&wanted.name) {
            self.files.put(&wanted.task, &wanted.files).map_err(|err| refused(&err))?;
            return Ok(container);
        }
        for network in &wanted.networks {
            let made = self.engine.ensure_cluster_network(network).await;
            made.map_err(|err| errdefs::chain(&err))?;
        }
        let mounts = self.files.put(&wanted.task, &wanted.files).map_err(|err| refused(&err))?;
        let mut request = wanted.request;
        request.host_config.mounts.get_or_insert_default().extend(mounts);
        let made = self.engine.container_create(request).await;
        made.map(|made| made.id.to_string()).map_err(|err| errdefs::chain(&err))
    }

    /// The container of that name.
    pub(crate) fn find(&self, name: &str) -> Option<String> {
        self.engine.container_watch(name).ok().map(|watch| watch.id().to_string())
    }

    /// Starts the container unless it runs or has run: a task is one run.
    pub(crate) async fn start(&self, container: &str, cancel: &CancellationToken) -> Event {
        let _room = tokio::select! {
            biased;
            () = cancel.cancelled() => return Event::StartFailed("cancelled".to_owned()),
            room = self.room.acquire() => room,
        };
        match self.look(container) {
            Some(sight) if !sight.running && sight.has_run => {
                return Event::Exited { code: sight.exit_code };
            }
            _ => {}
        }
        let failed =
            |err: engine::Error| format!("starting container failed: {}", errdefs::chain(&err));
        match self.engine.container_start(container).await {
            Err(err) if err.kind() != ErrorKind::NotModified => Event::StartFailed(failed(err)),
            _runs => Event::Started,
        }
    }

    pub(crate) fn look(&self, container: &str) -> Option<Sight> {
        Some(self.engine.container_watch(container).ok()?.look()).filter(|sight| !sight.removed)
    }

    /// Sends the stop signal: the user's, the image's, or SIGTERM.
    pub(crate) async fn stop(&self, container: &str) -> Option<Event> {
        let own = self.engine.container_inspect(container, false).await;
        let signal = own.map(|inspect| inspect.config.stop_signal).unwrap_or_default();
        self.signal(container, if signal.is_empty() { "SIGTERM" } else { &signal }).await
    }

    pub(crate) async fn kill(&self, container: &str) -> Option<Event> {
        self.signal(container, "SIGKILL").await
    }

    /// Brings a container's files up to date; tells it by a signal, if one is wanted, that they changed.
    pub(crate) async fn refresh(
        &self,
        task: &str,
        files: Result<Vec<Wanted>, String>,
        container: Option<&str>,
        signal: Option<&str>,
    ) {
        let updated =
            files.and_then(|files| self.files.update(task, &files).map_err(|err| refused(&err)));
        match (updated, container, signal) {
            (Err(err), _, _) => {
                tracing::warn!(task, error = err, "secrets and configs stay as they were")
            }
            (Ok(true), Some(container), Some(signal)) => {
                if let Err(err) = self.engine.container_kill(container, signal).await {
                    tracing::warn!(task, error = %err, "failed to signal a change");
                }
            }
            _ => {}
        }
    }

    /// An event when there is nothing to send to.
    async fn signal(&self, container: &str, signal: &str) -> Option<Event> {
        // A paused process hears nothing but SIGKILL.
        let _not_paused = self.engine.container_unpause(container).await;
        let sent = self.engine.container_kill(container, signal).await;
        match self.look(container) {
            None => Some(Event::Vanished),
            Some(sight) if sight.running => {
                if let Err(err) = sent {
                    tracing::warn!(container, error = %err, "failed to signal");
                }
                None
            }
            Some(sight) if sight.has_run => Some(Event::Exited { code: sight.exit_code }),
            Some(_never_started) => Some(Event::Vanished),
        }
    }

    /// No image is needed any more: the node leaves.
    pub(crate) fn cancel_pulls(&self) {
        self.pulls.cancel();
    }

    /// Takes the container and the task's files away, however long it takes; false if the agent stopped
    /// before that was done. The next one finds the container and goes on.
    pub(crate) async fn remove(&self, task: &str, container: Option<&str>) -> bool {
        let mut pause = RETRY_FIRST;
        if let Some(container) = container {
            while let Err(err) = self.remove_container(container).await {
                tracing::warn!(container, error = %err, "failed to remove a task's container");
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return false,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(RETRY_LAST);
            }
        }
        self.drop_files(task);
        true
    }

    async fn remove_container(&self, container: &str) -> engine::Result<()> {
        let options = RemoveOptions { force: true, volumes: true, link: false };
        match self.engine.container_remove(container, options).await {
            Err(err) if err.kind() != ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }

    pub(crate) fn drop_files(&self, task: &str) {
        if let Err(err) = self.files.remove(task) {
            tracing::warn!(task, error = %err, "failed to remove a task's files");
        }
    }

    /// The ports of the node that lead to the container, by what its start has bound.
    pub(crate) async fn bound_ports(&self, container: &str) -> Vec<PortConfig> {
        let Ok(inspect) = self.engine.container_inspect(container, false).await else {
            return Vec::new();
        };
        let mut ports = Vec::new();
        for (key, bindings) in inspect.network_settings.ports {
            let Some((target_port, protocol)) = types::port::parse_port(&key) else { continue };
            for binding in bindings.into_iter().flatten() {
                let port = PortConfig {
                    protocol: protocol.as_str().to_owned(),
                    target_port,
                    published_port: binding.host_port.parse().unwrap_or(0),
                    publish_mode: "host".to_owned(),
                    ..PortConfig::default()
                };
                // Once for both families.
                if !ports.contains(&port) {
                    ports.push(port);
                }
            }
        }
        ports
    }

    /// The containers of this node's tasks: by task id, with the container's id.
    pub(crate) fn containers(&self, node: &str) -> Vec<(String, String)> {
        let all = self.engine.containers_labelled(spec::TASK_LABEL);
        let of_task =
            |(id, labels): (types::ContainerId, std::collections::BTreeMap<_, String>)| {
                let ours = labels.get(spec::NODE_LABEL).is_some_and(|of| of == node);
                let task = labels.get(spec::TASK_ID_LABEL).filter(|_| ours)?;
                Some((task.clone(), id.to_string()))
            };
        all.into_iter().filter_map(of_task).collect()
    }
}

fn refused(err: &std::io::Error) -> String {
    format!("failed to make the task's secrets and configs: {err}")
}
