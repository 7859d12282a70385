//! The keys under which log and snapshots lie on the disk.
//!
//! ```text
//! unlock key (people have it) ──wraps──► data keys (this file) ──seal──► log, snapshots
//! ```
//!
//! Rotating the unlock key rewrites this file only. Rotating the data key writes all that follows under
//! the new one; the old ones stay until the next snapshot has made the last bytes under them obsolete.
//! Without an unlock key the data keys lie in the clear, readable by root only, as Docker's do.

use crate::disk;
use crate::seal::{self, DataKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The newest form of the file that we read, and the one we write.
const FORMAT: u32 = 1;
/// Separates what we derive from the unlock key from what anybody else does.
const DOMAIN: &[u8] = b"sampan raft keys 1";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file is locked, and no unlock key or the wrong one was given.
    #[error("the raft keys are locked: the unlock key is needed")]
    Locked,
    #[error("failed to {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is no file of raft keys: {what}")]
    Unreadable { path: PathBuf, what: String },
}

/// The data keys of one manager, in one file; wrapped by the unlock key when the cluster locks its
/// managers. Clones share their state.
#[derive(Clone)]
pub struct Keys {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// The last one is used for new bytes. Never empty.
    keys: Vec<DataKey>,
    /// The unlock key's text; empty: none.
    unlock: String,
}

#[derive(Serialize, Deserialize)]
struct OnDisk {
    v: u32,
    /// Hex; there when locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    /// Hex of [`Ring`]'s JSON, sealed when locked.
    ring: String,
}

#[derive(Serialize, Deserialize)]
struct Ring {
    keys: Vec<(u32, String)>,
}

impl Keys {
    /// Makes the file with a fresh data key. `unlock` is the unlock key's text (`SWMKEY-1-…`), empty
    /// when managers do not lock. Refused when the file is there.
    pub fn create(path: &Path, unlock: &str) -> Result<Keys, KeysError> {
        if path.exists() {
            let source = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(KeysError::Io { action: "make", path: path.to_owned(), source });
        }
        let keys = vec![DataKey { id: 1, secret: rand::random() }];
        Keys::save(path, State { keys, unlock: unlock.to_owned() })
    }

    /// Reads the file. [`KeysError::Locked`] when `unlock` is not the key it was locked with. A file
    /// that is not locked opens with any.
    pub fn load(path: &Path, unlock: &str) -> Result<Keys, KeysError> {
        let failed = |source| KeysError::Io { action: "read", path: path.to_owned(), source };
        let unreadable =
            |what: &str| KeysError::Unreadable { path: path.to_owned(), what: what.to_owned() };
        let text = fs::read(path).map_err(failed)?;
        let file: OnDisk = serde_json::from_slice(&text).map_err(|_| unreadable("not its form"))?;
        if file.v > FORMAT {
            return Err(unreadable("written by a newer release"));
        }
        let ring = hex::decode(&file.ring).map_err(|_| unreadable("not its form"))?;
        let (ring, unlock) = match &file.salt {
            None => (ring, ""),
            Some(salt) => {
                let key = wrapping_key(salt, unlock);
                let ring = seal::open(&key, DOMAIN, &ring).map_err(|_| KeysError::Locked)?;
                (ring, unlock)
            }
        };
        let ring: Ring = serde_json::from_slice(&ring).map_err(|_| unreadable("no keys in it"))?;
        let mut keys = Vec::new();
        for (id, secret) in ring.keys {
            let mut key = DataKey { id, secret: [0; 32] };
            hex::decode_to_slice(secret, &mut key.secret).map_err(|_| unreadable("a bad key"))?;
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(unreadable("no keys in it"));
        }
        let state = Mutex::new(State { keys, unlock: unlock.to_owned() });
        Ok(Keys { inner: Arc::new(Inner { path: path.to_owned(), state }) })
    }

