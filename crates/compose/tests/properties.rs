//! What must hold for every file: `config` of `config` is the same, and no input makes the loader panic.

use compose::{LoadOptions, Report, load, yaml};
use proptest::prelude::*;
use std::path::Path;

fn config(text: &str) -> Result<String, Report> {
    let read = |_: &Path| Ok(text.to_owned());
    let options = LoadOptions {
        files: vec!["/app/compose.yaml".into()],
        project_dir: "/app".into(),
        ..LoadOptions::default()
    };
    load(&options, &read).map(|loaded| yaml(loaded.project.tree().expect("a tree")))
}

/// Text with everything that YAML and interpolation treat specially, already safe for both.
fn word() -> impl Strategy<Value = String> {
    "[ -~äß\n\t]{0,24}".prop_map(|text| {
        let escaped = serde_json::Value::String(text.replace('$', "$$"));
        escaped.to_string()
    })
}

prop_compose! {
    fn service()(
        image in "[a-z]{1,8}(:[0-9.]{1,4})?",
        command in prop::collection::vec(word(), 0..4),
        env in prop::collection::btree_map("[A-Z_]{1,8}", word(), 0..4),
        labels in prop::collection::vec("[a-z.]{1,8}=[ -#%-~]{0,8}", 0..3),
        port in 1u16..,
        seconds in 0u32..100_000,
        bytes in 0u64..1 << 50,
        scale in 0u8..5,
    ) -> String {
        let env: Vec<String> = env.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let labels: Vec<String> =
            labels.iter().map(|l| serde_json::Value::String(l.clone()).to_string()).collect();
        format!(
            "{{image: {image}, command: [{}], environment: {{{}}}, labels: [{}], ports: [\"{port}:{port}\"], stop_grace_period: {seconds}ms, mem_limit: {bytes}, scale: {scale}}}",
            command.join(", "), env.join(", "), labels.join(", "),
        )
    }
}

proptest! {
    #[test]
    fn config_is_a_fixed_point(services in prop::collection::vec(service(), 1..4)) {
        let mut text = String::from("services:\n");
        for (index, service) in services.iter().enumerate() {
            text.push_str(&format!("  s{index}: {service}\n"));
        }
        let once = config(&text).map_err(|r| TestCaseError::fail(format!("{r}\n{text}")))?;
        let twice = config(&once).map_err(|r| TestCaseError::fail(format!("{r}\n{once}")))?;
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn no_text_makes_the_loader_panic(text in "[ -~\n]{0,200}") {
        let _ = config(&text);
    }

    #[test]
    fn no_shape_makes_the_loader_panic(
        key in "(image|build|ports|volumes|environment|command|networks|depends_on|healthcheck|deploy|ulimits|secrets|env_file|extends|extra_hosts|logging)",
        value in "(\\[[a-z0-9:/.-]{0,12}\\]|\\{[a-z]{1,8}: [a-z0-9:/.-]{0,8}\\}|[a-z0-9:/.-]{0,20})",
    ) {
        let _ = config(&format!("services:\n  a:\n    image: x\n    x-{key}: 1\n    {key}: {value}\n"));
    }
}
