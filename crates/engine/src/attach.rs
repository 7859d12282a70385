//! A client's live connection to a container's or an exec's streams.
//!
//! The shim frames the output as Docker's clients expect it, so a session only carries bytes between two
//! sockets; it looks into stdin for the detach keys and nowhere else.

use crate::ByteStream;
use crate::container::Container;
use crate::container::options::LogsOptions;
use crate::{Engine, Error, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use types::container::Status;

/// As much as one read takes from a busy stream.
const CHUNK: usize = 32 * 1024;

/// An exec's output ends a moment before its exit is known, and clients ask for the exit code when the output
/// has ended. One that only closed its output is not waited for any longer.
const EXIT_FOLLOWS: Duration = Duration::from_secs(1);

/// `POST /containers/{id}/attach`.
#[derive(Debug, Clone, Default)]
pub struct AttachOptions {
    /// Live streams, and not the past (`logs`) only.
    pub stream: bool,
    pub logs: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// `ctrl-p,ctrl-q` when `None`.
    pub detach_keys: Option<String>,
}

/// An attach that waits for its container to start.
pub(crate) struct PendingAttach {
    pub(crate) wanted: runtime::Attach,
    pub(crate) granted: oneshot::Sender<UnixStream>,
}

/// A granted attach: nothing flows until it is served or turned into its output.
pub struct Session {
    /// With a tty the output is raw; without, it is in Docker's frames.
    pub tty: bool,
    past: Option<ByteStream>,
    live: Live,
    framing: Framing,
    detach_keys: Vec<u8>,
    on_detach: Option<Box<dyn FnOnce() + Send>>,
    /// Its sender goes when an exec's exit is recorded.
    exit: Option<oneshot::Receiver<()>>,
}

enum Live {
    No,
    Now(UnixStream),
    AtStart(oneshot::Receiver<UnixStream>),
    /// An exec is started only when its client can be spoken to.
    Exec(Launch),
}

/// Starts an exec and gives its stream; `None` when nothing is attached.
pub(crate) type Launch = Pin<Box<dyn Future<Output = Result<Option<UnixStream>>> + Send>>;

impl Live {
    async fn connect(self) -> Result<Option<UnixStream>> {
        match self {
            Live::No => Ok(None),
            Live::Now(stream) => Ok(Some(stream)),
            Live::AtStart(granted) => Ok(granted.await.ok()),
            Live::Exec(launch) => launch.await,
        }
    }
}

impl Session {
    /// `tty` is what the client expects, `raw` what the exec gives: a client that did not ask for a terminal
    /// gets frames even from an exec that has one.
    ///
    /// The sender of `exit` goes when the exec's exit is recorded.
    pub(crate) fn of_exec(
        [tty, raw]: [bool; 2],
        launch: Launch,
        detach_keys: Vec<u8>,
        exit: oneshot::Receiver<()>,
    ) -> Self {
        let framing = if raw && !tty { Framing::Add } else { Framing::Keep };
        let (live, exit) = (Live::Exec(launch), Some(exit));
        Session { tty, past: None, live, framing, detach_keys, on_detach: None, exit }
    }

    /// Carries both directions until the container closes its output or the client is gone. The client's
    /// half-close ends stdin only.
    pub async fn serve<IO: AsyncRead + AsyncWrite + Unpin + Send>(mut self, io: IO) {
        let (from_client, mut to_client) = tokio::io::split(io);
        if let Some(past) = self.past.take()
            && copy_stream(past, &mut to_client).await.is_err()
        {
            return;
        }
        let stream = match self.live.connect().await {
            Ok(Some(stream)) => stream,
            Ok(None) => return drop(to_client.shutdown().await),
            Err(err) => {
                let _client_gone = to_client.write_all(&failure_text(self.tty, &err)).await;
                return drop(to_client.shutdown().await);
            }
        };
        let (from_shim, to_shim) = stream.into_split();
        let keys = if self.tty { self.detach_keys } else { Vec::new() };
        let input = feed_stdin(from_client, to_shim, keys);
        {
            let output = copy(from_shim, &mut to_client, self.framing);
            tokio::pin!(output);
            let detached = tokio::select! {
                _ended = &mut output => false,
                ended = input => match ended {
                    StdinEnd::Detached => true,
                    StdinEnd::Closed => {
                        drop(output.await);
                        false
                    }
                },
            };
            match detached {
                true => self.on_detach.into_iter().for_each(|tell| tell()),
                false => exit_recorded(self.exit).await,
            }
        }
        let _client_gone = to_client.shutdown().await;
    }

    /// The output alone, for clients that did not upgrade their connection.
    pub fn into_output(self) -> ByteStream {
        let (tty, framing, exit) = (self.tty, self.framing, self.exit);
        let end = futures_util::stream::once(exit_recorded(exit))
            .filter_map(|()| std::future::ready(None));
        let live =
            futures_util::stream::once(self.live.connect()).flat_map(move |stream| -> ByteStream {
                match stream {
                    Ok(Some(stream)) => Box::pin(
                        tokio_util::io::ReaderStream::with_capacity(stream, CHUNK)
                            .map(move |chunk| chunk.map(|chunk| framing.apply(chunk))),
                    ),
                    Ok(None) => Box::pin(futures_util::stream::empty()),
                    Err(err) => {
                        Box::pin(futures_util::stream::iter([Ok(failure_text(tty, &err).into())]))
                    }
                }
            });
        match self.past {
            Some(past) => Box::pin(past.chain(live).chain(end)),
            None => Box::pin(live.chain(end)),
        }
    }
}

/// For as long as an exit may lag behind the end of the output.
async fn exit_recorded(exit: Option<oneshot::Receiver<()>>) {
    if let Some(exit) = exit {
        let _recorded_or_late = tokio::time::timeout(EXIT_FOLLOWS, exit).await;
    }
}

enum StdinEnd {
    Closed,
    Detached,
}

/// Client → shim. Ends with the client's half-close, or when the detach keys were typed.
async fn feed_stdin(
    mut from: impl AsyncRead + Unpin,
    mut to: tokio::net::unix::OwnedWriteHalf,
    keys: Vec<u8>,
) -> StdinEnd {
    let mut buffer = vec![0; CHUNK];
    let mut scanner = Scanner { keys, matched: 0 };
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            let _shim_gone = to.shutdown().await;
            return StdinEnd::Closed;
        }
        let (forward, detach) = scanner.scan(&buffer[..read]);
        if to.write_all(&forward).await.is_err() {
            // The process closed its stdin: what the client still sends has no reader.
            drain(&mut from, &mut buffer).await;
            return StdinEnd::Closed;
        }
        if detach {
            return StdinEnd::Detached;
        }
    }
}

