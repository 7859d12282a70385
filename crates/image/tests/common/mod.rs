//! Tars by hand, and a store in a directory of its own.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unreachable_pub, reason = "a module of each test binary")]
#![allow(clippy::unwrap_used, reason = "tests: a failure is a panic")]

pub mod registry;

use futures_util::TryStreamExt;
use image::{ByteStream, Image, ImportOptions, Reference, RegistryConfig, Store};
use std::sync::Arc;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

/// A store that goes with the test.
pub struct Home {
    pub store: Store,
    pub dir: TempDir,
}

pub async fn home() -> Home {
    home_with(RegistryConfig::default()).await
}

pub async fn home_with(registry: RegistryConfig) -> Home {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("image"), registry).await.unwrap();
    Home { store, dir }
}

/// Opens the directory of `home` again, as the next daemon would.
pub async fn reopen(home: Home) -> Home {
    let Home { store, dir } = home;
    drop(store);
    let store = Store::open(dir.path().join("image"), RegistryConfig::default()).await.unwrap();
    Home { store, dir }
}

/// A tar under construction.
pub struct Tar(Builder<Vec<u8>>);

impl Tar {
    pub fn new() -> Self {
        Tar(Builder::new(Vec::new()))
    }
    fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_size(content.len() as u64);
        header.set_mtime(1_700_000_000);
        let fields = header.as_old_mut();
        fields.name[..path.len()].copy_from_slice(path.as_bytes());
        fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }
    pub fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", &[], |_| {})
    }
    pub fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes(), |_| {})
    }
    pub fn bytes(self, path: &str, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", content, |_| {})
    }
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, &[], |_| {})
    }
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, &[], |_| {})
    }
    pub fn owned(self, path: &str, content: &str, mode: u32, uid: u64, gid: u64) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes(), |header| {
            header.set_mode(mode);
            header.set_uid(uid);
            header.set_gid(gid);
        })
    }
    pub fn fifo(self, path: &str) -> Self {
        self.entry(EntryType::Fifo, path, "", &[], |_| {})
    }
    pub fn device(self, path: &str, major: u32, minor: u32) -> Self {
        self.entry(EntryType::Char, path, "", &[], |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }
    /// Extended attributes and the like for the next entry.
    pub fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(key, value)]).unwrap();
        self
    }
    pub fn build(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// An image called `name` of one layer.
pub async fn import(store: &Store, name: &str, tar: Tar) -> Arc<Image> {
    let reference = Some(Reference::parse(name).unwrap());
    let options = ImportOptions { reference, ..ImportOptions::default() };
    store.import(&tar.build()[..], options).await.unwrap()
}

pub async fn read(stream: ByteStream) -> Vec<u8> {
    stream
        .try_fold(Vec::new(), async |mut all, chunk| {
            all.extend_from_slice(&chunk);
            Ok(all)
        })
        .await
        .unwrap()
}

/// A channel that is always read, and what came through it.
pub fn progress() -> (image::ProgressSender, tokio::task::JoinHandle<Vec<image::Progress>>) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let all = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(message) = receiver.recv().await {
            all.push(message);
        }
        all
    });
    (sender, all)
}

/// What is left below `root/tmp` and `root/ingest`.
pub fn leftovers(home: &Home) -> Vec<std::path::PathBuf> {
    let list = |name: &str| std::fs::read_dir(home.store.root().join(name)).unwrap();
    list("tmp").chain(list("ingest")).map(|entry| entry.unwrap().path()).collect()
}
