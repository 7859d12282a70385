use super::*;
use crate::{Change, Entry, Store};
use types::swarm::service::{Service, ServiceSpec, UpdateConfig};
use types::swarm::task::{ContainerSpec, TaskState, TaskStatus};
use types::{ServiceId, TaskId, Timestamp};

fn sample() -> Snapshot {
    let mut store = Store::default();
    let update = UpdateConfig { max_failure_ratio: 0.1, parallelism: 2, ..UpdateConfig::default() };
    let spec =
        ServiceSpec { name: "web".into(), update_config: Some(update), ..ServiceSpec::default() };
    let service = Service { id: ServiceId::new("s1"), spec, ..Service::default() };
    let container = ContainerSpec { image: "nginx:1".into(), ..ContainerSpec::default() };
    let spec = Arc::new(TaskSpec { container_spec: Some(container), ..TaskSpec::default() });
    let mut changes = vec![Change::Create(service.into())];
    for slot in 1..=3 {
        let status = TaskStatus {
            state: TaskState::Running,
            timestamp: Timestamp(1_700_000_000_123_456_789),
            message: "started".into(),
            ..TaskStatus::default()
        };
        let task = Task {
            id: TaskId::new(format!("t{slot}")),
            service_id: ServiceId::new("s1"),
            slot,
            status,
            spec: spec.clone(),
            ..Task::default()
        };
        changes.push(Change::Create(task.into()));
    }
    let applied = store.apply(&Entry::one(Timestamp(5), changes));
    assert_eq!(applied.refused, vec![]);
    store.snapshot()
}

#[test]
fn a_snapshot_survives_bytes_and_shares_specs_again() {
    let state = sample();
    let bytes = encode(&state);
    let back = decode(&bytes).unwrap();
    assert_eq!(back.version(), state.version());
    assert_eq!(encode(&back), bytes);
    let rows: Vec<_> = back.tasks().iter().collect();
    assert_eq!(rows[2].as_ref(), state.tasks().get("t3").unwrap().as_ref());
    assert!(Arc::ptr_eq(&rows[0].spec, &rows[2].spec));
    assert_eq!(String::from_utf8(bytes).unwrap().matches("nginx:1").count(), 1);
    assert_eq!(back.tasks_of_service(&ServiceId::new("s1")).count(), 3);
}

#[test]
fn bytes_cut_anywhere_are_refused() {
    let bytes = encode(&sample());
    for end in 0..bytes.len() {
        let err = decode(&bytes[..end]).expect_err("cut");
        let clear = matches!(err, Unreadable::Truncated { .. } | Unreadable::Foreign);
        assert!(clear, "cut at {end}: {err}");
    }
}

#[test]
fn a_lost_line_is_noticed() {
    let text = String::from_utf8(encode(&sample())).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(3);
    let err = decode(format!("{}\n", lines.join("\n")).as_bytes()).expect_err("a line is missing");
    assert_eq!(err.to_string(), "the snapshot ends early, after record 4");
}

#[test]
fn a_newer_record_is_refused_with_its_version() {
    let text = String::from_utf8(encode(&sample())).unwrap();
    let newer = text.replacen("{\"v\":1,\"object\"", "{\"v\":2,\"thing\"", 1);
    let err = decode(newer.as_bytes()).expect_err("newer");
    assert_eq!(err.to_string(), "record 1 has version 2, newer than 1: made by a newer release");
    let newer = text.replacen("\"v\":1", "\"v\":3", 1);
    assert!(matches!(decode(newer.as_bytes()), Err(Unreadable::Newer { line: 0, found: 3 })));
}

#[test]
fn unknown_fields_of_a_known_version_are_skipped() {
    let text = String::from_utf8(encode(&sample())).unwrap();
    let more = text.replacen("\"Slot\":1", "\"Slot\":1,\"Tomorrow\":true", 1);
    assert_ne!(more, text);
    assert_eq!(decode(more.as_bytes()).unwrap().tasks().len(), 3);
}

#[test]
fn other_files_are_not_taken_for_snapshots() {
    assert!(matches!(decode(b""), Err(Unreadable::Foreign)));
    assert!(matches!(
        decode(b"{\"format\":\"else\",\"v\":1,\"version\":0}\n"),
        Err(Unreadable::Foreign)
    ));
}