async fn drain(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) {
    while from.read(buffer).await.is_ok_and(|read| read > 0) {}
}

/// Whether output is passed on as it is, or put into frames of stdout.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Keep,
    Add,
}

impl Framing {
    fn head(self, length: usize) -> Option<[u8; 8]> {
        match self {
            Framing::Keep => None,
            Framing::Add => Some(frame_head(length)),
        }
    }
    fn apply(self, chunk: Bytes) -> Bytes {
        match self.head(chunk.len()) {
            None => chunk,
            Some(head) => [&head[..], &chunk[..]].concat().into(),
        }
    }
}

/// Docker's frame head for stdout.
fn frame_head(length: usize) -> [u8; 8] {
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [1, 0, 0, 0, a, b, c, d]
}

/// As dockerd tells in the stream why an exec did not start.
fn failure_text(tty: bool, err: &Error) -> Vec<u8> {
    let text = format!("{}\r\n", errdefs::chain(err));
    if tty { text.into_bytes() } else { [&frame_head(text.len())[..], text.as_bytes()].concat() }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    framing: Framing,
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(head) = framing.head(read) {
            to.write_all(&head).await?;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}

async fn copy_stream(
    mut from: ByteStream,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    while let Some(chunk) = from.next().await {
        to.write_all(&chunk?).await?;
    }
    to.flush().await
}

/// Finds the detach keys in stdin. A prefix of them is held back until the next byte decides.
struct Scanner {
    keys: Vec<u8>,
    matched: usize,
}

impl Scanner {
    /// What is to be passed on, and whether the keys are complete.
    fn scan(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (input.to_vec(), false);
        }
        let mut forward = Vec::with_capacity(input.len());
        for &byte in input {
            if byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (forward, true);
                }
                continue;
            }
            forward.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(byte == self.keys[0]);
            if self.matched == 0 {
                forward.push(byte);
            }
        }
        (forward, false)
    }
}

