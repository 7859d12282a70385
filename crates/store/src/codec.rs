//! Snapshots as bytes: one JSON record a line, each with the version of its form.
//!
//! ```text
//! {"format":"sampan-store","v":1,"version":7}      head
//! {"v":1,"spec":{…}}                               a task spec; tasks name it by its number, from 0
//! {"v":1,"object":{"service":{…}}}
//! {"v":1,"object":{"task":{…}},"of":0}
//! {"end":3}                                        how many records there were
//! ```
//!
//! JSON, because the objects are Docker's JSON already and survive new fields in both directions. A line
//! of a newer version than ours, or a missing end, is refused: half a state is worse than none.
//! Encryption and compression lie above.

use crate::{Object, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use types::swarm::task::{Task, TaskSpec};

/// The version of the records that this code writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
const NAME: &str = "sampan-store";

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("this is not a snapshot of the store")]
    Foreign,
    #[error("record {line} has version {found}, newer than {FORMAT}: made by a newer release")]
    Newer { line: usize, found: u32 },
    #[error("the snapshot ends early, after record {line}")]
    Truncated { line: usize },
    #[error("failed to read record {line}")]
    Record {
        line: usize,
        #[source]
        source: serde_json::Error,
    },
    #[error("record {line} names spec {spec}, which is not there")]
    NoSpec { line: usize, spec: usize },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    v: u32,
    version: u64,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: usize,
}

#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<TaskSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<Object>,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<usize>,
}

/// Only the version, to be read before anything that it may have changed.
#[derive(Deserialize)]
struct Versioned {
    v: u32,
}

/// Writes the whole state. The same state gives the same bytes.
pub fn encode(state: &Snapshot) -> Vec<u8> {
    let mut writer =
        Writer { out: Vec::new(), records: 0, specs: BTreeMap::new(), known: BTreeMap::new() };
    writer.line(&Head { format: NAME.to_owned(), v: FORMAT, version: state.version });
    let tables = state.clusters.iter().cloned().map(Object::Cluster);
    let tables = tables.chain(state.nodes.iter().cloned().map(Object::Node));
    let tables = tables.chain(state.networks.iter().cloned().map(Object::Network));
    let tables = tables.chain(state.secrets.iter().cloned().map(Object::Secret));
    let tables = tables.chain(state.configs.iter().cloned().map(Object::Config));
    let tables = tables.chain(state.volumes.iter().cloned().map(Object::Volume));
    let tables = tables.chain(state.services.iter().cloned().map(Object::Service));
    for object in tables {
        writer.record(&Record { v: FORMAT, spec: None, object: Some(object), of: None });
    }
    for task in state.tasks.iter() {
        writer.task(task);
    }
    let end = writer.records;
    writer.line(&End { end });
    writer.out
}

struct Writer {
    out: Vec<u8>,
    records: usize,
    /// Numbers by the text of the spec, and by its address: most tasks share theirs.
    specs: BTreeMap<String, usize>,
    known: BTreeMap<usize, usize>,
}

impl Writer {
    fn line(&mut self, value: &impl Serialize) {
        // Plain data with string keys: serde_json has no way to fail on it, and a Vec takes any bytes.
        if serde_json::to_writer(&mut self.out, value).is_ok() {
            self.out.push(b'\n');
        }
    }
    fn record(&mut self, record: &Record) {
        self.line(record);
        self.records += 1;
    }
    fn task(&mut self, task: &Arc<Task>) {
        let of = self.spec(&task.spec);
        let bare = Task { spec: Arc::default(), ..Task::clone(task) };
        self.record(&Record { v: FORMAT, spec: None, object: Some(bare.into()), of: Some(of) });
    }
    fn spec(&mut self, spec: &Arc<TaskSpec>) -> usize {
        let address = Arc::as_ptr(spec) as usize;
        if let Some(number) = self.known.get(&address) {
            return *number;
        }
        let text = serde_json::to_string(spec).unwrap_or_default();
        let next = self.specs.len();
        let number = *self.specs.entry(text).or_insert(next);
        self.known.insert(address, number);
        if number == next {
            let spec = Some(TaskSpec::clone(spec));
            self.record(&Record { v: FORMAT, spec, object: None, of: None });
        }
        number
    }
}

/// Reads what [`encode`] wrote, this release's or an older one's.
pub fn decode(bytes: &[u8]) -> Result<Snapshot, Unreadable> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let (_, first) = lines.next().ok_or(Unreadable::Foreign)?;
    let head: Head = serde_json::from_slice(first).map_err(|_| Unreadable::Foreign)?;
    if head.format != NAME {
        return Err(Unreadable::Foreign);
    }
    if head.v > FORMAT {
        return Err(Unreadable::Newer { line: 0, found: head.v });
    }
    let mut state = Snapshot::default();
    let mut specs = Vec::new();
    let mut read = 0;
    for (line, bytes) in lines {
        if !bytes.ends_with(b"\n") {
            return Err(Unreadable::Truncated { line: read });
        }
        if let Ok(End { end }) = serde_json::from_slice(bytes) {
            if end != read {
                return Err(Unreadable::Truncated { line: read });
            }
            state.version = head.version;
            return Ok(state);
        }
        read_record(&mut state, &mut specs, line, bytes)?;
        read = line;
    }
    Err(Unreadable::Truncated { line: read })
}

fn read_record(
    state: &mut Snapshot,
    specs: &mut Vec<Arc<TaskSpec>>,
    line: usize,
    bytes: &[u8],
) -> Result<(), Unreadable> {
    let failed = |source| Unreadable::Record { line, source };
    let Versioned { v: found } = serde_json::from_slice(bytes).map_err(failed)?;
    if found > FORMAT {
        return Err(Unreadable::Newer { line, found });
    }
    let record: Record = serde_json::from_slice(bytes).map_err(failed)?;
    if let Some(spec) = record.spec {
        specs.push(Arc::new(spec));
    }
    match (record.object, record.of) {
        (Some(Object::Task(mut task)), Some(spec)) => {
            let shared = specs.get(spec).ok_or(Unreadable::NoSpec { line, spec })?;
            Arc::make_mut(&mut task).spec = shared.clone();
            state.put(Object::Task(task));
        }
        (Some(object), _) => {
            state.put(object);
        }
        (None, _) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
