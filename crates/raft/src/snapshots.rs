//! Snapshots on the disk: one file, sealed in blocks, there whole or not at all.
//!
//! ```text
//! head (magic, format, key, a random name) │ block 0: what it is, JSON │ blocks: the store, zstd
//! ```
//!
//! Each block is bound to the file, to its number and to whether it is the last: none can be swapped,
//! dropped or cut off unseen.

use crate::kinds::{Image, Meta};
use crate::seal::{self, DataKey};
use crate::{Error, Keys, disk};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Snapshot;

const MAGIC: &[u8; 8] = b"SMPNSNP\0";
/// The form that we write, and the newest that we read.
const FORMAT: u32 = 1;
const HEAD: usize = 8 + 4 + 4 + 16;
const BLOCK: usize = 1 << 20;
/// Most of the size goes at the first level already.
const LEVEL: i32 = 1;

/// What a snapshot is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) meta: Meta,
    pub(crate) lineage: u64,
}

/// The snapshots of one directory. There is one, and while it is replaced two.
#[derive(Clone)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    keys: Keys,
    turn: Arc<Mutex<()>>,
}

/// Why bytes from another manager are no state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadImage {
    #[error("a snapshot does not decompress")]
    Compression(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] store::Unreadable),
}

pub(crate) fn pack(state: &Snapshot) -> io::Result<Image> {
    let packed = zstd::encode_all(store::encode(state).as_slice(), LEVEL)?;
    Ok(Image(packed.into()))
}

pub(crate) fn unpack(image: &Image) -> Result<Snapshot, BadImage> {
    let bytes = zstd::decode_all(image.0.as_ref())?;
    Ok(store::decode(&bytes)?)
}

impl Snapshots {
    pub(crate) fn new(dir: &Path, keys: &Keys) -> Snapshots {
        Snapshots { dir: dir.to_owned(), keys: keys.clone(), turn: Arc::default() }
    }

