//! Requests with the answers that dockerd gave, as text: `cargo xtask record` writes the answers, a test compares ours.
//!
//! ```text
//! # the container's life
//! POST /v1.41/containers/create?name=alpha {"Image":"busybox"}
//! keep container
//! differs Warnings: ours warns of what this kernel lacks
//! = 201 application/json
//! Id: "s"
//! Warnings: []
//! ```
//!
//! Blocks are separated by empty lines. A body is JSON, or `@FILE` of the images directory. `keep NAME` remembers the
//! answer's `Id` for `$NAME` in later requests. `differs PATH: REASON` leaves that part of the body (`.` is all of it; or
//! `status`, `message`) out of the comparison. Below `=` stand the status, the type, and the headers beyond those that every answer
//! has; then the body: of a refusal its message, of an object each key's shape (`"s"` string, `0` number, `true` either
//! boolean), of anything else nothing.
//!
//! Ours may have keys that dockerd 20.10 has not, for it speaks newer versions; it must have all that dockerd has, of the
//! same kind, `null` and `[]` where dockerd has them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::daemon::Daemon;
use crate::http::Response;
use crate::images;

/// Headers that say nothing about an operation.
const EVERYWHERE: &[&str] = &[
    "api-version",
    "docker-experimental",
    "ostype",
    "server",
    "date",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
];

/// One request, what is expected of its answer, and what was said around both.
#[derive(Debug, Clone)]
pub struct Case {
    comments: Vec<String>,
    /// `GET /v1.41/info`, as it stands in the file.
    pub request: String,
    body: String,
    keep: Option<String>,
    differs: Vec<(String, String)>,
    answer: Option<Answer>,
}

/// What of an answer is compared.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    /// `201 application/json location`.
    head: String,
    body: Shape,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// The message of a refusal.
    Refusal(String),
    /// An object's or a list's kinds.
    Json(Value),
    /// A stream, a text, nothing.
    Opaque,
}

/// The recorded files of `dir`, in the order of their names.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "txt"));
    paths.sort();
    Ok(paths)
}

/// Reads a file's cases.
pub fn parse(text: &str) -> Result<Vec<Case>> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks.map(|block| parse_one(block).with_context(|| format!("in {block:?}"))).collect()
}

fn parse_one(block: &str) -> Result<Case> {
    let (ask, answer) = match block.split_once("\n= ") {
        Some((ask, answer)) => (ask, Some(parse_answer(answer)?)),
        None => (block, None),
    };
    let mut case = Case {
        comments: Vec::new(),
        request: String::new(),
        body: String::new(),
        keep: None,
        differs: Vec::new(),
        answer,
    };
    for line in ask.lines().filter(|line| !line.trim().is_empty()) {
        match line.split_once(' ') {
            Some(("#", _)) => case.comments.push(line.to_owned()),
            Some(("keep", name)) => case.keep = Some(name.to_owned()),
            Some(("differs", what)) => {
                let (path, reason) = what.split_once(": ").context("a difference has a reason")?;
                case.differs.push((path.to_owned(), reason.to_owned()));
            }
            Some((method, rest)) => {
                let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
                (case.request, case.body) = (format!("{method} {path}"), body.to_owned());
            }
            None => bail!("neither a request nor a word about one: {line:?}"),
        }
    }
    ensure!(!case.request.is_empty(), "no request");
    Ok(case)
}

fn parse_answer(text: &str) -> Result<Answer> {
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    let body = body.trim_end();
    let shape = if let Some(message) = body.strip_prefix("message: ") {
        Shape::Refusal(serde_json::from_str(message)?)
    } else if body.starts_with('[') || body == "null" {
        Shape::Json(serde_json::from_str(body)?)
    } else if body.is_empty() {
        Shape::Opaque
    } else {
        let pairs = body.lines().map(|line| {
            let (key, value) = line.split_once(": ").context("a key without a shape")?;
            Ok((key.to_owned(), serde_json::from_str(value)?))
        });
        Shape::Json(Value::Object(pairs.collect::<Result<Map<_, _>>>()?))
    };
    Ok(Answer { head: head.trim().to_owned(), body: shape })
}

