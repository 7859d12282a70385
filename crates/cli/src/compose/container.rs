//! One container: created from its body, started with its hooks, stopped, removed.

use anyhow::{Context, Result, bail};
use compose::desired::{Content, Injected, Service};
use compose::labels;
use compose::model::Hook;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use types::container::CreateRequest;

use super::board::Board;
use super::observe;
use crate::client::stream::Demux;
use crate::client::{Client, Query, segment};
use crate::clock;
use crate::session::write_out;
use crate::tarball;

/// A service and its hooks of one kind.
pub(super) type Hooks<'a> = (&'a str, &'a [Hook]);

/// Where goes what a hook prints.
pub(super) enum Said<'a> {
    Nowhere,
    /// To our own outputs, as it is.
    Here,
    /// Among the lines of containers, under a name.
    Lines(&'a Board, String),
}

/// Creates a container of a service, connects its further networks, and writes its files. Returns the id.
pub(super) async fn create(
    client: &Client,
    project: &str,
    service: &Service,
    mut request: CreateRequest,
) -> Result<String> {
    share(client, project, &mut request).await?;
    if let Some(image) = observe::image_id(client, &service.image).await? {
        let all = request.config.labels.get_or_insert_default();
        all.insert(labels::IMAGE.to_owned(), image);
    }
    let mut body = serde_json::to_value(&request.config)?;
    body["HostConfig"] = serde_json::to_value(&request.host_config)?;
    body["NetworkingConfig"] = serde_json::to_value(&request.networking_config)?;
    let query = Query::new()
        .opt("name", request.name.as_deref())
        .opt("platform", request.platform.as_deref());
    let created = client.json(Method::POST, "/containers/create", &query, Some(&body)).await?;
    let id = created["Id"].as_str().context("the daemon gave no container id")?.to_owned();
    for warning in created["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        eprintln!("WARNING: {warning}");
    }
    for (network, endpoint) in &service.more_networks {
        let body = json!({"Container": id, "EndpointConfig": endpoint});
        let path = format!("/networks/{}/connect", segment(network));
        client.json(Method::POST, &path, &Query::new(), Some(&body)).await?;
    }
    inject(client, &id, &service.injected).await?;
    Ok(id)
}

/// Puts container ids where the file names services.
async fn share(client: &Client, project: &str, request: &mut CreateRequest) -> Result<()> {
    let host = &mut request.host_config;
    for mode in [&mut host.network_mode, &mut host.ipc_mode, &mut host.pid_mode] {
        if let Some(service) = mode.strip_prefix("service:") {
            *mode = format!("container:{}", first(client, project, service).await?);
        } else if let Some(name) = mode.strip_prefix("container:") {
            // by its id: another container may get the name
            let path = format!("/containers/{}/json", segment(name));
            let seen = client.get(&path, &Query::new()).await?;
            *mode = format!("container:{}", seen["Id"].as_str().unwrap_or(name));
        }
    }
    for from in host.volumes_from.iter_mut().flatten() {
        if let Some(container) = from.strip_prefix("container:") {
            *from = container.to_owned();
            continue;
        }
        let (service, mode) = from.split_once(':').unwrap_or((from, ""));
        let container = first(client, project, service).await?;
        *from = if mode.is_empty() { container } else { format!("{container}:{mode}") };
    }
    Ok(())
}

/// The id of a service's first container.
async fn first(client: &Client, project: &str, service: &str) -> Result<String> {
    let rows = observe::rows(client, project, false).await?;
    let row = rows.iter().find(|row| observe::service(row) == service);
    let Some(row) = row else { bail!("service {service} has no container to share") };
    Ok(observe::id(row).to_owned())
}

async fn inject(client: &Client, id: &str, files: &[Injected]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    let mut builder = tar::Builder::new(Vec::new());
    for file in files {
        let bytes = match &file.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::File(path) => {
                std::fs::read(path).with_context(|| format!("failed to read {path}"))?
            }
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid);
        header.set_gid(file.gid);
        header.set_mtime(u64::try_from(clock::now_seconds()).unwrap_or(0));
        builder.append_data(&mut header, file.target.trim_start_matches('/'), bytes.as_slice())?;
    }
    let archive = builder.into_inner()?;
    let path = format!("/containers/{}/archive", segment(id));
    let body = tarball::reader_body(std::io::Cursor::new(archive));
    let query = Query::new().with("path", "/");
    client.send(Method::PUT, &path, &query, Default::default(), body).await?;
    Ok(())
}

