//! As much HTTP/1.1 as a test needs: one request a connection, the whole reply read. Raw on purpose: what the daemon
//! sends is seen as it is, without a client library's mending.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A whole reply.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    /// Names in lower case, in the order received.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` when it is empty.
    ///
    /// # Panics
    /// When it is neither.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(err) => panic!("not JSON ({err}): {}", self.text()),
        }
    }

    /// The `message` of an error reply.
    #[track_caller]
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Loads an image archive over a connection to an engine, as `docker load` does.
pub fn load_archive(stream: impl Read + Write, mut archive: File) -> Result<Response> {
    let length = archive.metadata()?.len();
    exchange(stream, "POST", "/images/load?quiet=1", "application/x-tar", &mut archive, length)
}

/// One request with a JSON body on a daemon's socket, given up after `patience` without a byte.
///
/// # Errors
/// [`Unsent`] (in the chain) when it surely never reached the daemon.
pub fn request(
    socket: &Path,
    method: &str,
    path: &str,
    body: &[u8],
    patience: Duration,
) -> Result<Response> {
    let stream = UnixStream::connect(socket).map_err(|_| Unsent)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    exchange(stream, method, path, "application/json", &mut &*body, body.len() as u64)
}

/// Nobody listens on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsent;

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody listens on the daemon's socket")
    }
}

impl std::error::Error for Unsent {}

/// Sends one request over `stream` and reads the reply to its end.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    content_type: &str,
    body: &mut dyn Read,
    length: u64,
) -> Result<Response> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    if length > 0 || matches!(method, "POST" | "PUT") {
        head.push_str(&format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    // A server that refuses early closes its side: its reply says more than our failure to write.
    let sent = std::io::copy(body, &mut stream);
    let reply = read_reply(BufReader::new(stream));
    match (sent, reply) {
        (_, Ok(reply)) => Ok(reply),
        (Err(err), Err(_)) => Err(err).context("sending the body"),
        (Ok(_), Err(err)) => Err(err),
    }
}

fn read_reply(mut reader: impl BufRead) -> Result<Response> {
    let mut line = String::new();
    reader.read_line(&mut line).context("reading the status line")?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let Some(status) = status else { bail!("not an HTTP reply: {line:?}") };
    let mut headers = Vec::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()))
            }
            None => break,
        }
    }
    let mut response = Response { status, headers, body: Vec::new() };
    read_body(reader, &mut response)?;
    Ok(response)
}

fn read_body(mut reader: impl BufRead, response: &mut Response) -> Result<()> {
    if response.header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        return read_chunks(reader, &mut response.body);
    }
    match response.header("content-length").map(str::parse::<u64>) {
        Some(length) => {
            let length = length.context("a content length that is no number")?;
            let read = reader.take(length).read_to_end(&mut response.body)?;
            ensure!(read as u64 == length, "the body ended after {read} of {length} bytes");
        }
        None if matches!(response.status, 204 | 304) => {}
        None => {
            reader.read_to_end(&mut response.body)?;
        }
    }
    Ok(())
}

fn read_chunks(mut reader: impl BufRead, body: &mut Vec<u8>) -> Result<()> {
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the body ended between two chunks");
        let digits = line.trim().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16)
            .with_context(|| format!("not a chunk size: {line:?}"))?;
        if size == 0 {
            return Ok(());
        }
        let read = (&mut reader).take(size).read_to_end(body)?;
        ensure!(read as u64 == size, "the body ended inside a chunk");
        reader.read_line(&mut line)?;
    }
}
