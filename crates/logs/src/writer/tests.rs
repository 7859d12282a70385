use super::*;

const KEEP: Rotation = Rotation { max_bytes: None, max_files: 1 };

fn open(path: &Path, rotation: Rotation) -> Writer {
    Writer::open(path, rotation, []).unwrap()
}

/// `stdout text` of each entry; the times are left out.
fn entries(path: &Path) -> Vec<String> {
    let text = std::fs::read(path).unwrap();
    let parse = |line: &[u8]| -> String {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        format!("{} {}", value["stream"].as_str().unwrap(), value["log"].as_str().unwrap())
    };
    text.split_inclusive(|byte| *byte == b'\n').map(parse).collect()
}

#[test]
fn lines_appear_whole_however_they_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut writer = open(&path, KEEP);
    writer.write(Stream::Stdout, b"one\ntw", Timestamp(1));
    writer.write(Stream::Stderr, b"err\n", Timestamp(2));
    writer.write(Stream::Stdout, b"o\n\nthree", Timestamp(3));
    writer.flush();
    assert_eq!(entries(&path), ["stdout one\n", "stderr err\n", "stdout two\n", "stdout \n"]);
    writer.end(Stream::Stdout, Timestamp(4));
    writer.end(Stream::Stderr, Timestamp(4));
    writer.flush();
    assert_eq!(entries(&path).last().unwrap(), "stdout three");
}

#[test]
fn a_long_line_is_cut_into_partials_of_16_kib_with_one_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut writer = open(&path, KEEP);
    let long = vec![b'x'; 40_000];
    for (at, piece) in long.chunks(5000).enumerate() {
        writer.write(Stream::Stdout, piece, Timestamp(at as i64));
    }
    writer.write(Stream::Stdout, b"\nnext\n", Timestamp(9));
    writer.flush();
    let text = std::fs::read_to_string(&path).unwrap();
    let seen: Vec<(usize, bool, String)> = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let log = value["log"].as_str().unwrap();
            (log.trim_end().len(), log.ends_with('\n'), value["time"].as_str().unwrap().to_owned())
        })
        .collect();
    let first = "1970-01-01T00:00:00.000000003Z".to_owned(); // when the first part was full
    assert_eq!(
        seen,
        [
            (16384, false, first.clone()),
            (16384, false, first.clone()),
            (40_000 - 32_768, true, first),
            (4, true, "1970-01-01T00:00:00.000000009Z".to_owned()),
        ]
    );
}

#[test]
fn a_full_file_moves_on_and_the_oldest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut writer = open(&path, Rotation { max_bytes: Some(200), max_files: 3 });
    for number in 0..20 {
        writer.write(Stream::Stdout, format!("line {number:02}\n").as_bytes(), Timestamp(0));
    }
    writer.flush();
    // 70 bytes each: a file is full with three, as dockerd looks before it writes.
    assert_eq!(entries(&numbered(&path, 2)).first().unwrap(), "stdout line 12\n");
    assert_eq!(entries(&numbered(&path, 1)).len(), 3);
    assert_eq!(entries(&path), ["stdout line 18\n", "stdout line 19\n"]);
    assert!(!numbered(&path, 3).exists());
}

#[test]
fn with_one_file_a_full_one_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut writer = open(&path, Rotation { max_bytes: Some(100), max_files: 1 });
    for number in 0..5 {
        writer.write(Stream::Stdout, format!("line {number:02}\n").as_bytes(), Timestamp(0));
    }
    writer.flush();
    assert_eq!(entries(&path), ["stdout line 04\n"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_torn_last_line_is_cut_off_when_the_log_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut writer = open(&path, KEEP);
    writer.write(Stream::Stdout, b"kept\n", Timestamp(0));
    writer.flush();
    let mut torn = std::fs::read(&path).unwrap();
    torn.extend_from_slice(b"{\"log\":\"half of");
    std::fs::write(&path, torn).unwrap();
    let mut writer = open(&path, KEEP);
    writer.write(Stream::Stdout, b"next\n", Timestamp(0));
    writer.flush();
    assert_eq!(entries(&path), ["stdout kept\n", "stdout next\n"]);
}

#[test]
fn a_full_disk_drops_lines_and_leaves_no_torn_one_and_writing_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let tmpfs = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("none"), &mount, Some("tmpfs"), tmpfs, Some("size=64k")).unwrap();
    let path = mount.join("log");
    let mut writer = open(&path, KEEP);
    for number in 0..2000 {
        writer.write(Stream::Stdout, format!("line {number}\n").as_bytes(), Timestamp(0));
    }
    writer.flush();
    let kept = entries(&path).len() as u64;
    let dropped = writer.dropped();
    std::fs::write(&path, "").unwrap();
    writer.written = 0;
    writer.write(Stream::Stdout, b"room again\n", Timestamp(0));
    writer.flush();
    let after = entries(&path);
    drop(writer);
    nix::mount::umount(&mount).unwrap();
    assert!(kept > 0 && dropped > 0, "{kept} kept, {dropped} dropped");
    assert_eq!(kept + dropped, 2000);
    assert_eq!(after, ["stdout room again\n"]);
}

#[test]
fn an_idle_writer_keeps_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(&dir.path().join("log"), KEEP);
    let burst = vec![b'y'; 1_000_000];
    writer.write(Stream::Stdout, &burst, Timestamp(0));
    writer.write(Stream::Stdout, b"\n", Timestamp(0));
    writer.flush();
    let kept = writer.buffer.capacity() + writer.stdout.line.capacity();
    assert!(kept <= 2 * IDLE_BYTES, "{kept} bytes kept");
}