/// The text of `cases`, as [`parse`] reads it.
pub fn print(cases: &[Case]) -> String {
    let mut out = String::new();
    for case in cases {
        for comment in &case.comments {
            let _ = writeln!(out, "{comment}");
        }
        let space = if case.body.is_empty() { "" } else { " " };
        let _ = writeln!(out, "{}{space}{}", case.request, case.body);
        if let Some(name) = &case.keep {
            let _ = writeln!(out, "keep {name}");
        }
        for (path, reason) in &case.differs {
            let _ = writeln!(out, "differs {path}: {reason}");
        }
        if let Some(answer) = &case.answer {
            let _ = writeln!(out, "= {}", answer.head);
            match &answer.body {
                Shape::Refusal(message) => {
                    let _ = writeln!(out, "message: {}", json!(message));
                }
                Shape::Json(Value::Object(pairs)) => {
                    for (key, shape) in pairs {
                        let _ = writeln!(out, "{key}: {shape}");
                    }
                }
                Shape::Json(other) => {
                    let _ = writeln!(out, "{other}");
                }
                Shape::Opaque => {}
            }
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Asks `daemon` all of it and puts its answers into the cases.
pub fn record(daemon: &Daemon, cases: &mut [Case]) -> Result<()> {
    let mut kept = BTreeMap::new();
    for case in cases {
        case.answer = Some(ask(daemon, case, &mut kept)?);
    }
    Ok(())
}

/// Asks `daemon` all of it; returns in words where its answers are not as recorded.
pub fn compare(daemon: &Daemon, cases: &[Case]) -> Result<Vec<String>> {
    let (mut kept, mut found) = (BTreeMap::new(), Vec::new());
    for case in cases {
        let ours = ask(daemon, case, &mut kept)?;
        let Some(theirs) = &case.answer else { bail!("{} was not recorded", case.request) };
        let mut told = Vec::new();
        if ours.head != theirs.head && !case.may_differ("status") {
            told.push(format!("{} instead of {}", ours.head, theirs.head));
        }
        match (&theirs.body, &ours.body) {
            (Shape::Refusal(_), Shape::Refusal(_)) if case.may_differ("message") => {}
            (Shape::Refusal(theirs), Shape::Refusal(ours)) if theirs != ours => {
                told.push(format!("{ours:?} instead of {theirs:?}"));
            }
            (Shape::Json(theirs), Shape::Json(ours)) => {
                differences(case, String::new(), theirs, ours, &mut told);
            }
            (theirs, ours) if theirs != ours && !case.may_differ("status") => {
                told.push(format!("{ours:?} instead of {theirs:?}"));
            }
            _ => {}
        }
        found
            .extend(told.into_iter().map(|what| format!("{} {}: {what}", case.request, case.body)));
    }
    Ok(found)
}

impl Case {
    fn may_differ(&self, path: &str) -> bool {
        self.differs.iter().any(|(known, _)| known == path)
    }
}

fn ask(daemon: &Daemon, case: &Case, kept: &mut BTreeMap<String, String>) -> Result<Answer> {
    let fill = |text: &str| {
        let swap =
            |text: String, (name, id): (&String, &String)| text.replace(&format!("${name}"), id);
        kept.iter().fold(text.to_owned(), swap)
    };
    let request = fill(&case.request);
    let (method, path) = request.split_once(' ').context("no path")?;
    let path = &quoted(path);
    let reply = match case.body.strip_prefix('@') {
        _ if method == "HEAD" => head(daemon, path),
        Some(name) => {
            let mut tar = File::open(images::default_dir().join(name))?;
            let length = tar.metadata()?.len();
            daemon.send(method, path, "application/x-tar", &mut tar, length)
        }
        None => daemon.request(method, path, fill(&case.body).as_bytes()),
    };
    let reply = reply.with_context(|| request.clone())?;
    if let Some(name) = &case.keep {
        let id = reply.json()["Id"].as_str().map(str::to_owned);
        kept.insert(
            name.clone(),
            id.with_context(|| format!("{request}: no Id to keep: {}", reply.text()))?,
        );
    }
    Ok(answer_of(&reply))
}

/// An answer without a body, whatever length it names.
fn head(daemon: &Daemon, path: &str) -> Result<Response> {
    let mut stream = daemon.connect()?;
    write!(stream, "HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let headers = text.lines().skip(1).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok(Response {
        status: status.context("not HTTP")?,
        headers: headers.collect(),
        body: Vec::new(),
    })
}

/// The JSON of filters, written plainly in the files, as a URL has it.
fn quoted(path: &str) -> String {
    let marks = [('{', "%7B"), ('}', "%7D"), ('[', "%5B"), (']', "%5D"), ('"', "%22")];
    marks.iter().fold(path.to_owned(), |path, (mark, code)| path.replace(*mark, code))
}

fn answer_of(reply: &Response) -> Answer {
    let kind = reply.header("content-type").unwrap_or("-");
    let kind = kind.split(';').next().unwrap_or(kind);
    let mut special: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    special.retain(|name| !EVERYWHERE.contains(name));
    special.sort_unstable();
    special.dedup();
    let head = [&[&reply.status.to_string(), kind][..], &special].concat().join(" ");
    let body = match serde_json::from_slice::<Value>(&reply.body) {
        Ok(value) if reply.status >= 400 => {
            Shape::Refusal(without_ids(value["message"].as_str().unwrap_or_default()))
        }
        Ok(value @ (Value::Object(_) | Value::Array(_) | Value::Null))
            if kind == "application/json" =>
        {
            Shape::Json(shape(&value))
        }
        _ => Shape::Opaque,
    };
    Answer { head, body }
}

/// The kinds of a value: what may differ from machine to machine is gone.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => Value::Bool(true),
        Value::Number(_) => json!(0),
        Value::String(_) => json!("s"),
        Value::Array(items) => items.first().map(shape).into_iter().collect(),
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| (without_ids(key), shape(value))).collect()
        }
    }
}

