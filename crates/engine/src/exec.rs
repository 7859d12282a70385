//! Processes started inside a running container. An exec is known in memory only: it cannot outlive its
//! container, and nobody asks for one after the daemon restarted.

use crate::attach::{Session, parse_detach_keys};
use crate::container::{Container, random_hex, replace_or_append};
use crate::spec::ExecProcess;
use crate::{Engine, Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use types::ContainerId;
use types::container::{ExecConfig, ExecInspect, Status};

/// How long a finished exec can still be inspected (moby keeps them five minutes).
const KEPT_AFTER_EXIT: Duration = Duration::from_secs(300);

/// The exit code of an exec whose client was gone before it could be started: as of any that cannot be.
const NEVER_STARTED: i64 = 126;

/// `POST /exec/{id}/start`.
#[derive(Debug, Clone, Default)]
pub struct ExecStart {
    pub detach: bool,
    pub tty: bool,
    /// Rows, columns.
    pub console_size: Option<[u64; 2]>,
}

struct Exec {
    id: String,
    container: Arc<Container>,
    config: ExecConfig,
    run: Mutex<Run>,
}

#[derive(Default)]
struct Run {
    started: bool,
    pid: i32,
    exit_code: Option<i64>,
}

impl Exec {
    fn run(&self) -> MutexGuard<'_, Run> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exec that its client has asked to start and that is not started yet. Dropped like that, it has ended.
struct Unstarted {
    engine: Engine,
    exec: Option<Arc<Exec>>,
}

impl Unstarted {
    fn start(mut self) -> Option<(Engine, Arc<Exec>)> {
        self.exec.take().map(|exec| (self.engine.clone(), exec))
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        if let Some(exec) = self.exec.take() {
            exec.run().exit_code = Some(NEVER_STARTED);
            self.engine.forget_later(exec.id.clone());
        }
    }
}

/// The execs of all containers, by id.
#[derive(Default)]
pub(crate) struct Execs(Mutex<BTreeMap<String, Arc<Exec>>>);

impl Execs {
    fn table(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        self.table()
            .get(id)
            .cloned()
            .ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }
    /// Drops all execs of a removed container.
    pub(crate) fn forget(&self, container: &ContainerId) {
        self.table().retain(|_, exec| exec.container.id != *container);
    }
    /// Ids of a container's execs that have not ended.
    pub(crate) fn live_ids(&self, container: &ContainerId) -> Vec<String> {
        let table = self.table();
        let live = table
            .values()
            .filter(|exec| exec.container.id == *container && exec.run().exit_code.is_none());
        live.map(|exec| exec.id.clone()).collect()
    }
}

impl Engine {
    /// `POST /containers/{id}/exec`: the exec's id. Nothing runs yet.
    pub async fn exec_create(&self, container: &str, config: ExecConfig) -> Result<String> {
        let container = self.0.containers.find(container)?;
        match container.status() {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {} is paused, unpause the container before exec",
                    container.id
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => drop(container.running_shim()?),
        }
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        if !config.user.is_empty() {
            self.check_exec_user(&container, &config.user)?;
        }
        parse_detach_keys(Some(&config.detach_keys))?;
        let exec = Arc::new(Exec { id: random_hex(), container, config, run: Mutex::default() });
        self.announce(&exec, &format!("exec_create: {}", command_text(&exec.config)));
        let id = exec.id.clone();
        self.0.execs.table().insert(id.clone(), exec);
        Ok(id)
    }

    /// `POST /exec/{id}/start`; `None` when detached.
    pub async fn exec_start(&self, id: &str, start: ExecStart) -> Result<Option<Session>> {
        let exec = self.0.execs.find(id)?;
        {
            let mut run = exec.run();
            if run.exit_code.is_some() {
                return Err(Error::conflict(format!("exec command {id} has already run")));
            }
            if std::mem::replace(&mut run.started, true) {
                return Err(Error::conflict(format!("exec command {id} is already running")));
            }
        }
        drop(exec.container.running_shim()?);
        let keys = parse_detach_keys(Some(&exec.config.detach_keys))?;
        let (engine, tty, raw) = (self.clone(), start.tty, exec.config.tty);
        let attached = !start.detach;
        let (recorded, exit) = oneshot::channel();
        // A client that leaves before it is served takes the launch along: then nothing will ever run. One
        // that leaves later does not interrupt it.
        let unstarted = Unstarted { engine, exec: Some(exec) };
        let launch = async move {
            let Some((engine, exec)) = unstarted.start() else { return Ok(None) };
            let tasks = engine.0.tasks.clone();
            let running = tasks.spawn(async move { engine.run_exec(exec, start, recorded).await });
            running.await.map_err(|err| Error::caused("failed to start the exec", err))?
        };
        if !attached {
            launch.await?;
            return Ok(None);
        }
        Ok(Some(Session::of_exec([tty, raw], Box::pin(launch), keys, exit)))
    }

    /// Starts the process; whatever goes wrong is its exit.
    async fn run_exec(
        &self,
        exec: Arc<Exec>,
        start: ExecStart,
        recorded: oneshot::Sender<()>,
    ) -> Result<Option<tokio::net::UnixStream>> {
        self.announce(&exec, &format!("exec_start: {}", command_text(&exec.config)));
        let launched = self.launch_exec(&exec, &start, recorded).await;
        if let Err(err) = &launched {
            exec.run().exit_code = Some(failure_code(err));
            self.forget_later(exec.id.clone());
        }
        launched
    }

    async fn launch_exec(
        &self,
        exec: &Arc<Exec>,
        start: &ExecStart,
        recorded: oneshot::Sender<()>,
    ) -> Result<Option<tokio::net::UnixStream>> {
        let config = &exec.config;
        let shim = exec.container.running_shim()?;
        let attached = !start.detach;
        let request = runtime::ExecRequest {
            process: self.exec_process(&exec.container, config)?,
            tty: config.tty,
            stdin: attached && config.attach_stdin,
            stdout: attached && config.attach_stdout,
            stderr: attached && config.attach_stderr,
            console_size: start.console_size.or(config.console_size).map(|[rows, columns]| {
                (rows.try_into().unwrap_or(u16::MAX), columns.try_into().unwrap_or(u16::MAX))
            }),
            id: exec.id.clone(),
        };
        let handle = shim.exec(request).await.map_err(Error::from_lower)?;
        exec.run().pid = handle.pid;
        self.watch_exec(exec.clone(), handle.end, recorded);
        Ok(handle.stream)
    }

    /// Records the exit code when it comes; `recorded` is dropped then.
    fn watch_exec(&self, exec: Arc<Exec>, end: runtime::ExecEnd, recorded: oneshot::Sender<()>) {
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            // A shim that was killed took its execs along: dockerd says 137 then, as after any SIGKILL.
            let code = end.wait().await.unwrap_or(137);
            exec.run().exit_code = Some(code);
            drop(recorded);
            let mut attributes = exec.container.attributes();
            attributes.insert("execID".to_owned(), exec.id.clone());
            attributes.insert("exitCode".to_owned(), code.to_string());
            engine.0.events.emit("container", "exec_die", exec.container.id.as_str(), attributes);
            engine.forget_later(exec.id.clone());
        });
    }

    fn forget_later(&self, id: String) {
        let engine = self.clone();
        self.0.tasks.spawn(async move {
            tokio::time::sleep(KEPT_AFTER_EXIT).await;
            engine.0.execs.table().remove(&id);
        });
    }

    /// The process of an exec: the container's, changed by what the exec says.
    pub(crate) fn exec_process(
        &self,
        container: &Container,
        config: &ExecConfig,
    ) -> Result<oci_spec::runtime::Process> {
        let record = container.snapshot();
        let mut env = crate::container::environment(&record.config);
        if config.tty {
            replace_or_append(&mut env, &["TERM=xterm".to_owned()]);
        }
        replace_or_append(&mut env, config.env.as_deref().unwrap_or_default());
        let user = if config.user.is_empty() { &record.config.user } else { &config.user };
        let workdir = if config.working_dir.is_empty() {
            &record.config.working_dir
        } else {
            &config.working_dir
        };
        let exec = ExecProcess {
            args: config.cmd.clone().unwrap_or_default(),
            env,
            user,
            working_dir: workdir,
            tty: config.tty,
            privileged: config.privileged || record.host_config.privileged,
        };
        self.exec_spec(container, &record, exec)
    }

    /// `GET /exec/{id}/json`.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let exec = self.0.execs.find(id)?;
        let run = exec.run();
        let mut words = exec.config.cmd.clone().unwrap_or_default().into_iter();
        Ok(ExecInspect {
            id: exec.id.clone(),
            running: run.started && run.exit_code.is_none(),
            exit_code: run.exit_code,
            process_config: types::container::ExecProcess {
                tty: exec.config.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: exec.config.privileged,
                user: exec.config.user.clone(),
            },
            open_stdin: exec.config.attach_stdin,
            open_stderr: exec.config.attach_stderr,
            open_stdout: exec.config.attach_stdout,
            can_remove: run.exit_code.is_some(),
            container_id: exec.container.id.clone(),
            detach_keys: exec.config.detach_keys.clone(),
            pid: run.pid,
        })
    }

    /// `POST /exec/{id}/resize`.
    pub async fn exec_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.0.execs.find(id)?;
        if !exec.run().started {
            return Err(Error::invalid(format!("exec {id} has not been started")));
        }
        exec.container
            .running_shim()?
            .exec_resize(id, rows, columns)
            .await
            .map_err(Error::from_lower)
    }

    fn announce(&self, exec: &Exec, action: &str) {
        let mut attributes = exec.container.attributes();
        attributes.insert("execID".to_owned(), exec.id.clone());
        self.0.events.emit("container", action, exec.container.id.as_str(), attributes);
    }
}

fn command_text(config: &ExecConfig) -> String {
    config.cmd.as_deref().unwrap_or_default().join(" ")
}

/// What a shell says of a command that could not be started.
fn failure_code(err: &Error) -> i64 {
    let text = err.to_string();
    let not_found = ["executable file not found", "no such file or directory"];
    if not_found.iter().any(|reason| text.contains(reason)) { 127 } else { 126 }
}
