//! A private engine served on a unix socket, and the smallest client that shows what is on the wire.
//!
//! Each server has a network namespace of its own: its thread unshares one before the runtime starts.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part, and may panic"
)]

use api::{Host, ListenOptions, Listeners, TlsFiles};
use cluster::Cluster;
use engine::{Engine, EngineConfig};
use nix::sched::{CloneFlags, unshare};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub struct Server {
    pub dir: TempDir,
    pub tcp: Vec<SocketAddr>,
    runtime: Runtime,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    engine: Engine,
    cluster: Cluster,
}

/// A reply whose body has been read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {:?}", self.body))
    }
    /// The sentence of a refusal.
    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    pub fn start() -> Self {
        Server::with(Vec::new(), None)
    }

    /// With further addresses beside the unix socket.
    pub fn with(mut hosts: Vec<Host>, tls: Option<TlsFiles>) -> Self {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let dir = tempfile::tempdir().unwrap();
        hosts.push(Host::Unix(dir.path().join("sock")));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (engine, cluster, listeners) = runtime.block_on(async {
            up("lo").await;
            let config = EngineConfig {
                data_root: dir.path().join("data"),
                exec_root: dir.path().join("exec"),
                cgroup_parent: "/sampan-api-test".to_owned(),
                ..EngineConfig::default()
            };
            let options = ListenOptions {
                hosts,
                group: Some("0".to_owned()),
                tls,
                ..ListenOptions::default()
            };
            let engine = Engine::open(config).await.unwrap();
            let swarm = cluster::Config {
                dir: dir.path().join("data/swarm"),
                default_advertise_addr: String::new(),
            };
            let cluster = Cluster::open(swarm, engine.clone()).await.unwrap();
            (engine, cluster, Listeners::bind(options).await.unwrap())
        });
        let (stop, tcp) = (CancellationToken::new(), listeners.tcp_addresses());
        let serving = api::serve(engine.clone(), cluster.clone(), listeners, stop.clone());
        let serving = Some(runtime.spawn(serving));
        Server { dir, tcp, runtime, stop, serving, engine, cluster }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    /// Sends a request and half-closes: the reply must come nevertheless.
    pub fn send(&self, head: &str, body: &str) -> Reply {
        let mut stream = self.connect();
        write!(stream, "{head}\r\nHost: d\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        read_reply(&mut BufReader::new(stream))
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send(&format!("GET {path} HTTP/1.1"), "")
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        let kind = if body.is_empty() { "" } else { "\r\nContent-Type: application/json" };
        self.send(&format!("POST {path} HTTP/1.1{kind}"), body)
    }

    pub fn delete(&self, path: &str) -> Reply {
        self.send(&format!("DELETE {path} HTTP/1.1"), "")
    }

    /// Stops the server and waits until it has ended.
    pub fn stop(&mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            self.runtime.block_on(serving).unwrap();
            self.runtime.block_on(self.cluster.close());
            self.runtime.block_on(self.engine.close());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn up(link: &str) {
    let done = tokio::process::Command::new("ip")
        .args(["link", "set", link, "up"])
        .status()
        .await
        .unwrap();
    assert!(done.success());
}

/// Reads status line and headers.
pub fn read_head(stream: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{line:?}"));
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            return (status, headers);
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
}

/// Reads one chunk of a chunked body; `None` at its end.
pub fn read_chunk(stream: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let length = usize::from_str_radix(line.trim_end(), 16).ok()?;
    let mut chunk = vec![0; length + 2];
    stream.read_exact(&mut chunk).unwrap();
    chunk.truncate(length);
    (length > 0).then(|| String::from_utf8(chunk).unwrap())
}

fn read_reply(stream: &mut impl BufRead) -> Reply {
    let (status, headers) = read_head(stream);
    let mut body = String::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        while let Some(chunk) = read_chunk(stream) {
            body.push_str(&chunk);
        }
    } else if let Some(length) = headers.get("content-length") {
        stream.take(length.parse().unwrap()).read_to_string(&mut body).unwrap();
    }
    Reply { status, headers, body }
}
