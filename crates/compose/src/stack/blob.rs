//! Secrets and configs of a stack. Neither can change in the cluster, so that a name stands for one content: unless the
//! file says the name itself, it ends in a hash of the content, and a changed file is another object that rolls the
//! services which use it.

use super::{VERSIONED, labelled};
use crate::diagnostic::Diagnostic;
use crate::model::{FileSource, Project};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

/// Gives a file's bytes by its absolute path: the crate itself opens nothing.
pub type Contents<'a> = &'a dyn Fn(&str) -> io::Result<Vec<u8>>;

/// Hexadecimal digits of the hash in a name: 48 bits. Names have 64 characters.
const DIGITS: usize = 12;

/// A secret or config, by its key in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Blob {
    /// As the cluster knows it.
    pub name: String,
    /// Must be there already.
    pub external: bool,
    pub data: Vec<u8>,
    pub labels: BTreeMap<String, String>,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Secret,
    Config,
}

impl Kind {
    fn section(self) -> &'static str {
        match self {
            Kind::Secret => "secrets",
            Kind::Config => "configs",
        }
    }
}

pub(super) fn all(
    project: &Project,
    kind: Kind,
    contents: Contents<'_>,
    said: &mut Vec<Diagnostic>,
) -> BTreeMap<String, Blob> {
    let sources = match kind {
        Kind::Secret => &project.secrets,
        Kind::Config => &project.configs,
    };
    let mut blobs = BTreeMap::new();
    for (key, source) in sources {
        match blob(project, key, source, contents) {
            Ok(blob) => {
                blobs.insert(key.clone(), blob);
            }
            Err(message) => {
                let place = project.span(&[kind.section(), key]).unwrap_or_default();
                let at = format!("{}.{key}", kind.section());
                said.push(Diagnostic::error(at, message, place));
            }
        }
    }
    blobs
}

fn blob(
    project: &Project,
    key: &str,
    source: &FileSource,
    contents: Contents<'_>,
) -> Result<Blob, String> {
    if source.external {
        return Ok(Blob { name: source.name.clone(), external: true, ..Blob::default() });
    }
    let data = bytes(project, source, contents)?;
    let mut labels = labelled(project, &source.labels);
    let mut name = source.name.clone();
    // a name of the user's own is left alone: they version it themselves
    if name == format!("{}_{key}", project.name) {
        let hash = hex::encode(Sha256::digest(&data));
        name = format!("{name}_{}", &hash[..DIGITS]);
        labels.insert(VERSIONED.to_owned(), key.to_owned());
    }
    Ok(Blob { name, external: false, data, labels })
}

fn bytes(
    project: &Project,
    source: &FileSource,
    contents: Contents<'_>,
) -> Result<Vec<u8>, String> {
    match (&source.file, &source.environment, &source.content) {
        (Some(file), ..) => contents(file).map_err(|err| format!("cannot read {file}: {err}")),
        (_, Some(variable), _) => match project.environment.get(variable) {
            Some(value) => Ok(value.clone().into_bytes()),
            None => Err(format!("the environment variable {variable} is not set")),
        },
        (.., Some(text)) => Ok(text.clone().into_bytes()),
        _ => Err("says no source".to_owned()),
    }
}
