//! A real registry: Debian's docker-registry on loopback, and a door before it that counts.

use image::Reference;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};

/// A registry process in a directory of its own.
pub struct Registry {
    process: Child,
    pub dir: TempDir,
    pub port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

pub async fn registry(auth: Option<&str>) -> Registry {
    // The port may be taken by another between our asking for it and the registry's: then another one.
    for _ in 0..10 {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if let Some(registry) = registry_on(port, auth).await {
            return registry;
        }
    }
    panic!("the registry does not come up");
}

/// `None` when the registry ended instead of listening.
async fn registry_on(port: u16, auth: Option<&str>) -> Option<Registry> {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let auth = auth.map_or(String::new(), |line| {
        fs::write(dir.path().join("htpasswd"), format!("{line}\n")).unwrap();
        format!(
            "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
            dir.path().join("htpasswd").display()
        )
    });
    let config = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}",
        data.display()
    );
    fs::write(dir.path().join("config.yml"), config).unwrap();
    let process = Command::new("docker-registry")
        .args(["serve", dir.path().join("config.yml").to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Debian's docker-registry is installed");
    let mut registry = Registry { process, dir, port };
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if registry.process.try_wait().unwrap().is_some() {
            return None;
        }
        tokio::task::yield_now().await;
    }
    Some(registry)
}

impl Registry {
    pub fn name(&self, rest: &str) -> Reference {
        Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }
    /// The file of a blob, to be spoilt.
    pub fn blob(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        let root = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        root.join(&hex[..2]).join(hex).join("data")
    }
}

/// Another way to the registry, by another name, which notes what is asked for.
pub struct Door {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: tokio::task::JoinSet<()>,
}

impl Door {
    pub async fn before(registry: &Registry) -> Door {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, behind) = (listener.local_addr().unwrap().port(), registry.port);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = asked.clone();
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move {
            let mut all = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                all.spawn(pass(client, behind, notes.clone()));
            }
        });
        Door { port, asked, _serving: serving }
    }

    pub fn name(&self, rest: &str) -> Reference {
        Reference::parse(&format!("127.0.0.1:{}/{rest}", self.port)).unwrap()
    }

    /// How often the blob was asked for.
    pub fn asked(&self, digest: &str) -> usize {
        let path = format!("/blobs/{digest}");
        self.asked.lock().unwrap().iter().filter(|line| line.contains(&path)).count()
    }
}

/// One connection; the first line of each request is noted.
async fn pass(client: tokio::net::TcpStream, port: u16, notes: Arc<Mutex<Vec<String>>>) {
    let Ok(server) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from_client.read(&mut buffer).await {
            let text = String::from_utf8_lossy(&buffer[..n]).into_owned();
            notes.lock().unwrap().extend(text.lines().next().map(str::to_owned));
            if to_server.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
        // The other side hears of the end.
        let _ = to_server.shutdown().await;
    };
    let down = async {
        let _ = copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(up, down);
}
