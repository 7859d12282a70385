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

/// What `config` prints of one service `a`.
fn service(body: &str) -> String {
    let text = config(&format!("services:\n  a:\n    image: x\n{body}"));
    let shown = text.lines().skip_while(|line| !line.starts_with("  a:")).skip(1);
    let shown = shown.take_while(|line| !line.starts_with("networks:") && *line != "---");
    shown
        .filter(|line| !matches!(*line, "    image: x" | "    networks:" | "      default: null"))
        .fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn a_key_without_a_value_is_a_mistake_unless_another_file_gives_one() {
    for (body, expected) in [
        ("    ports:\n", "services.a.ports: must be a list, not nothing"),
        ("    environment:\n", "services.a.environment: must be a mapping or a list of KEY=value"),
        ("    build:\n      context: .\n      args:\n", "services.a.build.args: must be a mapping"),
        ("    healthcheck: {test: a, interval: }\n", "services.a.healthcheck.interval: must be"),
    ] {
        let told = config(&format!("services:\n  a:\n    image: x\n{body}"));
        assert!(told.starts_with("error: ") && told.contains(expected), "{told}");
    }
    let files = [
        ("compose.yaml", "services: {a: {image: x, ports: ['80']}}\n"),
        ("over.yaml", "services: {a: {ports: , command: , deploy: }}\nvolumes: {v: }\n"),
    ];
    let merged = printed(&files, |o| o.files.push("/app/over.yaml".into()));
    assert!(merged.contains("target: 80"), "{merged}");
}

#[test]
fn values_have_the_types_that_the_specification_gives_them() {
    for (body, expected) in [
        ("version: 3.8\nservices: {a: {image: x}}\n", "version: must be a string, not a number"),
        ("services: {a: {image: x}, 1: {image: y}}\n", "non-string key: 1"),
        ("services: {a: {image: x, environment: {1: y}}}\n", "non-string key: 1"),
        ("services: {a: {image: x, privileged: '1'}}\n", "privileged: must be a boolean"),
        ("services: {a: {image: x, stop_grace_period: 0}}\n", "stop_grace_period: must be a dur"),
        ("services: {a: {image: x, environment: [1]}}\n", "environment[0]: must be KEY=value"),
        ("services: {a: {build: {context: ., cache_from: x}}}\n", "cache_from: must be a list"),
        (
            "services: {a: {image: x, deploy: {resources: {limits: {memory: 64}}}}}\n",
            "limits.memory: must be a string, not a number",
        ),
        ("services: {a: {image: x, healthcheck: {retries: -1}}}\n", "retries: must be greater"),
        ("services: {a: {image: x, extra_hosts: {h: 1}}}\n", "extra_hosts: must be an address"),
        (
            "services: {a: {image: x}}\nnetworks: {n: {external: {k: v}}}\n",
            "networks.n: unknown key `k` of `external`",
        ),
        ("services: {a: {image: x, post_start: [{user: u}]}}\n", "`command` is missing"),
        ("services: {a: {image: x, pre_stop: [{command: }]}}\n", "`command` is missing"),
        ("web: {image: x}\n", "unknown key `web`"),
        ("services: {a: {image: x}, b: {image: y, depends_on: [c]}}\n", "undefined service c"),
    ] {
        let told = config(body);
        assert!(told.starts_with("error: ") && told.contains(expected), "{body}{told}");
    }
}

#[test]
fn what_an_unset_variable_leaves_says_nothing() {
    let body = "    restart: ${NO-}\n    dns: [\"${NO-}\"]\n    ports: [{target: 80, mode: \"${NO-}\"}, {target: 81, protocol: \"${NO-}\"}]\n    deploy: {mode: \"${NO-}\"}\n";
    insta::assert_snapshot!(service(body), @r#"
        deploy: {}
        ports:
          - mode: ingress
            target: 80
            protocol: tcp
          - mode: ingress
            target: 81
            protocol: tcp
    "#);
    let secret = "services: {a: {image: x, secrets: [{source: s, target: \"${NO-}\"}]}}\nsecrets: {s: {file: ./s}}\n";
    assert!(config(secret).contains("target: /run/secrets/s"), "{}", config(secret));
    let volume = "name: p\nservices: {a: {image: x, volumes: ['data:/d']}}\nvolumes: {data: {name: \"${NO-}\"}}\n";
    assert!(config(volume).contains("name: p_data"), "{}", config(volume));
}

#[test]
fn numbers_are_what_yaml_makes_of_them() {
    let body = "    environment: {A: 1_000, B: 1e6, C: 1000000.5, D: 123456.5, E: 18446744073709551615, F: 1e-5, G: _1, H: 0x1_0}\n    pids_limit: 1_0\n";
    insta::assert_snapshot!(service(body), @r#"
        environment:
          A: "1000"
          B: "1e+06"
          C: "1.0000005e+06"
          D: "123456.5"
          E: "18446744073709551615"
          F: "1e-05"
          G: _1
          H: "16"
        pids_limit: 10
    "#);
}

#[test]
fn json_says_what_programs_look_for() {
    let text = "services:\n  a:\n    image: x\n    deploy: {replicas: 2}\n    develop: {watch: [{path: ., action: rebuild}]}\n";
    let loaded = run(&[("compose.yaml", text)], |_| {}).expect("loads");
    let json = compose::json(loaded.project.tree().expect("a tree"));
    let service = &json["services"]["a"];
    let null = Some(&serde_json::Value::Null);
    assert_eq!((service.get("command"), service.get("entrypoint")), (null, null));
    assert_eq!(service["develop"]["watch"][0]["exec"].get("command"), null);
    assert_eq!(
        service["deploy"],
        serde_json::json!({"placement": {}, "replicas": 2, "resources": {}})
    );
    assert_eq!(json["networks"]["default"]["ipam"], serde_json::json!({}));
}

#[test]
fn what_a_file_says_twice_is_told_and_what_two_files_say_is_one() {
    let body = "services:\n  a:\n    image: x\n    security_opt: [a, a]\n    group_add: [1, '1']\n    develop: {watch: [{path: '', action: rebuild, ignore: [b, b]}]}\nvolumes: {v: {labels: [c=d, c=d]}}\n";
    let told = config(body);
    for place in ["security_opt", "group_add", "develop.watch[0].ignore", "volumes.v.labels"] {
        let line = format!("{place}: `");
        assert!(told.contains(&line), "{place} is not in {told}");
    }
    assert!(told.contains("watch[0].path: must not be blank"), "{told}");
    let one = "services: {a: {image: x, security_opt: [a]}}\n";
    let files = [("compose.yaml", one), ("over.yaml", one)];
    let read = printed(&files, |o| o.files.push("/app/over.yaml".into()));
    assert_eq!(read.matches("- a").count(), 1, "{read}");
}

#[test]
fn keys_of_builds_and_absolute_paths_stand_as_they_are_written() {
    let body = "    volumes: ['/etc/dir/:/etc/dir', './a/../b:/b']\n    build:\n      context: .\n      ssh: [default, key=./id]\n";
    insta::assert_snapshot!(service(body), @r"
    build:
      context: /app
      dockerfile: Dockerfile
      ssh:
        - default
        - 'key: /app/id'
    volumes:
      - type: bind
        source: /etc/dir/
        target: /etc/dir
        bind: {}
      - type: bind
        source: /app/b
        target: /b
        bind: {}
    ");
    let again = "services: {a: {build: {context: /app, ssh: ['key: /app/id']}}}\n";
    assert!(config(again).contains("- 'key: /app/id'"), "what is printed is read");
}

#[test]
fn a_service_of_nothing_cannot_be_extended_and_is_left_where_it_stands() {
    let files = [
        ("compose.yaml", "services: {a: {image: x, extends: {file: base.yaml, service: nil}}}\n"),
        ("base.yaml", "services: {nil: }\n"),
    ];
    let read = printed(&files, |_| {});
    assert!(read.contains("file: /app/base.yaml"), "{read}");
}

#[test]
fn numbers_out_of_their_range_and_secrets_of_drivers_are_refused() {
    for (body, told) in [
        (
            "services: {a: {image: x, oom_score_adj: 2000}}\n",
            "oom_score_adj: must be from -1000 to 1000",
        ),
        ("services: {a: {image: x, ports: [0]}}\n", "`0` is not a port"),
        ("services: {a: {image: x, ports: [{target: 0}]}}\n", "`0` is not a port"),
        ("services: {a: {image: x, ports: [{target: \"70000\"}]}}\n", "`70000` is not a port"),
        ("services: {a: {image: x, devices: [':/dev/a']}}\n", "`:/dev/a` is not a device"),
        (
            "services: {a: {image: x, devices: [{source: '', target: /b}]}}\n",
            "source: must not be blank",
        ),
        (
            "services: {a: {image: x, networks: {n: {driver_opts: {k: }}}}}\nnetworks: {n: }\n",
            "driver_opts.k: must be a string or a number, not nothing",
        ),
        ("services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {driver: d}}\n", "says no source"),
    ] {
        let read = config(body);
        assert!(read.contains(told), "{told} is not in {read}");
    }
}

#[test]
fn texts_of_several_lines_stay_readable() {
    let body = "    command: [sh, -c, \"a \\\"b\\\"\\n  c\\n\"]\n    labels: {l: \" x\\ny\", m: \"x\\n\\n\", n: \"x \\ny\", o: \"a\\r\\nb\"}\n";
    insta::assert_snapshot!(service(body), @r#"
        command:
          - sh
          - -c
          - |
            a "b"
              c
        labels:
          l: |2-
             x
            y
          m: |+
            x

          "n": "x \ny"
          o: "a\r\nb"
    "#);
}

#[test]
fn options_of_providers_are_lists_and_init_containers_have_an_image() {
    let body = "    provider: {type: t, options: {a: 1, b: [x, true]}}\n    pre_start: [{command: m}, {image: y, command: n}]\n";
    insta::assert_snapshot!(service(body), @r#"
        provider:
          type: t
          options:
            a:
              - "1"
            b:
              - x
              - "true"
        pre_start:
          - command:
              - m
            image: x
          - command:
              - "n"
            image: "y"
    "#);
}

#[test]
fn an_alias_of_what_is_reset_resets_and_an_empty_file_changes_nothing() {
    let files = [
        ("compose.yaml", "services: {a: {image: x, ports: ['80']}, b: {image: y}}\n"),
        ("over.yaml", "x-none: &none !reset []\nservices: {a: {ports: *none}}\n"),
        ("empty.yaml", "# nothing yet\n"),
    ];
    let merged = printed(&files, |o| {
        o.files.extend(["/app/over.yaml".into(), "/app/empty.yaml".into()]);
    });
    assert!(!merged.contains("ports") && !merged.contains("error"), "{merged}");
    assert!(config("# nothing\n").contains("empty compose file"));
}

#[test]
fn a_blank_inline_dockerfile_is_none() {
    let text = "services: {a: {build: {context: ., dockerfile_inline: ''}}}\n";
    let printed = config(text);
    assert!(printed.contains("dockerfile: Dockerfile"), "{printed}");
    assert_eq!(config(&printed), printed);
}

#[test]
fn a_volume_at_no_place_of_its_own_stays_one() {
    let printed = config("services: {a: {image: x, volumes: ['.']}}\n");
    assert!(printed.contains("target: ."), "{printed}");
    assert_eq!(config(&printed), printed);
}

#[test]
fn what_must_be_there_is_not_taken_away() {
    for (field, told) in [
        ("volumes: [{type: !reset volume, target: /d}]", "a volume mount needs `type`"),
        ("ports: [{target: !reset 8080, published: 8080}]", "a port needs `target`"),
        ("ulimits: {nofile: {soft: !reset 1, hard: 2}}", "a ulimit needs `soft`"),
    ] {
        let refused = config(&format!("services: {{a: {{image: x, {field}}}}}\n"));
        assert!(refused.contains(told), "{refused}");
    }
}

#[test]
fn bare_names_of_an_included_model_have_its_own_variables() {
    let files = [
        ("compose.yaml", "include: [{path: sub/compose.yaml}]\nservices: {a: {image: x}}\n"),
        ("sub/compose.yaml", "services: {b: {image: y, environment: [HERE, NOWHERE]}}\n"),
        ("sub/.env", "HERE=sub\n"),
    ];
    let text = printed(&files, |_| {});
    assert!(text.contains("HERE: sub") && text.contains("NOWHERE: null"), "{text}");
}

#[test]
fn a_dependency_of_another_profile_that_may_be_absent_is_kept_and_not_waited_for() {
    let text = "services:\n  a: {image: x, depends_on: {b: {condition: service_healthy, required: false}}}\n  b: {image: y, profiles: [p]}\n";
    let loaded = run(&[("compose.yaml", text)], |_| {}).expect("loads");
    assert!(yaml(loaded.project.tree().expect("a tree")).contains("required: false"));
    let wanted = compose::desired::desired(&loaded.project);
    assert!(wanted.services["a"].depends_on.is_empty());
}

#[test]
fn a_default_stands_in_for_what_is_taken_away() {
    let text = "services: {a: {image: x, ports: [{target: 80, mode: !reset host}]}}\n";
    let printed = config(text);
    assert!(printed.contains("mode: ingress"), "{printed}");
    assert_eq!(config(&printed), printed);
}

#[test]
fn env_files_of_services_that_nobody_asked_for_may_be_missing() {
    let text = "services: {a: {image: x, depends_on: [b]}, b: {image: x}, c: {image: x, env_file: ./none.env}}\n";
    assert!(config(text).contains("none.env"));
    let files = [("compose.yaml", text)];
    let chosen = printed(&files, |o| o.services = vec!["a".to_owned()]);
    assert!(!chosen.contains("error"), "{chosen}");
    let files = [("compose.yaml", text.replace("none.env", "none.env, depends_on: [a]"))];
    let files: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let wanted = printed(&files, |o| o.services = vec!["c".to_owned()]);
    assert!(wanted.contains("error"), "{wanted}");
}
