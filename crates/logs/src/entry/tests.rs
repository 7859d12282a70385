use super::*;
use proptest::prelude::*;

fn line(text: &[u8]) -> String {
    let mut out = Vec::new();
    encode(&mut out, text, true, Stream::Stdout, "", "2026-11-21T07:08:09.1Z");
    String::from_utf8(out).unwrap()
}

#[test]
fn an_entry_reads_as_dockerd_writes_it() {
    assert_eq!(
        line(b"hi"),
        "{\"log\":\"hi\\n\",\"stream\":\"stdout\",\"time\":\"2026-11-21T07:08:09.1Z\"}\n"
    );
}

#[test]
fn escapes_are_those_of_gos_json_byte_for_byte() {
    let mut out = Vec::new();
    escape(&mut out, b"\t\r\x00\x1b[0m\"\\<>&\x7f/");
    assert_eq!(out, br#"\u0009\r\u0000\u001b[0m\"\\\u003c\u003e\u0026"#.iter().chain(b"\x7f/").copied().collect::<Vec<_>>());
    out.clear();
    escape(&mut out, "é\u{2028}x\u{2029}\u{1f600}".as_bytes());
    assert_eq!(out, "é\\u2028x\\u2029\u{1f600}".as_bytes());
    out.clear();
    escape(&mut out, b"a\xe2\x82b\xff\xed\xa0\x80\xe2\x82\xac");
    assert_eq!(out, "a\\ufffd\\ufffdb\\ufffd\\ufffd\\ufffd\\ufffd€".as_bytes());
}

#[test]
fn attributes_survive_and_are_shown_as_a_query() {
    let attrs = attributes([("a b", "x}\"y"), ("tag", "1/2")]);
    let mut out = Vec::new();
    encode(&mut out, b"m", false, Stream::Stderr, &attrs, "2026-11-21T07:08:09Z");
    let entry = Entry::decode(out.strip_suffix(b"\n").unwrap()).unwrap();
    assert_eq!((entry.log, entry.stream), (&b"m"[..], Stream::Stderr));
    let mut shown = Vec::new();
    details(&mut shown, entry.attrs);
    assert_eq!(String::from_utf8(shown).unwrap(), "a+b=x%7D%22y,tag=1%2F2");
}

#[test]
fn what_is_no_entry_is_refused() {
    let whole = line(b"some text");
    let whole = whole.trim_end().as_bytes();
    for end in 0..whole.len() {
        assert_eq!(Entry::decode(&whole[..end]), None, "cut at {end}");
    }
    assert_eq!(Entry::decode(b"{\"log\":\"x\\"), None);
    assert_eq!(Entry::decode(b"{}"), None);
}

#[test]
fn times_are_gos_rfc3339nano_and_compare_when_padded() {
    let show = |nanos| {
        let (text, len) = trimmed(&format_time(nanos));
        String::from_utf8(text[..len].to_vec()).unwrap()
    };
    assert_eq!(show(0), "1970-01-01T00:00:00Z");
    assert_eq!(show(1_500_000_000), "1970-01-01T00:00:01.5Z");
    assert_eq!(show(1_709_164_800_000_000_010), "2024-02-29T00:00:00.00000001Z");
    assert_eq!(show(-1), "1969-12-31T23:59:59.999999999Z");
    let entry =
        Entry { log: b"", stream: Stream::Stdout, attrs: b"", time: b"1970-01-01T00:00:01.5Z" };
    assert_eq!(entry.fixed_time(), Some(format_time(1_500_000_000)));
}

proptest! {
    /// Whatever a container prints, the file is JSON that any reader takes, and ours gives it back.
    #[test]
    fn any_bytes_survive_as_json(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        let entry = line(&text);
        let json: serde_json::Value = serde_json::from_str(&entry).unwrap();
        let decoded = Entry::decode(entry.trim_end().as_bytes()).unwrap();
        let mut back = Vec::new();
        unescape(&mut back, decoded.log);
        prop_assert_eq!(json["log"].as_str().unwrap().as_bytes(), &back[..]);
        if let Ok(text) = std::str::from_utf8(&text) {
            prop_assert_eq!(format!("{text}\n").into_bytes(), back);
        }
    }

    #[test]
    fn our_calendar_is_everybodys(nanos in any::<i64>()) {
        prop_assume!(nanos > i64::MIN);
        let (text, len) = trimmed(&format_time(nanos));
        let text = std::str::from_utf8(&text[..len]).unwrap();
        prop_assert_eq!(text.parse::<types::Timestamp>(), Ok(types::Timestamp(nanos)));
    }
}
