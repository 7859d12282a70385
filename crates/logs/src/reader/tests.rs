use super::*;
use crate::{Rotation, Writer};
use futures_util::StreamExt;
use std::pin::Pin;

const SMALL: Rotation = Rotation { max_bytes: Some(500), max_files: 5 };

fn options() -> ReadOptions {
    ReadOptions {
        stdout: true,
        stderr: true,
        since: None,
        until: None,
        tail: None,
        timestamps: false,
        details: false,
        framing: Framing::Raw,
    }
}

struct Log {
    dir: tempfile::TempDir,
    writer: Writer,
}

impl Log {
    fn new(rotation: Rotation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(&dir.path().join("log"), rotation, []).unwrap();
        Log { dir, writer }
    }
    fn path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
    /// Lines `from..to`, each at as many seconds; odd ones go to stderr.
    fn write(&mut self, from: i64, to: i64) {
        for number in from..to {
            let stream = if number % 2 == 0 { Output::Stdout } else { Output::Stderr };
            let at = Timestamp::from_seconds(number);
            self.writer.write(stream, format!("{number}\n").as_bytes(), at);
        }
        self.writer.flush();
    }
    async fn read(&self, options: ReadOptions) -> String {
        collect(read(&self.path(), options, None)).await
    }
}

async fn collect(stream: impl Stream<Item = io::Result<Bytes>>) -> String {
    let batches: Vec<_> = stream.map(|batch| batch.unwrap().to_vec()).collect().await;
    String::from_utf8(batches.concat()).unwrap()
}

fn numbers(range: std::ops::Range<i64>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn joined_frames_hold_neighbouring_entries_of_one_stream_and_are_bounded() {
    let mut log = Log::new(Rotation { max_bytes: None, max_files: 1 });
    let at = Timestamp::from_seconds(1);
    let long = format!("{}\n", "x".repeat(9_999));
    let lines = [("a\n", Output::Stdout), ("b\n", Output::Stdout), ("c\n", Output::Stderr)];
    for (line, stream) in lines {
        log.writer.write(stream, line.as_bytes(), at);
    }
    for _ in 0..7 {
        log.writer.write(Output::Stdout, long.as_bytes(), at);
    }
    log.writer.flush();
    let options = ReadOptions { framing: Framing::Joined, ..options() };
    let batches: Vec<_> =
        read(&log.path(), options, None).map(|batch| batch.unwrap().to_vec()).collect().await;
    let (bytes, mut frames) = (batches.concat(), Vec::new());
    let mut rest = &bytes[..];
    while let Some((head, after)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        frames.push((head[0], length));
        rest = &after[length..];
    }
    assert_eq!(frames, [(1, 4), (2, 2), (1, 40_000), (1, 30_000)]);
}

#[tokio::test]
async fn a_log_is_read_across_its_rotated_files() {
    let mut log = Log::new(SMALL);
    log.write(0, 30);
    assert!(log.dir.path().join("log.3").exists());
    assert_eq!(log.read(options()).await, numbers(0..30));
}

#[tokio::test]
async fn tail_counts_entries_back_through_older_files() {
    let mut log = Log::new(SMALL);
    log.write(0, 30);
    for tail in 0..32 {
        let read = log.read(ReadOptions { tail: Some(tail), ..options() }).await;
        assert_eq!(read, numbers((30 - tail as i64).max(0)..30), "tail {tail}");
    }
}

#[tokio::test]
async fn since_and_until_are_inclusive_and_streams_are_chosen() {
    let mut log = Log::new(SMALL);
    log.write(0, 20);
    let (since, until) = (Some(Timestamp::from_seconds(5)), Some(Timestamp::from_seconds(9)));
    assert_eq!(log.read(ReadOptions { since, until, ..options() }).await, numbers(5..10));
    let stderr = log.read(ReadOptions { since, until, stdout: false, ..options() }).await;
    assert_eq!(stderr, "5\n7\n9\n");
}

#[tokio::test]
async fn frames_name_their_stream_and_length() {
    let mut log = Log::new(SMALL);
    log.write(10, 12);
    let framed =
        ReadOptions { framing: Framing::Multiplexed, timestamps: true, details: true, ..options() };
    let time = "1970-01-01T00:00:10.000000000Z";
    let second = time.replace(":10.", ":11.");
    assert_eq!(
        log.read(framed).await,
        format!("\x01\0\0\0\0\0\0\x23{time}  10\n\x02\0\0\0\0\0\0\x23{second}  11\n")
    );
}

#[tokio::test]
async fn a_torn_line_and_garbage_are_skipped() {
    let mut log = Log::new(SMALL);
    log.write(0, 2);
    let mut text = std::fs::read(log.path()).unwrap();
    text.extend_from_slice(b"garbage\n{\"log\":\"torn");
    std::fs::write(log.path(), text).unwrap();
    assert_eq!(log.read(options()).await, numbers(0..2));
    // A tail counts lines, and the torn one is none.
    assert_eq!(log.read(ReadOptions { tail: Some(2), ..options() }).await, "1\n");
}

#[tokio::test]
async fn a_missing_log_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(collect(read(&dir.path().join("none"), options(), None)).await, "");
}