/// Starts a container and runs its `post_start` hooks.
pub(super) async fn start(
    client: &Client,
    name: &str,
    hooks: Hooks<'_>,
    said: Said<'_>,
) -> Result<()> {
    post(client, name, "start", Query::new()).await?;
    run_hooks(client, name, hooks, said).await
}

/// Runs the `pre_stop` hooks of a running container and stops it.
pub(super) async fn stop(
    client: &Client,
    name: &str,
    timeout: Option<i64>,
    hooks: Hooks<'_>,
    said: Said<'_>,
) -> Result<()> {
    if !hooks.1.is_empty() && state(client, name).await?["Running"] == json!(true) {
        run_hooks(client, name, hooks, said).await?;
    }
    let seconds = timeout.map(|seconds| seconds.to_string());
    post(client, name, "stop", Query::new().opt("t", seconds.as_deref())).await
}

/// `POST /containers/<name>/<word>`; "already so" (304) is fine.
pub(super) async fn post(client: &Client, name: &str, word: &str, query: Query) -> Result<()> {
    let path = format!("/containers/{}/{word}", segment(name));
    client.json(Method::POST, &path, &query, None).await?;
    Ok(())
}

/// Removes a container; one that is gone already is fine.
pub(super) async fn remove(client: &Client, name: &str, volumes: bool) -> Result<()> {
    let path = format!("/containers/{}", segment(name));
    let query = Query::new().flag("force", true).flag("v", volumes);
    match client.json(Method::DELETE, &path, &query, None).await {
        Err(err) if err.status() == Some(404) => Ok(()),
        other => other.map(drop).map_err(Into::into),
    }
}

/// `State` of a container's inspection.
pub(super) async fn state(client: &Client, name: &str) -> Result<Value> {
    let seen = client.get(&format!("/containers/{}/json", segment(name)), &Query::new()).await?;
    Ok(seen["State"].clone())
}

/// Runs hooks one after the other in a container.
///
/// # Errors
/// The first one that ends with another code than 0.
pub(super) async fn run_hooks(
    client: &Client,
    name: &str,
    (service, hooks): Hooks<'_>,
    said: Said<'_>,
) -> Result<()> {
    for hook in hooks {
        let env: Vec<String> = hook
            .environment
            .iter()
            .map(|(key, value)| {
                value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"))
            })
            .collect();
        let body = json!({
            "Cmd": hook.command, "User": hook.user, "Privileged": hook.privileged,
            "WorkingDir": hook.working_dir, "Env": env, "AttachStdout": true, "AttachStderr": true,
        });
        let path = format!("/containers/{}/exec", segment(name));
        let created = client.json(Method::POST, &path, &Query::new(), Some(&body)).await?;
        let id = segment(created["Id"].as_str().unwrap_or_default());
        let start = format!("/exec/{id}/start");
        let mut stream =
            client.hijack(&start, &Query::new(), Some(&json!({"Detach": false}))).await?;
        relay(&mut stream, &said).await?;
        let seen = client.get(&format!("/exec/{id}/json"), &Query::new()).await?;
        match seen["ExitCode"].as_i64() {
            Some(0) | None => {}
            Some(code) => {
                bail!(
                    "{service} hook exited with status {code} in {name}: {}",
                    hook.command.join(" ")
                )
            }
        }
    }
    Ok(())
}

/// Carries a hook's output to where it goes, until it ends.
async fn relay(stream: &mut (impl AsyncRead + Unpin), said: &Said<'_>) -> Result<()> {
    let mut demux = Demux::default();
    let mut buffer = vec![0; 32 * 1024];
    let mut pending = Vec::new();
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        for (output, bytes) in demux.push(&buffer[..count]) {
            match said {
                Said::Nowhere => {}
                Said::Here => write_out(output, &bytes)?,
                Said::Lines(board, label) => {
                    pending.extend_from_slice(&bytes);
                    while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = pending.drain(..=end).collect();
                        board.line(label, &line)?;
                    }
                }
            }
        }
    }
    if let (Said::Lines(board, label), false) = (said, pending.is_empty()) {
        pending.push(b'\n');
        board.line(label, &pending)?;
    }
    Ok(())
}