/// `ctrl-p,ctrl-q`, `ctrl-a`, `a,b` as bytes; Docker's sentence when it is neither.
pub(crate) fn parse_detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("ctrl-p,ctrl-q");
    text.split(',').map(|key| parse_key(key).ok_or_else(|| invalid_key(key))).collect()
}

fn invalid_key(key: &str) -> Error {
    Error::invalid(format!("Invalid detach keys ({key}) provided"))
}

fn parse_key(key: &str) -> Option<u8> {
    if let [byte] = key.as_bytes() {
        return Some(*byte);
    }
    match key.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [b'@'] => Some(0),
        [b'['] => Some(27),
        [b'\\'] => Some(28),
        [b']'] => Some(29),
        [b'^'] => Some(30),
        [b'_'] => Some(31),
        _ => None,
    }
}

impl Engine {
    /// `POST /containers/{id}/attach`. Works before the container starts, too: `docker run` does that.
    pub async fn container_attach(&self, id: &str, options: AttachOptions) -> Result<Session> {
        let container = self.0.containers.find(id)?;
        let detach_keys = parse_detach_keys(options.detach_keys.as_deref())?;
        match container.status() {
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {id} is paused, unpause the container before attach"
                )));
            }
            Status::Removing | Status::Dead => {
                return Err(Error::conflict(format!(
                    "container {id} is marked for removal and cannot be attached to"
                )));
            }
            _ => {}
        }
        let past = if options.logs { Some(self.past_output(id, &options).await?) } else { None };
        let tty = container.record().config.tty;
        let live = if options.stream { connect(&container, &options).await? } else { Live::No };
        self.0.events.emit("container", "attach", container.id.as_str(), container.attributes());
        let engine = self.clone();
        let tell: Box<dyn FnOnce() + Send> = Box::new(move || {
            engine.0.events.emit(
                "container",
                "detach",
                container.id.as_str(),
                container.attributes(),
            );
        });
        let (framing, on_detach) = (Framing::Keep, Some(tell));
        Ok(Session { tty, past, live, framing, detach_keys, on_detach, exit: None })
    }

    /// `POST /containers/{id}/resize`.
    pub async fn container_resize(&self, id: &str, rows: u16, columns: u16) -> Result<()> {
        let container = self.0.containers.find(id)?;
        container.running_shim()?.resize(rows, columns).await.map_err(Error::from_lower)
    }

    async fn past_output(&self, id: &str, options: &AttachOptions) -> Result<ByteStream> {
        let logs = LogsOptions {
            stdout: options.stdout,
            stderr: options.stderr,
            ..LogsOptions::default()
        };
        Ok(self.container_logs(id, logs).await?.0)
    }
}

/// A stream now, or the promise of one at the next start. Both under one lock, so that no start slips between.
async fn connect(container: &Arc<Container>, options: &AttachOptions) -> Result<Live> {
    let stdin = options.stdin && container.record().config.open_stdin;
    let wanted = runtime::Attach { stdin, stdout: options.stdout, stderr: options.stderr };
    let shim = {
        let shim = container.shim.lock().unwrap_or_else(PoisonError::into_inner);
        match shim.clone() {
            Some(shim) => shim,
            None => {
                let (granted, promise) = oneshot::channel();
                let mut pending = container.pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.retain(|attach| !attach.granted.is_closed());
                pending.push(PendingAttach { wanted, granted });
                return Ok(Live::AtStart(promise));
            }
        }
    };
    shim.attach(wanted).await.map(Live::Now).map_err(Error::from_lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_found_across_reads_and_a_false_start_is_passed_on() {
        let mut scanner = Scanner { keys: parse_detach_keys(None).unwrap(), matched: 0 };
        assert_eq!(scanner.scan(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(scanner.scan(b"c\x10"), (b"\x10c".to_vec(), false));
        assert_eq!(scanner.scan(b"\x11d"), (Vec::new(), true));
    }

    #[test]
    fn keys_are_read_as_docker_reads_them() {
        assert_eq!(parse_detach_keys(Some("ctrl-a,x")).unwrap(), [1, b'x']);
        assert!(parse_detach_keys(Some("ctrl-9")).is_err());
    }
}
