//! Whole files in, canonical form or errors out. The files are shapes that well-known applications use.

use compose::{LoadOptions, Loaded, Report, load, yaml};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// An in-memory folder `/app`.
fn run(files: &[(&str, &str)], change: impl FnOnce(&mut LoadOptions)) -> Result<Loaded, Report> {
    let disk: BTreeMap<PathBuf, String> = files
        .iter()
        .map(|(name, text)| (Path::new("/app").join(name), (*text).to_owned()))
        .collect();
    let read = |path: &Path| disk.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into());
    let mut options = LoadOptions {
        files: vec![PathBuf::from("/app").join(files[0].0)],
        project_dir: PathBuf::from("/app"),
        ..LoadOptions::default()
    };
    options.env.insert("HOME".to_owned(), "/root".to_owned());
    change(&mut options);
    load(&options, &read)
}

fn config(text: &str) -> String {
    printed(&[("compose.yaml", text)], |_| {})
}

fn printed(files: &[(&str, &str)], change: impl FnOnce(&mut LoadOptions)) -> String {
    match run(files, change) {
        Ok(loaded) => {
            let mut out = yaml(loaded.project.tree().expect("a tree"));
            for warning in &loaded.warnings {
                out.push_str(&format!("---\n{}\n", warning.render(&loaded.sources)));
            }
            out
        }
        Err(report) => report.to_string(),
    }
}

#[test]
fn short_forms_become_long() {
    insta::assert_snapshot!(config(include_str!("cases/short-forms.yaml")));
}

#[test]
fn the_page_counter_of_the_walkthrough() {
    let text = "version: '3'\nservices:\n  webtest:\n    build: ./composetest\n    ports:\n     - \"${PORT:-5000}:5000\"\n  redis:\n    image: \"redis:${TAG:-alpine}\"\n";
    insta::assert_snapshot!(config(text));
}

#[test]
fn old_dialects_are_read() {
    insta::assert_snapshot!(config(include_str!("cases/version2.yaml")));
}

#[test]
fn a_stack_file_warns_of_what_one_node_cannot_do() {
    insta::assert_snapshot!(config(include_str!("cases/stack.yaml")));
}

#[test]
fn anchors_and_fragments_of_a_large_application() {
    insta::assert_snapshot!(config(include_str!("cases/anchors.yaml")));
}

#[test]
fn two_files_merge_by_the_rules_of_each_key() {
    let files = [
        ("compose.yaml", include_str!("cases/merge-base.yaml")),
        ("over.yaml", include_str!("cases/merge-over.yaml")),
    ];
    insta::assert_snapshot!(printed(&files, |o| o.files.push("/app/over.yaml".into())));
}

#[test]
fn extends_and_include_read_other_folders() {
    let files = [
        ("compose.yaml", include_str!("cases/extends.yaml")),
        ("common/base.yaml", include_str!("cases/extends-base.yaml")),
        (
            "infra/compose.yaml",
            "services:\n  cache:\n    image: redis:${REDIS_TAG}\n    volumes: [./conf:/etc/redis, data:/data]\nvolumes:\n  data:\n",
        ),
        ("infra/.env", "REDIS_TAG=7\n"),
    ];
    insta::assert_snapshot!(printed(&files, |_| {}));
}

#[test]
fn env_files_fill_the_environment() {
    let files = [
        (
            "compose.yaml",
            "services:\n  a:\n    image: x\n    env_file:\n      - one.env\n      - path: gone.env\n        required: false\n      - {path: raw.env, format: raw}\n    environment: {B: over, TERM: null, NOWHERE: null}\n",
        ),
        ("one.env", "A=1\nB=2\nexport C=\"three ${A}\"\n"),
        ("raw.env", "D='$x'\n"),
    ];
    insta::assert_snapshot!(printed(&files, |o| {
        o.env.insert("TERM".into(), "xterm".into());
    }));
}

