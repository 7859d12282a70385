//! A live session with a container: its streams copied to ours and back, until one side ends it.
//!
//! ```text
//! stdin ──▶ [detach keys] ──▶ hijacked stream ──▶ [demux unless tty] ──▶ stdout / stderr
//! SIGWINCH ──▶ resize        other signals ──▶ kill (sig-proxy)
//! ```
//! Input and output run side by side: a container that stops reading must not stop its own output.

pub(crate) mod detach;

use std::io::Write;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{SignalKind, signal};

use crate::client::stream::{Demux, Output};
use crate::client::{Client, Hijacked, Query, segment};
use crate::terminal;
use detach::{DetachKeys, Scan};

/// What is being talked to; decides the resize route.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Container(String),
    Exec(String),
}

/// How to run a session.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) detach_keys: DetachKeys,
    /// Where terminal sizes go, when there is a terminal.
    pub(crate) target: Target,
}

/// Who ended the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The container closed its streams.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// Copies until the stream ends or the user detaches. Raw mode lasts as long as this call.
pub(crate) async fn run(client: &Client, stream: Hijacked, plan: Plan) -> Result<End> {
    let raw = if plan.tty && plan.stdin { terminal::RawMode::enter()? } else { None };
    let (reader, writer) = tokio::io::split(stream);
    let output = copy_output(reader, plan.tty);
    let input = copy_input(writer, &plan);
    let resize = follow_size(client, &plan);
    tokio::pin!(output, input, resize);
    let mut input_open = true;
    let end = loop {
        tokio::select! {
            done = &mut output => break done.map(|()| End::Closed),
            done = &mut input, if input_open => match done {
                Ok(End::Detached) => break Ok(End::Detached),
                // a container that closed its input may still print
                Ok(End::Closed) | Err(_) => input_open = false,
            },
            () = &mut resize => {}
        }
    };
    drop(raw);
    if matches!(end, Ok(End::Detached)) {
        eprintln!("read escape sequence");
    }
    end
}

async fn copy_output(mut reader: ReadHalf<Hijacked>, tty: bool) -> Result<()> {
    let mut demux = Demux::default();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(err) => return Err(err).context("the connection to the daemon broke"),
        };
        if tty {
            write_out(Output::Stdout, &buffer[..count])?;
            continue;
        }
        for (output, bytes) in demux.push(&buffer[..count]) {
            write_out(output, &bytes)?;
        }
    }
}

/// Writes container output where it belongs, at once.
pub(crate) fn write_out(output: Output, bytes: &[u8]) -> std::io::Result<()> {
    match output {
        Output::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        }
        Output::Stderr => std::io::stderr().lock().write_all(bytes),
    }
}

async fn copy_input(mut writer: WriteHalf<Hijacked>, plan: &Plan) -> Result<End> {
    if !plan.stdin {
        // keep the write half: closing it would tell an old daemon to drop the session
        std::future::pending::<()>().await;
    }
    let mut keys = plan.tty.then(|| plan.detach_keys.scanner());
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let count = stdin.read(&mut buffer).await?;
        if count == 0 {
            writer.shutdown().await?;
            return Ok(End::Closed);
        }
        let scan = match &mut keys {
            Some(keys) => keys.push(&buffer[..count]),
            None => Scan { pass: buffer[..count].to_vec(), detached: false },
        };
        writer.write_all(&scan.pass).await?;
        writer.flush().await?;
        if scan.detached {
            return Ok(End::Detached);
        }
    }
}

/// Sends the terminal's size now and after each SIGWINCH; never returns while there is a terminal.
async fn follow_size(client: &Client, plan: &Plan) {
    let windows = signal(SignalKind::window_change());
    let (true, true, Ok(mut windows)) = (plan.tty, terminal::stdout_is_terminal(), windows) else {
        return std::future::pending().await;
    };
    loop {
        send_size(client, &plan.target).await;
        windows.recv().await;
    }
}

/// Tells the daemon how large the terminal is; a container that is not there yet is not an error.
pub(crate) async fn send_size(client: &Client, target: &Target) {
    let Some((height, width)) = terminal::size().filter(|size| *size != (0, 0)) else { return };
    let path = match target {
        Target::Container(id) => format!("/containers/{}/resize", segment(id)),
        Target::Exec(id) => format!("/exec/{}/resize", segment(id)),
    };
    let query = Query::new().with("h", height.to_string()).with("w", width.to_string());
    let reply: Result<Value, _> = client.json(http::Method::POST, &path, &query, None).await;
    drop(reply);
}

/// Forwards the signals people send to a client on to its container, until dropped.
pub(crate) async fn proxy_signals(client: &Client, container: &str) -> Result<()> {
    let forwarded = [
        ("INT", SignalKind::interrupt()),
        ("TERM", SignalKind::terminate()),
        ("HUP", SignalKind::hangup()),
        ("QUIT", SignalKind::quit()),
        ("USR1", SignalKind::user_defined1()),
        ("USR2", SignalKind::user_defined2()),
        ("ALRM", SignalKind::alarm()),
    ];
    let (sender, mut received) = tokio::sync::mpsc::channel(8);
    let mut listeners = tokio::task::JoinSet::new();
    for (name, kind) in forwarded {
        let mut listener = signal(kind)?;
        let sender = sender.clone();
        listeners.spawn(async move {
            while listener.recv().await.is_some() && sender.send(name).await.is_ok() {}
        });
    }
    while let Some(name) = received.recv().await {
        let options = bollard::query_parameters::KillContainerOptions { signal: name.to_owned() };
        // the container may have just ended; its exit code tells the story
        let _ = client.docker.kill_container(container, Some(options)).await;
    }
    Ok(())
}
