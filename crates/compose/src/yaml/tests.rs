//! Positions, merge keys, tags, and the files that must not hurt.

use super::parse;
use crate::node::{Node, Tag, Value};
use crate::source::FileId;

fn one(text: &str) -> Node {
    let (mut documents, diagnostics) = parse(FileId(0), text);
    assert_eq!(diagnostics, [], "{text}");
    documents.remove(0)
}

fn errors(text: &str) -> Vec<String> {
    parse(FileId(0), text).1.into_iter().map(|d| d.message).collect()
}

#[test]
fn every_value_knows_its_line_and_column() {
    let root = one("services:\n  web:\n    image: \"nginx\"\n");
    let image = root.at(&["services", "web", "image"]).expect("there");
    assert_eq!((image.key.line, image.key.column, image.key.len), (3, 5, 5));
    assert_eq!((image.span.line, image.span.column, image.span.len), (3, 12, 7));
}

#[test]
fn merge_keys_yield_to_written_keys_and_to_earlier_sources() {
    let root = one("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 9\n");
    let text = |key: &str| root.at(&["c", key]).and_then(Node::as_str).map(str::to_owned);
    assert_eq!(text("x").as_deref(), Some("9"));
    assert_eq!(text("y").as_deref(), Some("1"));
    assert_eq!(text("z").as_deref(), Some("2"));
}

#[test]
fn yes_and_on_are_words_and_numbers_keep_their_spelling() {
    let root = one("a: yes\nb: 0440\nc: 1.10\nd: 12:30\ne: null\nf: '1'\ng: 1_0\nh: _1\n");
    let value = |key: &str| root.get(key).expect("there").value.clone();
    assert_eq!(value("a"), Value::Str("yes".into()));
    assert_eq!(value("b"), Value::Plain("0440".into()));
    assert_eq!(value("c"), Value::Plain("1.10".into()));
    assert_eq!(value("d"), Value::Str("12:30".into()));
    assert_eq!(value("e"), Value::Null);
    assert_eq!(value("f"), Value::Str("1".into()));
    assert_eq!(value("g"), Value::Plain("10".into()));
    assert_eq!(value("h"), Value::Str("_1".into()));
}

#[test]
fn composes_tags_are_kept() {
    let root = one("a: !reset null\nb: !override [x]\nc: !reset []\n");
    assert_eq!(root.get("a").map(|n| n.tag), Some(Tag::Reset));
    assert_eq!(root.get("b").map(|n| n.tag), Some(Tag::Override));
    assert_eq!(root.get("c").map(|n| n.tag), Some(Tag::Reset));
}

#[test]
fn duplicate_keys_are_all_reported() {
    assert_eq!(
        errors("a: 1\na: 2\nb: {c: 1, c: 2}\n"),
        ["the key `a` is written twice", "the key `c` is written twice"]
    );
}

#[test]
fn a_billion_laughs_stop_at_once() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let row = vec![format!("*a{before}"); 9].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    assert_eq!(errors(&text), ["the file's aliases multiply to too many values"]);
}

#[test]
fn a_file_of_too_many_values_is_refused() {
    let text = format!("a: [{}x]\n", "x,".repeat(1_100_000));
    assert_eq!(errors(&text), ["the file has too many values"]);
}

#[test]
fn broken_yaml_is_one_error_with_a_place() {
    let (_, diagnostics) = parse(FileId(0), "a: [1, 2\nb: }\n");
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].span.line, 2, "{diagnostics:?}");
}
