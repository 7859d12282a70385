//! `/services/{id}/logs`, `/tasks/{id}/logs`: the output of containers on many nodes as one stream.
//!
//! ```text
//! watch the store ─► one reader per task's container ─┐
//!                      here: the engine's own log      ├─► lines, each told which task it is of ─► client
//!                      elsewhere: that node's API ─────┘
//! ```
//!
//! A node that cannot be reached is named in the stream, and the others' lines go on (Docker ends the stream there).
//! A reader that follows takes up tasks that start later; the stream then ends with the client.

mod frame;

use crate::context::{App, Context};
use crate::failure::Reply;
use crate::query::Query;
use crate::reply;
use crate::swarm::refused;
use crate::version::ApiVersion;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Request;
use bytes::Bytes;
use cluster::Target;
use engine::{ByteStream, Error, LogsOptions};
use frame::{Frames, STDERR, frame};
use futures_util::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use manager::control::{Control, find};
use std::collections::HashSet;
use std::sync::Arc;
use store::Snapshot;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use types::swarm::task::{ContainerStatus, Task};
use types::{ServiceId, TaskId};

/// Lines that wait for a slow client; then the readers wait, too.
const WAITING_LINES: usize = 256;

pub(crate) async fn of_service(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    let control = app.cluster.control()?;
    let state = control.read().await.map_err(refused)?;
    let service = find::service(&state, &id).map_err(refused)?;
    let container = service.spec.task_template.container_spec.as_ref();
    let tty = container.is_some_and(|container| container.tty);
    let selector = Selector::Service(service.id.clone());
    answer(app, context, &query, control, selector, tty)
}

pub(crate) async fn of_task(
    State(app): State<App>,
    context: Context,
    Path(id): Path<String>,
    query: Query,
) -> Reply {
    let control = app.cluster.control()?;
    let state = control.read().await.map_err(refused)?;
    let task = find::task(&state, &id).map_err(refused)?;
    let tty = task.spec.container_spec.as_ref().is_some_and(|container| container.tty);
    let selector = Selector::Task(task.id.clone());
    answer(app, context, &query, control, selector, tty)
}

/// Whose output is asked for.
enum Selector {
    Service(ServiceId),
    Task(TaskId),
}

impl Selector {
    fn tasks(&self, state: &Snapshot) -> Vec<Arc<Task>> {
        match self {
            Selector::Service(id) => state.tasks_of_service(id).cloned().collect(),
            Selector::Task(id) => state.tasks().get(id.as_str()).cloned().into_iter().collect(),
        }
    }
}

fn answer(
    app: App,
    context: Context,
    query: &Query,
    control: Control,
    selector: Selector,
    tty: bool,
) -> Reply {
    let options = read(query)?;
    let (lines, received) = mpsc::channel(WAITING_LINES);
    let readers = Readers { app: app.clone(), context: context.clone(), options, lines };
    app.tasks.spawn(gather(readers, control, selector));
    let bytes = stream::unfold(received, async |mut received| {
        let line: Line = received.recv().await?;
        Some((line, received))
    });
    let bytes =
        bytes.map(move |line| Ok(if tty { line.text } else { frame(line.stream, &line.text) }));
    let multiplexed = !tty && context.version >= ApiVersion(1, 42);
    Ok(reply::live(if multiplexed { reply::MULTIPLEXED } else { reply::RAW }, context, bytes))
}

fn read(query: &Query) -> Result<LogsOptions, Error> {
    let (stdout, stderr) = (query.flag("stdout"), query.flag("stderr"));
    if !stdout && !stderr {
        return Err(Error::invalid("Bad parameters: you must choose at least one stream"));
    }
    let tail = match query.get("tail") {
        "" | "all" => None,
        number => match number.parse::<i64>() {
            Ok(lines) if lines < 0 => {
                return Err(Error::system("negative tail values not supported"));
            }
            Ok(lines) => u64::try_from(lines).ok(),
            Err(_) => {
                return Err(Error::system("tail value must be a positive integer or \"all\""));
            }
        },
    };
    Ok(LogsOptions {
        follow: query.flag("follow"),
        stdout,
        stderr,
        since: query.timestamp("since")?,
        until: query.until()?,
        timestamps: query.flag("timestamps"),
        details: query.flag("details"),
        tail,
        joined: false,
    })
}

/// One line, ready to be framed.
struct Line {
    stream: u8,
    text: Bytes,
}

#[derive(Clone)]
struct Readers {
    app: App,
    context: Context,
    options: LogsOptions,
    lines: mpsc::Sender<Line>,
}