    /// Whether the file on the disk needs an unlock key, without one.
    pub fn is_locked(path: &Path) -> Result<bool, KeysError> {
        match Keys::load(path, "") {
            Ok(_) => Ok(false),
            Err(KeysError::Locked) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Locks the file with another unlock key (empty: no lock). On the disk when it returns; on a
    /// failure the old one still opens it.
    pub fn rotate_unlock(&self, unlock: &str) -> Result<(), KeysError> {
        self.change(|state| state.unlock = unlock.to_owned())
    }

    /// A fresh data key for all that is written from now on. Old ones stay until nothing needs them:
    /// the running raft takes a snapshot soon after.
    pub fn rotate_data(&self) -> Result<(), KeysError> {
        self.change(|state| {
            let id = state.keys.last().map_or(1, |key| key.id + 1);
            state.keys.push(DataKey { id, secret: rand::random() });
        })
    }

    /// Drops the keys that are older than every byte that is still there.
    pub(crate) fn forget_before(&self, id: u32) -> Result<(), KeysError> {
        let needed = |key: &DataKey| key.id >= id;
        if self.lock().keys.iter().all(needed) {
            return Ok(());
        }
        self.change(|state| {
            let current = state.keys.last().cloned();
            state.keys.retain(needed);
            if state.keys.is_empty() {
                state.keys.extend(current);
            }
        })
    }

    pub(crate) fn current(&self) -> DataKey {
        // There is always one: nothing removes the last.
        self.lock().keys.last().cloned().unwrap_or(DataKey { id: 0, secret: [0; 32] })
    }

    pub(crate) fn get(&self, id: u32) -> Option<DataKey> {
        self.lock().keys.iter().find(|key| key.id == id).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), KeysError> {
        let mut state = self.lock();
        let mut next = State { keys: state.keys.clone(), unlock: state.unlock.clone() };
        change(&mut next);
        write(&self.inner.path, &next)?;
        *state = next;
        Ok(())
    }

    fn save(path: &Path, state: State) -> Result<Keys, KeysError> {
        write(path, &state)?;
        let state = Mutex::new(state);
        Ok(Keys { inner: Arc::new(Inner { path: path.to_owned(), state }) })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(path: &Path, state: &State) -> Result<(), KeysError> {
    let keys = state.keys.iter().map(|key| (key.id, hex::encode(key.secret))).collect();
    let ring = serde_json::to_vec(&Ring { keys }).unwrap_or_default();
    let file = if state.unlock.is_empty() {
        OnDisk { v: FORMAT, salt: None, ring: hex::encode(ring) }
    } else {
        let salt = hex::encode(rand::random::<[u8; 16]>());
        let sealed = seal::seal(&wrapping_key(&salt, &state.unlock), DOMAIN, &ring);
        OnDisk { v: FORMAT, salt: Some(salt), ring: hex::encode(sealed) }
    };
    let text = serde_json::to_vec(&file).unwrap_or_default();
    let failed = |source| KeysError::Io { action: "write", path: path.to_owned(), source };
    disk::replace(path, &text).map_err(failed)
}

/// The unlock key is 256 random bits, so that one hash is enough: there is nothing to guess.
fn wrapping_key(salt: &str, unlock: &str) -> DataKey {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    hash.update(salt.as_bytes());
    hash.update([0]);
    hash.update(unlock.as_bytes());
    DataKey { id: 0, secret: hash.finalize().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("raft-keys.json");
        (dir, path)
    }

    #[test]
    fn a_locked_file_opens_only_with_its_unlock_key() {
        let (_dir, path) = file();
        let keys = Keys::create(&path, "SWMKEY-1-first").unwrap();
        assert!(matches!(Keys::load(&path, ""), Err(KeysError::Locked)));
        assert!(matches!(Keys::load(&path, "SWMKEY-1-other"), Err(KeysError::Locked)));
        assert!(Keys::is_locked(&path).unwrap());
        let again = Keys::load(&path, "SWMKEY-1-first").unwrap();
        assert!(again.current() == keys.current());
        let secret = hex::encode(keys.current().secret);
        assert!(!fs::read_to_string(&path).unwrap().contains(&secret));
    }

    #[test]
    fn another_unlock_key_leaves_the_data_key_and_shuts_out_the_old_one() {
        let (_dir, path) = file();
        let keys = Keys::create(&path, "SWMKEY-1-first").unwrap();
        keys.rotate_unlock("SWMKEY-1-second").unwrap();
        assert!(matches!(Keys::load(&path, "SWMKEY-1-first"), Err(KeysError::Locked)));
        assert!(Keys::load(&path, "SWMKEY-1-second").unwrap().current() == keys.current());
        keys.rotate_unlock("").unwrap();
        assert!(Keys::load(&path, "").unwrap().current() == keys.current());
    }

    #[test]
    fn old_data_keys_stay_until_they_are_forgotten() {
        let (_dir, path) = file();
        let keys = Keys::create(&path, "").unwrap();
        keys.rotate_data().unwrap();
        assert_eq!(keys.current().id, 2);
        assert!(Keys::load(&path, "").unwrap().get(1).is_some());
        keys.forget_before(2).unwrap();
        assert!(Keys::load(&path, "").unwrap().get(1).is_none());
        keys.forget_before(99).unwrap();
        assert!(keys.get(2).is_some(), "the current one is never forgotten");
    }

    #[test]
    fn foreign_and_newer_files_are_refused_and_none_is_overwritten() {
        let (_dir, path) = file();
        fs::write(&path, b"{}").unwrap();
        assert!(matches!(Keys::load(&path, ""), Err(KeysError::Unreadable { .. })));
        fs::write(&path, br#"{"v":9,"ring":""}"#).unwrap();
        assert!(Keys::load(&path, "").is_err_and(|error| error.to_string().contains("newer")));
        assert!(matches!(Keys::create(&path, ""), Err(KeysError::Io { .. })));
    }
}
