//! Saved snapshots: the whole cluster in one file, for `cluster snapshot save|restore|inspect`.
//!
//! ```text
//! magic, format │ length │ JSON (what it is of) │ the store, zstd │ SHA-256 of all before
//! ```
//!
//! Not encrypted: it is made to outlive the machines and their keys, and holds every secret of the
//! cluster and its CA key. Whoever writes it to a file keeps others from reading it.

use crate::kinds::Image;
use crate::snapshots;
use crate::{Error, Peer};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use store::{Kind, Snapshot};

const MAGIC: &[u8; 8] = b"SMPNSAVE";
/// The form that we write, and the newest that we read.
const FORMAT: u32 = 1;
const HEAD: usize = 8 + 4 + 4;
const DIGEST: usize = 32;

/// What a saved snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// The store's version.
    pub version: u64,
    /// The last log entry in it.
    pub index: u64,
    pub term: u64,
    /// The managers at that time.
    pub members: Vec<Peer>,
    /// Objects by kind, those that there are.
    pub objects: Vec<(Kind, usize)>,
}

impl Archive {
    pub(crate) fn of(state: &Snapshot, index: u64, term: u64, members: Vec<Peer>) -> Archive {
        let counts = [
            (Kind::Cluster, state.clusters().iter().count()),
            (Kind::Node, state.nodes().iter().count()),
            (Kind::Service, state.services().iter().count()),
            (Kind::Task, state.tasks().iter().count()),
            (Kind::Network, state.networks().iter().count()),
            (Kind::Secret, state.secrets().iter().count()),
            (Kind::Config, state.configs().iter().count()),
            (Kind::Volume, state.volumes().iter().count()),
        ];
        let objects = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        Archive { version: state.version(), index, term, members, objects }
    }
}

pub(crate) fn write(mut to: impl Write, about: &Archive, state: &Snapshot) -> Result<(), Error> {
    let failed = |source| Error::Io { action: "write", path: "the snapshot".into(), source };
    let image = snapshots::pack(state).map_err(failed)?;
    let json = serde_json::to_vec(about).unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEAD + json.len() + image.0.len() + DIGEST);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(&image.0);
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    to.write_all(&bytes).and_then(|()| to.flush()).map_err(failed)
}

pub(crate) fn read(mut from: impl Read) -> Result<(Archive, Snapshot), Error> {
    let refused = |why: &str| Error::NotArchive(why.to_owned());
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).map_err(|source| Error::Io {
        action: "read",
        path: "the snapshot".into(),
        source,
    })?;
    let head = bytes.get(..HEAD).ok_or_else(|| refused("it is too short"))?;
    if !head.starts_with(MAGIC) {
        return Err(refused("it begins with something else"));
    }
    let number =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if number(8) > FORMAT {
        return Err(Error::Newer { path: "the snapshot".into(), found: number(8) });
    }
    let length = number(12) as usize;
    let (body, digest) = bytes
        .split_at_checked(bytes.len().saturating_sub(DIGEST))
        .filter(|(body, _)| body.len() >= HEAD)
        .ok_or_else(|| refused("it is too short"))?;
    if Sha256::digest(body).as_slice() != digest {
        return Err(refused("it is cut or changed: the checksum does not match"));
    }
    let (json, image) = body[HEAD..]
        .split_at_checked(length)
        .ok_or_else(|| refused("it is cut or changed: the checksum does not match"))?;
    let about = serde_json::from_slice(json).map_err(|error| refused(&error.to_string()))?;
    let state = snapshots::unpack(&Image(image.to_vec().into()))
        .map_err(|error| refused(&error.to_string()))?;
    Ok((about, state))
}

/// Reads a saved snapshot whole: what it says of itself, and the state.
pub fn open_archive(from: impl Read) -> Result<(Archive, Snapshot), Error> {
    read(from)
}

/// Reads what a saved snapshot says of itself, and checks it whole.
pub fn inspect(from: impl Read) -> Result<Archive, Error> {
    read(from).map(|(about, _)| about)
}
