//! Files made to exhaust the reader: each is read or refused within its own length, never by multiplying or by the
//! depth of the stack. A reader that multiplies does not end at all, so the tests need no clock.

use compose::{LoadOptions, Report, load, yaml};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

fn run(first: &str, read: impl Fn(&Path) -> io::Result<String>) -> Result<String, Report> {
    let options = LoadOptions {
        files: vec![PathBuf::from(first)],
        project_dir: PathBuf::from("/app"),
        ..LoadOptions::default()
    };
    load(&options, &read).map(|loaded| yaml(loaded.project.tree().expect("a tree")))
}

fn refused(text: &str) -> String {
    run("/app/compose.yaml", |_| Ok(text.to_owned())).expect_err("refused").to_string()
}

/// `/app/7.yaml` is file 7.
fn number(path: &Path) -> usize {
    path.file_stem().and_then(|stem| stem.to_str()?.parse().ok()).expect("a number")
}

#[test]
fn a_long_chain_of_extends_is_followed_to_its_end() {
    const LAST: usize = 3_000;
    let mut text = String::from("services:\n");
    for n in 0..LAST {
        let _ = writeln!(text, "  s{n}: {{extends: s{}}}", n + 1);
    }
    let end = format!("{text}  s{LAST}: {{image: x}}\n");
    let read = run("/app/compose.yaml", |_| Ok(end.clone())).expect("loads");
    assert_eq!(read.matches("image: x").count(), LAST + 1);
    let circle = format!("{text}  s{LAST}: {{extends: s0}}\n");
    let told = refused(&circle);
    assert!(told.contains("circular reference: s0 -> s1") && told.contains("more …"), "{told}");
    assert_eq!(told.matches("error: ").count(), 1, "told once, not for each of the circle");
}

#[test]
fn services_that_grow_from_one_to_the_next_are_counted() {
    let mut text = String::from("services:\n  s0: {image: x}\n");
    for n in 1..3_000 {
        let base = n - 1;
        let _ = writeln!(text, "  s{n}: {{extends: s{base}, environment: {{A{n}: x}}}}");
    }
    let told = refused(&text);
    assert!(told.contains("extend others come to too many values"), "{}", &told[..200]);
    assert_eq!(told.matches("error: ").count(), 1, "told once");
}

#[test]
fn a_long_circle_of_dependencies_shows_its_ends() {
    let mut text = String::from("services:\n");
    for n in 0..5_000 {
        let on = (n + 1) % 5_000;
        let _ = writeln!(text, "  s{n}: {{image: x, depends_on: [s{on}]}}");
    }
    let told = refused(&text);
    assert!(told.contains("dependency cycle detected: s0 -> s1"), "{told}");
    assert!(told.len() < 1_000, "{} bytes", told.len());
}

#[test]
fn files_that_include_others_twice_are_counted() {
    let read = |path: &Path| {
        if path.extension().is_none_or(|ext| ext != "yaml") {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (n, next) = (number(path), number(path) + 1);
        Ok(match n {
            40 => "services: {a: {image: x}}\n".to_owned(),
            _ => format!("include: [{next}.yaml, {next}.yaml]\nservices: {{s{n}: {{image: x}}}}\n"),
        })
    };
    let told = run("/app/0.yaml", read).expect_err("refused").to_string();
    assert!(told.contains("more than 1000 files"), "{told}");
    assert_eq!(told.matches("error: ").count(), 1, "{told}");
    let deep = |path: &Path| Ok(format!("include: [{}.yaml]\n", number(path) + 1));
    let deep = |path: &Path| match path.extension().is_some_and(|ext| ext == "yaml") {
        true => deep(path),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    let told = run("/app/0.yaml", deep).expect_err("refused").to_string();
    assert!(told.contains("more than 100 files include one another"), "{told}");
}

#[test]
fn files_that_extend_others_twice_are_read_once() {
    let read = |path: &Path| {
        let n = number(path);
        let base = format!("extends: {{file: {}.yaml, service: a}}", n + 1);
        Ok(match n {
            40 => "services: {a: {image: x}, b: {image: y}}\n".to_owned(),
            _ => format!("services:\n  a: {{{base}}}\n  b: {{{base}}}\n"),
        })
    };
    let read = run("/app/0.yaml", read).expect("loads");
    assert_eq!(read.matches("image: x").count(), 2);
}

#[test]
fn nested_variables_have_a_depth() {
    let nested = |depth: usize| {
        let (open, close) = ("${A:-".repeat(depth), "}".repeat(depth));
        format!("services: {{a: {{image: \"{open}x{close}\"}}}}\n")
    };
    let read = run("/app/compose.yaml", |_| Ok(nested(50))).expect("loads");
    assert!(read.contains("image: x"), "{read}");
    assert!(refused(&nested(100_000)).contains("invalid interpolation format"));
}

#[test]
fn ranges_of_ports_are_counted() {
    let ranges = "\"1-65535:1-65535\",".repeat(100);
    let told = refused(&format!("services: {{a: {{image: x, ports: [{ranges}]}}}}\n"));
    assert!(told.contains("come to too many ports"), "{told}");
    assert_eq!(told.matches("error: ").count(), 1);
}

#[test]
fn names_that_nobody_defines_are_not_all_compared_with_each_other() {
    const SERVICES: usize = 20_000;
    let mut text = String::from("services:\n");
    for n in 0..SERVICES {
        let _ = writeln!(text, "  s{n}: {{image: x, depends_on: [t{n}], networks: [n{n}]}}");
    }
    let told = refused(&text);
    assert!(told.contains("services.s0: refers to undefined service t0"), "{}", &told[..200]);
    assert!(told.contains("did you mean `s0`?"), "the first ones have suggestions");
    assert!(told.contains("more errors are not shown"), "the rest is counted");
}

#[test]
fn of_very_many_mistakes_the_first_are_shown() {
    let mut text = String::from("services:\n");
    for n in 0..2_000 {
        let _ = writeln!(text, "  s{n}: {{imag: x}}");
    }
    let told = refused(&text);
    assert!(told.contains("services.s0: unknown key `imag`"), "{}", &told[..200]);
    assert!(told.contains("more errors are not shown"), "the rest is counted");
    assert!(told.len() < 200_000, "{} bytes", told.len());
}