/// Starts a reader for every container that the selected tasks have or, when it follows, come to have. Ends with the
/// readers, or with the client.
async fn gather(readers: Readers, control: Control, selector: Selector) {
    let mut changes = control.changes();
    let mut read: HashSet<String> = HashSet::new();
    let running = TaskTracker::new();
    loop {
        changes.borrow_and_update();
        for task in selector.tasks(&control.snapshot()) {
            let status = task.status.container_status.clone();
            let Some(container) = status.filter(|status| !status.container_id.is_empty()) else {
                continue;
            };
            if read.insert(container.container_id.clone()) {
                running.spawn(readers.clone().read(task, container));
            }
        }
        if !readers.options.follow {
            break;
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break },
            () = readers.lines.closed() => break,
            () = readers.context.stop.cancelled() => break,
        }
    }
    running.close();
    running.wait().await;
}

impl Readers {
    async fn read(self, task: Arc<Task>, container: ContainerStatus) {
        let details = details(&task);
        let failed = tokio::select! {
            copied = self.copy(&task, &container, &details) => copied.err(),
            () = self.lines.closed() => None,
            () = self.context.stop.cancelled() => None,
        };
        if let Some(err) = failed {
            let text = format!(
                "the logs of task {} on node {} are missing: {err}\n",
                task.id, task.node_id
            );
            let text = self.told(&details, text.as_bytes());
            let _client_left = self.lines.send(Line { stream: STDERR, text }).await;
        }
    }

    async fn copy(
        &self,
        task: &Task,
        container: &ContainerStatus,
        details: &str,
    ) -> Result<(), Error> {
        let (mut bytes, framed) = self.open(task, container).await?;
        let mut frames = Frames::new(framed);
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.map_err(|err| Error::caused("the stream broke", err))?;
            for (stream, text) in frames.push(&chunk) {
                let text = self.told(details, &text);
                if self.lines.send(Line { stream, text }).await.is_err() {
                    return Ok(());
                }
            }
        }
        if let Some((stream, text)) = frames.rest() {
            let text = self.told(details, &text);
            let _client_left = self.lines.send(Line { stream, text }).await;
        }
        Ok(())
    }

    /// The container's output, and whether it is framed.
    async fn open(
        &self,
        task: &Task,
        container: &ContainerStatus,
    ) -> Result<(ByteStream, bool), Error> {
        let options = LogsOptions { details: false, ..self.options.clone() };
        let here = self.app.cluster.node_id();
        if here.as_ref() == Some(&task.node_id) {
            let (bytes, tty) =
                self.app.engine.container_logs(&container.container_id, options).await?;
            return Ok((bytes, !tty));
        }
        let path = remote_path(&container.container_id, &options);
        let request = Request::get(path)
            .body(Body::empty().map_err(Into::into).boxed_unsync())
            .map_err(|err| Error::caused("failed to write a request", err))?;
        let answer = self.app.cluster.forward(Target::Node(task.node_id.clone()), request).await?;
        if !answer.status().is_success() {
            let body = answer.into_body().collect().await.map(|body| body.to_bytes());
            let body: serde_json::Value =
                serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
            let message = body["message"].as_str().unwrap_or("it refused");
            return Err(Error::system(message));
        }
        let tty = task.spec.container_spec.as_ref().is_some_and(|container| container.tty);
        let bytes = answer.into_body().into_data_stream().map_err(std::io::Error::other);
        Ok((Box::pin(bytes), !tty))
    }

    /// The line with its details, behind the timestamp if there is one: clients cut them off there.
    fn told(&self, details: &str, line: &[u8]) -> Bytes {
        if !self.options.details {
            return Bytes::copy_from_slice(line);
        }
        let at = match self.options.timestamps {
            true => line.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1),
            false => 0,
        };
        let (stamp, text) = line.split_at(at);
        [stamp, details.as_bytes(), b" ", text].concat().into()
    }
}

fn details(task: &Task) -> String {
    let word = "com.docker.swarm";
    let (node, service, task) = (&task.node_id, &task.service_id, &task.id);
    format!("{word}.node.id={node},{word}.service.id={service},{word}.task.id={task}")
}

fn remote_path(container: &str, options: &LogsOptions) -> String {
    let truth = |value: bool| if value { "1" } else { "0" };
    let mut path = format!(
        "/v{}/containers/{container}/logs?follow={}&stdout={}&stderr={}&timestamps={}",
        ApiVersion::MAX,
        truth(options.follow),
        truth(options.stdout),
        truth(options.stderr),
        truth(options.timestamps),
    );
    let time = |at: types::Timestamp| {
        format!("{}.{:09}", at.0.div_euclid(1_000_000_000), at.0.rem_euclid(1_000_000_000))
    };
    if let Some(since) = options.since {
        path.push_str(&format!("&since={}", time(since)));
    }
    if let Some(until) = options.until {
        path.push_str(&format!("&until={}", time(until)));
    }
    if let Some(tail) = options.tail {
        path.push_str(&format!("&tail={tail}"));
    }
    path
}
