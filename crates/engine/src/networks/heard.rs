//! The endpoint table on disk: a line of JSON with the whole of it, then one for each change since.
//!
//! It is written before a version is acknowledged: managers stop a task once this node has said that it sends there no
//! more, and a daemon that is killed after that must not come back with an older table. What is at stake is the death of
//! the daemon; after one of the machine nothing here sends to anybody, so lines are not synced.

use crate::container::write_atomically;
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use types::NodeId;
use types::swarm::endpoint::{EndpointTable, EndpointUpdate};

/// Changes take as much room as the whole table, or this: then it is written anew.
const ROOM: usize = 64 * 1024;

/// What the node knows of its cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Heard {
    /// This node, as its cluster calls it.
    pub(super) node: NodeId,
    pub(super) table: Arc<EndpointTable>,
}

#[derive(Debug)]
pub(super) struct TableFile {
    path: PathBuf,
    /// What is there. `None` before the first write, and after one that failed: then the whole is written.
    there: Option<Heard>,
    /// Bytes of the whole table, and of changes since.
    whole: usize,
    changes: usize,
}

impl TableFile {
    pub(super) fn at(path: PathBuf) -> Self {
        TableFile { path, there: None, whole: 0, changes: 0 }
    }

    /// What the last daemon wrote; `None` if it wrote nothing. A line that was cut short, and what is behind it, is as if it
    /// had not been written.
    pub(super) fn read(&self) -> io::Result<Option<Heard>> {
        let text = match std::fs::read(&self.path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        let mut heard: Heard = serde_json::from_slice(lines.next().unwrap_or_default())?;
        let table = Arc::make_mut(&mut heard.table);
        for line in lines {
            let Ok(update) = serde_json::from_slice::<EndpointUpdate>(line) else { break };
            if table.apply(&update).is_err() {
                break;
            }
        }
        Ok(Some(heard))
    }

    /// Makes the file say what was heard; nothing to do if it does.
    pub(super) fn write(&mut self, heard: &Heard) -> io::Result<()> {
        let there = self.there.take().filter(|there| there.node == heard.node);
        match &there {
            Some(there) if there.table.version == heard.table.version => {}
            Some(there) if self.changes < self.whole.max(ROOM) => {
                let mut line =
                    serde_json::to_vec(&EndpointUpdate::between(&there.table, &heard.table))?;
                line.push(b'\n');
                OpenOptions::new().append(true).open(&self.path)?.write_all(&line)?;
                self.changes += line.len();
            }
            _ => {
                let mut text = serde_json::to_vec(heard)?;
                text.push(b'\n');
                write_atomically(&self.path, &text)?;
                (self.whole, self.changes) = (text.len(), 0);
            }
        }
        self.there = Some(heard.clone());
        Ok(())
    }

    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.there = None;
        match std::fs::remove_file(&self.path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use types::swarm::endpoint::PeerRow;

    fn heard(version: u64) -> Heard {
        let peer = |number: u64| PeerRow {
            node: NodeId::new(format!("node{number:04}")),
            underlay: Ipv4Addr::from_bits(u32::try_from(number).unwrap()),
            wire_key: String::new(),
        };
        let table = EndpointTable {
            version,
            peers: (version / 2..version).map(peer).collect(),
            ..EndpointTable::default()
        };
        Heard { node: NodeId::new("me"), table: Arc::new(table) }
    }

    fn size(path: &std::path::Path) -> u64 {
        std::fs::metadata(path).unwrap().len()
    }

    #[test]
    fn after_each_write_it_says_what_was_heard_and_does_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        let mut file = TableFile::at(path.clone());
        assert_eq!(file.read().unwrap(), None);
        for version in 1..2_000 {
            file.write(&heard(version)).unwrap();
            if version % 97 == 0 {
                assert_eq!(TableFile::at(path.clone()).read().unwrap(), Some(heard(version)));
            }
        }
        assert!(size(&path) < 3 * ROOM as u64, "{} bytes", size(&path));
        file.remove().unwrap();
        file.remove().unwrap();
        file.write(&heard(7)).unwrap();
        assert_eq!(file.read().unwrap(), Some(heard(7)));
    }

    #[test]
    fn a_change_that_was_cut_short_is_as_if_it_had_not_been_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        let mut file = TableFile::at(path.clone());
        for version in 1..=3 {
            file.write(&heard(version)).unwrap();
        }
        let cut = OpenOptions::new().write(true).open(&path).unwrap();
        cut.set_len(size(&path) - 5).unwrap();
        let mut next = TableFile::at(path);
        assert_eq!(next.read().unwrap(), Some(heard(2)));
        next.write(&heard(4)).unwrap();
        assert_eq!(next.read().unwrap(), Some(heard(4)));
    }
}