type Boxed = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Reads until `want` has come.
async fn expect(stream: &mut Boxed, want: &str) {
    let mut got = String::new();
    while got.len() < want.len() {
        let batch = stream.next().await.expect("the stream goes on").unwrap();
        got.push_str(std::str::from_utf8(&batch).unwrap());
    }
    assert_eq!(got, want);
}

#[tokio::test]
async fn a_follower_sees_every_line_across_rotations_and_ends_with_the_container() {
    let mut log = Log::new(SMALL);
    log.write(0, 3);
    let (end, ended) = watch::channel(false);
    let mut stream: Boxed = Box::pin(read(&log.path(), options(), Some(ended)));
    expect(&mut stream, &numbers(0..3)).await;
    for round in 0..10 {
        let from = 3 + round * 12;
        log.write(from, from + 12);
        expect(&mut stream, &numbers(from..from + 12)).await;
    }
    // Written right before the end, and still read.
    log.write(123, 125);
    end.send(true).unwrap();
    expect(&mut stream, &numbers(123..125)).await;
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_follower_of_one_file_survives_its_being_thrown_away() {
    let mut log = Log::new(Rotation { max_bytes: Some(200), max_files: 1 });
    let (end, ended) = watch::channel(false);
    log.write(0, 1);
    let mut stream: Boxed = Box::pin(read(&log.path(), options(), Some(ended)));
    expect(&mut stream, &numbers(0..1)).await;
    let writing = async {
        for number in 1..40 {
            log.write(number, number + 1);
            tokio::task::yield_now().await;
        }
        drop(end);
    };
    let reading = async {
        let mut got = String::new();
        while let Some(batch) = stream.next().await {
            got.push_str(std::str::from_utf8(&batch.unwrap()).unwrap());
        }
        got
    };
    let ((), got) = tokio::join!(writing, reading);
    // Lines may be lost with their file, but none twice, none out of order, and the newest is there.
    let got: Vec<i64> = got.lines().map(|line| line.parse().unwrap()).collect();
    assert!(got.is_sorted_by(|one, next| one < next), "{got:?}");
    assert_eq!(got.last(), Some(&39));
}

#[tokio::test]
async fn a_follower_waits_for_a_log_that_does_not_exist_yet() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let (end, ended) = watch::channel(false);
    let mut stream: Boxed = Box::pin(read(&path, options(), Some(ended)));
    let (got, ()) = tokio::join!(stream.next(), async {
        let mut writer = Writer::open(&path, SMALL, []).unwrap();
        writer.write(Output::Stdout, b"first\n", Timestamp(0));
        writer.flush();
    });
    assert_eq!(got.unwrap().unwrap(), "first\n");
    drop(end);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_follower_ends_when_until_has_passed() {
    let mut log = Log::new(SMALL);
    log.write(0, 3);
    let (_open, ended) = watch::channel(false);
    let until = Some(Timestamp::from_seconds(1));
    let stream = read(&log.path(), ReadOptions { until, ..options() }, Some(ended));
    assert_eq!(collect(stream).await, numbers(0..2));
}
