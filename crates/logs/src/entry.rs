//! One entry of a log file: `{"log":"…\n","stream":"stdout","time":"2026-11-21T07:08:09.1Z"}`, with
//! `"attrs":{…}` before the time when the log driver was told to add some.
//!
//! The writer's half allocates nothing but its output and escapes byte for byte as dockerd does. The
//! reader's half understands exactly what the writer (or dockerd) writes and refuses the rest.

/// Which of the container's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Docker's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Length of a time with all nine digits: `2026-11-21T07:08:09.123456789Z`.
pub(crate) const FIXED_TIME: usize = 30;
/// Where the fraction's point stands in it.
const POINT: usize = 19;

/// Appends one entry. `complete` adds the newline that a partial entry lacks.
pub(crate) fn encode(
    to: &mut Vec<u8>,
    line: &[u8],
    complete: bool,
    stream: Stream,
    attrs: &str,
    time: &str,
) {
    to.extend_from_slice(b"{\"log\":\"");
    escape(to, line);
    to.extend_from_slice(if complete { b"\\n\",\"stream\":\"" } else { b"\",\"stream\":\"" });
    to.extend_from_slice(stream.as_str().as_bytes());
    to.push(b'"');
    if !attrs.is_empty() {
        to.extend_from_slice(b",\"attrs\":");
        to.extend_from_slice(attrs.as_bytes());
    }
    to.extend_from_slice(b",\"time\":\"");
    to.extend_from_slice(time.as_bytes());
    to.extend_from_slice(b"\"}\n");
}

/// The `attrs` object, keys in order; empty text when there is nothing to add.
pub(crate) fn attributes<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = Vec::new();
    for (key, value) in pairs {
        out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
        escape(&mut out, key.as_bytes());
        out.extend_from_slice(b"\":\"");
        escape(&mut out, value.as_bytes());
        out.push(b'"');
    }
    if !out.is_empty() {
        out.push(b'}');
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Bytes that Go's HTML-safe JSON writes as they are.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0x20;
    while byte < 0x80 {
        plain[byte] = !matches!(byte as u8, b'"' | b'\\' | b'<' | b'>' | b'&');
        byte += 1;
    }
    plain
};

/// Appends `text` as the inside of a JSON string, exactly as dockerd's json-file driver does: `<`, `>`
/// and `&` escaped, tabs as `\u0009`, one `\ufffd` for each byte that is not UTF-8.
fn escape(to: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = rest.iter().position(|&byte| !PLAIN[usize::from(byte)]).unwrap_or(rest.len());
        let (head, tail) = rest.split_at(plain);
        to.extend_from_slice(head);
        let Some(&byte) = tail.first() else { return };
        rest = if byte < 0x80 {
            escape_ascii(to, byte);
            &tail[1..]
        } else {
            let end = tail.iter().position(u8::is_ascii).unwrap_or(tail.len());
            escape_wide(to, &tail[..end]);
            &tail[end..]
        };
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

fn escape_ascii(to: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => to.extend_from_slice(&[b'\\', byte]),
        b'\n' => to.extend_from_slice(b"\\n"),
        b'\r' => to.extend_from_slice(b"\\r"),
        _ => {
            to.extend_from_slice(b"\\u00");
            to.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn escape_wide(to: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for (at, piece) in chunk.valid().split_inclusive(['\u{2028}', '\u{2029}']).enumerate() {
            debug_assert!(at == 0 || !piece.is_empty());
            // JavaScript takes these two for line ends; Go therefore escapes them.
            let (text, escaped): (&str, &[u8]) = match piece.chars().next_back() {
                Some('\u{2028}') => (&piece[..piece.len() - 3], b"\\u2028"),
                Some('\u{2029}') => (&piece[..piece.len() - 3], b"\\u2029"),
                _ => (piece, b""),
            };
            to.extend_from_slice(text.as_bytes());
            to.extend_from_slice(escaped);
        }
        for _ in chunk.invalid() {
            to.extend_from_slice(b"\\ufffd");
        }
    }
}

/// One entry as it stands in the file: the log text still escaped.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) log: &'a [u8],
    pub(crate) stream: Stream,
    /// The inside of the `attrs` object, still escaped.
    pub(crate) attrs: &'a [u8],
    pub(crate) time: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Reads one line without its newline; `None` for anything that no writer has written.
    pub(crate) fn decode(line: &'a [u8]) -> Option<Self> {
        let (log, rest) = string_end(line.strip_prefix(b"{\"log\":\"")?)?;
        let rest = rest.strip_prefix(b",\"stream\":\"std")?;
        let (stream, rest) = match rest.split_at_checked(4)? {
            (b"out\"", rest) => (Stream::Stdout, rest),
            (b"err\"", rest) => (Stream::Stderr, rest),
            _ => return None,
        };
        let (attrs, rest) = match rest.strip_prefix(b",\"attrs\":{") {
            Some(rest) => object_end(rest)?,
            None => (&rest[..0], rest),
        };
        let time = rest.strip_prefix(b",\"time\":\"")?.strip_suffix(b"\"}")?;
        Some(Entry { log, stream, attrs, time })
    }

    /// The time with all nine digits; two such texts compare as their times do.
    pub(crate) fn fixed_time(&self) -> Option<[u8; FIXED_TIME]> {
        let digits = self.time.strip_suffix(b"Z")?;
        if digits.len() < POINT || digits.len() >= FIXED_TIME || !digits.is_ascii() {
            return None;
        }
        let mut fixed = *b"0000-00-00T00:00:00.000000000Z";
        fixed[..digits.len()].copy_from_slice(digits);
        fixed[POINT] = b'.';
        Some(fixed)
    }
}

/// Splits at the string's closing quote.
fn string_end(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &text[from..])?;
        if text[at] == b'"' {
            return Some((&text[..at], &text[at + 1..]));
        }
        from = at + 2;
        if from > text.len() {
            return None;
        }
    }
}