#[test]
fn profiles_choose_services() {
    let text = "services:\n  web: {image: a, depends_on: {debug: {condition: service_started, required: false}}}\n  debug: {image: b, profiles: [dev]}\n  tool: {image: c, profiles: [tools]}\n";
    let names = |change: fn(&mut LoadOptions)| -> Vec<String> {
        let loaded = run(&[("compose.yaml", text)], change).expect("loads");
        loaded.project.services.keys().cloned().collect()
    };
    assert_eq!(names(|_| {}), ["web"]);
    assert_eq!(names(|o| o.profiles.push("dev".into())), ["debug", "web"]);
    assert_eq!(names(|o| o.profiles.push("*".into())), ["debug", "tool", "web"]);
    assert_eq!(names(|o| o.services.push("tool".into())), ["tool", "web"]);
}

#[test]
fn all_mistakes_are_reported_at_once_with_their_places() {
    insta::assert_snapshot!(config(include_str!("cases/mistakes.yaml")));
}

#[test]
fn whole_project_mistakes_are_reported() {
    insta::assert_snapshot!(config(include_str!("cases/references.yaml")));
}

#[test]
fn circles_are_named() {
    let waits = "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n";
    insta::assert_snapshot!("depends_on", config(waits));
    let extends = "services:\n  a: {extends: b}\n  b: {extends: {service: a}}\n";
    insta::assert_snapshot!("extends", config(extends));
    let include = "include: [compose.yaml]\nservices:\n  a: {image: x}\n";
    insta::assert_snapshot!("include", config(include));
}

#[test]
fn required_variables_and_bad_templates_stop_the_load() {
    let text = "services:\n  a:\n    image: ${IMAGE:?set it in .env}\n    command: echo $(date)\n    hostname: ${UNSET}\n";
    insta::assert_snapshot!(config(text));
}

#[test]
fn project_names_follow_the_rules() {
    let text = "name: from-file\nservices: {a: {image: x}}\n";
    let name = |text: &str, change: fn(&mut LoadOptions)| {
        run(&[("compose.yaml", text)], change).map(|l| l.project.name).map_err(|r| r.to_string())
    };
    assert_eq!(name(text, |_| {}).as_deref(), Ok("from-file"));
    assert_eq!(name(text, |o| o.project_name = Some("p".into())).as_deref(), Ok("p"));
    let env = |o: &mut LoadOptions| {
        o.env.insert("COMPOSE_PROJECT_NAME".into(), "env".into());
    };
    assert_eq!(name(text, env).as_deref(), Ok("env"));
    assert_eq!(name("services: {a: {image: x}}\n", |_| {}).as_deref(), Ok("app"));
    assert!(name(text, |o| o.project_name = Some("A b".into())).is_err());
}

#[test]
fn config_of_config_is_the_same_for_every_case() {
    for text in [
        include_str!("cases/short-forms.yaml"),
        include_str!("cases/version2.yaml"),
        include_str!("cases/stack.yaml"),
        include_str!("cases/anchors.yaml"),
        include_str!("cases/merge-base.yaml"),
    ] {
        let tree = |text: &str| {
            let loaded = run(&[("compose.yaml", text)], |_| {}).expect("loads");
            yaml(loaded.project.tree().expect("a tree"))
        };
        let once = tree(text);
        assert_eq!(tree(&once), once);
    }
}

#[test]
fn a_ten_megabyte_file_of_aliases_fails_within_a_second() {
    let mut text =
        String::from("x-a: &a [x, x, x, x]\nservices:\n  a:\n    image: x\n    command:\n");
    while text.len() < 10_000_000 {
        text.push_str("      - *a\n");
    }
    let began = std::time::Instant::now();
    let report = run(&[("compose.yaml", &text)], |_| {}).expect_err("refused");
    assert!(report.to_string().contains("aliases multiply"), "{report}");
    // a loaded machine is slow; one that follows the aliases never ends
    assert!(began.elapsed().as_secs_f64() < 30.0, "took {:?}", began.elapsed());
}