/// `text` with every run of 12 or more hex digits replaced.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let digits =
            rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        match digits {
            0 => {
                out.push(letter);
                rest = &rest[letter.len_utf8()..];
            }
            12.. => {
                out.push_str("ID");
                rest = &rest[digits..];
            }
            _ => {
                out.push_str(&rest[..digits]);
                rest = &rest[digits..];
            }
        }
    }
    out
}

/// Where `ours` lacks something of `theirs`, or has another kind of it.
fn differences(case: &Case, path: String, theirs: &Value, ours: &Value, told: &mut Vec<String>) {
    if case.may_differ(if path.is_empty() { "." } else { &path }) {
        return;
    }
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (key, theirs) in theirs {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match ours.get(key) {
                    Some(ours) => differences(case, path, theirs, ours, told),
                    None if case.may_differ(&path) => {}
                    None => told.push(format!("{path} is missing")),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(theirs), Some(ours)) = (theirs.first(), ours.first()) {
                differences(case, format!("{path}[]"), theirs, ours, told);
            }
        }
        (theirs, ours) if theirs == ours => {}
        (theirs, ours) => told.push(format!("{path} is {ours} instead of {theirs}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a life\nPOST /containers/create {\"Image\":\"busybox\"}\nkeep c\n\
                        differs Warnings: ours warns\n= 201 application/json\nId: \"s\"\nWarnings: []\n\n\
                        GET /containers/none/json\n= 404 application/json\nmessage: \"No such container: none\"\n";

    #[test]
    fn what_is_read_is_written_as_it_was() {
        assert_eq!(print(&parse(TEXT).unwrap()), TEXT);
    }

    #[test]
    fn a_missing_key_and_another_kind_are_told_and_more_keys_are_not() {
        let case = &parse(TEXT).unwrap()[0];
        let mut told = Vec::new();
        let (theirs, ours) = (
            json!({"A": "s", "B": [], "C": null, "Warnings": []}),
            json!({"A": 0, "B": [0], "D": true, "Warnings": null}),
        );
        differences(case, String::new(), &theirs, &ours, &mut told);
        assert_eq!(told, ["A is 0 instead of \"s\"", "C is missing"]);
    }

    #[test]
    fn ids_are_no_part_of_an_answer() {
        assert_eq!(without_ids("by container 0123456789abcdef."), "by container ID.");
        assert_eq!(without_ids("no beef"), "no beef");
    }
}
