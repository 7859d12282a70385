//! What the engine has of a project, read from the lists of its API.

use crate::labels;
use std::collections::{BTreeMap, BTreeSet};
use types::container::Summary;

/// Everything a plan looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Of this project, whatever Compose made them.
    pub containers: Vec<Container>,
    /// Names of all networks of the engine, with the label [`labels::HASH`] of those that carry it.
    pub networks: BTreeMap<String, Option<String>>,
    /// Names of all volumes of the engine, with the label [`labels::SETTINGS`] of those that carry it.
    pub volumes: BTreeMap<String, Option<String>>,
    /// Image references of the project and the ids they have now.
    pub images: BTreeMap<String, String>,
}

/// A container of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    /// Without the slash.
    pub name: String,
    pub service: String,
    pub number: u32,
    /// Made by `run`.
    pub oneoff: bool,
    /// Docker's word: `running`, `exited`, …
    pub state: String,
    pub hash: String,
    pub image_id: String,
    /// Anonymous volumes by destination.
    pub anonymous: BTreeMap<String, String>,
    /// Names of the other volumes in it.
    pub volumes: BTreeSet<String>,
}

impl Container {
    /// Reads a row of the container list; nothing when it belongs to no project.
    pub fn from_summary(row: &Summary) -> Option<Self> {
        let label = |key: &str| row.labels.get(key).cloned();
        let anonymous =
            |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
        Some(Container {
            id: row.id.to_string(),
            name: row.names.first()?.trim_start_matches('/').to_owned(),
            service: label(labels::SERVICE)?,
            number: label(labels::NUMBER).and_then(|n| n.parse().ok()).unwrap_or(1),
            oneoff: label(labels::ONEOFF).is_some_and(|word| word.eq_ignore_ascii_case("true")),
            state: row.state.clone(),
            hash: label(labels::HASH).unwrap_or_default(),
            image_id: row.image_id.clone(),
            anonymous: row
                .mounts
                .iter()
                .filter(|mount| mount.kind == "volume" && anonymous(&mount.name))
                .map(|mount| (mount.destination.clone(), mount.name.clone()))
                .collect(),
            volumes: row
                .mounts
                .iter()
                .filter(|mount| mount.kind == "volume" && !anonymous(&mount.name))
                .map(|mount| mount.name.clone())
                .collect(),
        })
    }

    /// A one-off that is done: it belongs to no service any more.
    pub fn is_spent(&self) -> bool {
        self.oneoff && matches!(self.state.as_str(), "exited" | "dead")
    }

    /// True while its process lives.
    pub fn is_running(&self) -> bool {
        matches!(self.state.as_str(), "running" | "restarting" | "paused")
    }
}