/// Splits at the closing brace of a flat object of strings.
fn object_end(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = text;
    loop {
        let at = memchr::memchr2(b'"', b'}', rest)?;
        if rest[at] == b'}' {
            let end = text.len() - rest.len() + at;
            return Some((&text[..end], &text[end + 1..]));
        }
        rest = string_end(&rest[at + 1..])?.1;
    }
}

/// Appends the text that `escaped` stands for. A malformed escape ends it early.
pub(crate) fn unescape(to: &mut Vec<u8>, escaped: &[u8]) {
    let mut rest = escaped;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        to.extend_from_slice(&rest[..at]);
        let Some(&kind) = rest.get(at + 1) else { return };
        rest = &rest[at + 2..];
        match kind {
            b'n' => to.push(b'\n'),
            b'r' => to.push(b'\r'),
            b't' => to.push(b'\t'),
            b'b' => to.push(8),
            b'f' => to.push(12),
            b'u' => match unicode(rest) {
                Some((letter, used)) => {
                    to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[used..];
                }
                None => return,
            },
            other => to.push(other),
        }
    }
    to.extend_from_slice(rest);
}

/// The character of `XXXX` or of a surrogate pair `XXXX\uXXXX`, and how many bytes it took.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text)?;
    if let Some(letter) = char::from_u32(first) {
        return Some((letter, 4));
    }
    let second = text.get(4..).and_then(|rest| hex4(rest.strip_prefix(b"\\u")?));
    match second {
        Some(second) if first < 0xdc00 && (0xdc00..0xe000).contains(&second) => {
            let letter = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
            Some((letter, 10))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, 4)),
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// The `attrs` as `--details` shows them: `key=value,…`, each part escaped as in a URL's query.
pub(crate) fn details(to: &mut Vec<u8>, attrs: &[u8]) {
    let mut rest = attrs;
    let mut quoted = Vec::new();
    let mut part = 0;
    while let Some((text, after)) =
        memchr::memchr(b'"', rest).and_then(|at| string_end(&rest[at + 1..]))
    {
        if part > 0 {
            to.push(if part % 2 == 1 { b'=' } else { b',' });
        }
        quoted.clear();
        unescape(&mut quoted, text);
        query_escape(to, &quoted);
        (rest, part) = (after, part + 1);
    }
}

/// Go's `url.QueryEscape`.
fn query_escape(to: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => to.push(byte),
            b' ' => to.push(b'+'),
            _ => {
                let digit = |nibble: u8| HEX[usize::from(nibble)].to_ascii_uppercase();
                to.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

/// RFC 3339 in UTC with nine digits, for any nanoseconds of the years 1677 to 2262 (all an `i64` holds).
pub(crate) fn format_time(nanos: i64) -> [u8; FIXED_TIME] {
    let (seconds, fraction) =
        (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000) as u64);
    let (days, clock) = (seconds.div_euclid(86400), seconds.rem_euclid(86400) as u64);
    let (year, month, day) = civil(days);
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let fields = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, clock / 3600),
        (14, 2, clock / 60 % 60),
        (17, 2, clock % 60),
        (20, 9, fraction),
    ];
    for (at, width, mut value) in fields {
        for digit in out[at..at + width].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    }
    out
}

/// Year, month and day of a count of days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // days since 0000-03-01; positive for every i64 of nanoseconds
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year.unsigned_abs(), month.unsigned_abs(), day.unsigned_abs())
}

/// The same without the fraction's trailing zeros, as Go's `RFC3339Nano` prints it.
pub(crate) fn trimmed(fixed: &[u8; FIXED_TIME]) -> ([u8; FIXED_TIME], usize) {
    let digits = &fixed[..FIXED_TIME - 1];
    let zeros = digits.iter().rev().take_while(|byte| **byte == b'0').count().min(9);
    let end = if zeros == 9 { POINT } else { FIXED_TIME - 1 - zeros };
    let mut out = *fixed;
    out[end] = b'Z';
    (out, end + 1)
}

#[cfg(test)]
mod tests;
