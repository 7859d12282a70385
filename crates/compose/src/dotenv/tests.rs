//! The forms people write, and the lines that are none.

use super::{parse, parse_raw};

fn env(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/root".to_owned())
}

fn read(text: &str) -> Vec<(String, String)> {
    let vars = parse(text, &env).expect("valid");
    vars.into_iter().map(|(k, v)| (k, v.unwrap_or_else(|| "<none>".to_owned()))).collect()
}

#[test]
fn all_forms_are_read() {
    let text = "# comment\n\nA=1\nexport B=two words # note\nC='raw $A \\n'\nD=\"x\\n${A}\"\nE: yaml\nHOME\nGONE\nF=\nG=a#b\nH=${A}-$HOME\nI=\"a\nb\"\nJ=\"\\$A\" # c\n";
    let got = read(text);
    let want = [
        ("A", "1"),
        ("B", "two words"),
        ("C", "raw $A \\n"),
        ("D", "x\n1"),
        ("E", "yaml"),
        ("HOME", "/root"),
        ("GONE", "<none>"),
        ("F", ""),
        ("G", "a#b"),
        ("H", "1-/root"),
        ("I", "a\nb"),
        ("J", "$A"),
    ];
    let want: Vec<_> = want.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(got, want);
}

#[test]
fn a_bad_line_is_named_by_number() {
    assert_eq!(parse("A=1\n\nB C=2\n", &env).expect_err("space in name").line, 3);
    assert_eq!(parse("A='x\n", &env).expect_err("open quote").line, 1);
    assert_eq!(parse("A='x' y\n", &env).expect_err("tail").line, 1);
}

#[test]
fn raw_values_are_untouched() {
    let vars = parse_raw("# c\nA=\"q\" # x\nB=$HOME\nHOME\n", &env).expect("valid");
    assert_eq!(vars["A"].as_deref(), Some("\"q\" # x"));
    assert_eq!(vars["B"].as_deref(), Some("$HOME"));
    assert_eq!(vars["HOME"].as_deref(), Some("/root"));
}