    /// Nobody else saves a snapshot, or reads one, while the guard is held. openraft sends and builds one beside the installation of
    /// another: a file would be removed before it was read, and the older state might remove the newer one, whose entries are
    /// gone from the log.
    pub(crate) fn alone(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a snapshot and makes it the one that [`Snapshots::load`] finds. The ones before it go.
    pub(crate) fn save(&self, about: &About, image: &Image) -> io::Result<()> {
        let index = about.meta.last_log_id.map_or(0, |id| id.index);
        // Every save has a name of its own: the one before stays until this one is safe.
        let turn = self.files()?.last().map_or(0, |(_, turn, _)| turn + 1);
        let path = self.dir.join(format!("snapshot-{index:016x}-{turn:04x}"));
        let key = self.keys.current();
        let bytes = encode(&key, about, image);
        disk::replace(&path, &bytes)?;
        for (_, _, old) in self.files()?.into_iter().filter(|(_, _, old)| *old != path) {
            match fs::remove_file(old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The newest snapshot, if there is any, and the data key that it needs.
    pub(crate) fn load(&self) -> Result<Option<(About, Image, u32)>, Error> {
        let failed = |source| Error::Io { action: "read", path: self.dir.clone(), source };
        let Some((_, _, path)) = self.files().map_err(failed)?.pop() else { return Ok(None) };
        let bytes = fs::read(&path).map_err(|source| Error::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        decode(&self.keys, &path, &bytes).map(Some)
    }

    /// The data key that the newest snapshot needs.
    pub(crate) fn key(&self) -> io::Result<Option<u32>> {
        let _alone = self.alone();
        let Some((_, _, path)) = self.files()?.pop() else { return Ok(None) };
        let mut head = [0; HEAD];
        fs::File::open(path)?.read_exact(&mut head)?;
        Ok(Some(u32::from_le_bytes([head[12], head[13], head[14], head[15]])))
    }

    /// Fails when there is no room for so many bytes.
    pub(crate) fn claim(&self, bytes: u64) -> io::Result<()> {
        let path = self.dir.join("room");
        let claimed = disk::fill(&path, bytes);
        fs::remove_file(&path)?;
        claimed
    }

    /// By index, then by turn.
    fn files(&self) -> io::Result<Vec<(u64, u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let parts = name.to_str().and_then(|name| name.strip_prefix("snapshot-"));
            let Some((index, turn)) = parts.and_then(|parts| parts.split_once('-')) else {
                continue;
            };
            let numbers = (u64::from_str_radix(index, 16), u64::from_str_radix(turn, 16));
            if let (Ok(index), Ok(turn)) = numbers {
                found.push((index, turn, entry.path()));
            } else if name.to_string_lossy().ends_with(".new") {
                fs::remove_file(entry.path())?;
            }
        }
        found.sort();
        Ok(found)
    }
}

fn place(name: &[u8], number: u64, last: bool) -> Vec<u8> {
    let mut place = b"snapshot".to_vec();
    place.extend_from_slice(name);
    place.extend_from_slice(&number.to_le_bytes());
    place.push(u8::from(last));
    place
}

fn encode(key: &DataKey, about: &About, image: &Image) -> Vec<u8> {
    let name: [u8; 16] = rand::random();
    let mut bytes = Vec::with_capacity(image.0.len() + image.0.len() / 1024 + 4096);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&key.id.to_le_bytes());
    bytes.extend_from_slice(&name);
    let about = serde_json::to_vec(about).unwrap_or_default();
    let blocks: Vec<&[u8]> = [about.as_slice()].into_iter().chain(image.0.chunks(BLOCK)).collect();
    for (number, block) in blocks.iter().enumerate() {
        let place = place(&name, number as u64, number + 1 == blocks.len());
        let sealed = seal::seal(key, &place, block);
        bytes.extend_from_slice(&(sealed.len() as u32).to_le_bytes());
        // A Vec takes any bytes.
        let _ = bytes.write_all(&sealed);
    }
    bytes
}

fn decode(keys: &Keys, path: &Path, bytes: &[u8]) -> Result<(About, Image, u32), Error> {
    let damaged = |at: usize, what: &str| Error::Damaged {
        path: path.to_owned(),
        at: at as u64,
        what: what.to_owned(),
    };
    let head = bytes.get(..HEAD).ok_or_else(|| damaged(0, "it has no head"))?;
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if !head.starts_with(MAGIC) {
        return Err(damaged(0, "it has no head"));
    }
    if number(8) > FORMAT {
        return Err(Error::Newer { path: path.to_owned(), found: number(8) });
    }
    let (key, name) = (number(12), &head[16..HEAD]);
    let key = keys
        .get(key)
        .ok_or_else(|| damaged(12, &format!("its data key {key} is not in the key file")))?;
    let (mut at, mut count, mut about, mut image) = (HEAD, 0, None, Vec::new());
    while at < bytes.len() {
        let length = bytes.get(at..at + 4).and_then(|length| length.try_into().ok());
        let length = length.map_or(usize::MAX, |length| u32::from_le_bytes(length) as usize);
        let end = (at + 4).saturating_add(length);
        let sealed = bytes.get(at + 4..end).ok_or_else(|| damaged(at, "it ends early"))?;
        let block =
            seal::open(&key, &place(name, count, end == bytes.len()), sealed).map_err(|_| {
                damaged(at, "a block does not open with its key, or the end is missing")
            })?;
        match about {
            None => {
                let read: About = serde_json::from_slice(&block)
                    .map_err(|_| damaged(at, "what it is of cannot be read"))?;
                about = Some(read);
            }
            Some(_) => image.extend_from_slice(&block),
        }
        (at, count) = (end, count + 1);
    }
    let about = about.ok_or_else(|| damaged(at, "it ends early"))?;
    Ok((about, Image(Bytes::from(image)), key.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshots() -> (tempfile::TempDir, Snapshots, About, Image) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::create(&dir.path().join("keys"), "").unwrap();
        let about = About { meta: Meta::default(), lineage: 7 };
        let image = Image((0..3_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into());
        let snapshots = Snapshots::new(dir.path(), &keys);
        (dir, snapshots, about, image)
    }

    #[test]
    fn what_was_saved_last_is_found_and_alone() {
        let (_dir, snapshots, about, image) = snapshots();
        assert!(snapshots.load().unwrap().is_none());
        snapshots.save(&about, &Image::default()).unwrap();
        snapshots.save(&about, &image).unwrap();
        let (found, bytes, key) = snapshots.load().unwrap().unwrap();
        assert_eq!((found.lineage, bytes.0 == image.0, key), (7, true, 1));
        assert_eq!(snapshots.files().unwrap().len(), 1);
    }

    #[test]
    fn a_cut_or_changed_snapshot_is_refused_wherever_it_was_hit() {
        let (_dir, snapshots, about, image) = snapshots();
        snapshots.save(&about, &image).unwrap();
        let path = snapshots.files().unwrap().pop().unwrap().2;
        let whole = fs::read(&path).unwrap();
        let second =
            HEAD + 4 + u32::from_le_bytes(whole[HEAD..HEAD + 4].try_into().unwrap()) as usize;
        for cut in [0, 10, HEAD, HEAD + 2, second, second + 100, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(matches!(snapshots.load(), Err(Error::Damaged { .. })), "cut at {cut}");
        }
        for byte in [0, 20, HEAD + 50, second + 50, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[byte] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(matches!(snapshots.load(), Err(Error::Damaged { .. })), "byte {byte}");
        }
    }
}
