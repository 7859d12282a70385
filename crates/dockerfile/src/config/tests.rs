use super::*;
use crate::BuildArgs;
use crate::Dockerfile;

fn changed(lines: &[&str]) -> Result<Config, String> {
    let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    change(Config::default(), &lines).map_err(|err| err.to_string())
}

#[test]
fn changes_are_applied_in_order_with_the_environment_so_far() {
    let config = changed(&[
        "ENV A=1 B=2",
        "ENV A=$A$B",
        "LABEL x=\"$A y\"",
        "WORKDIR /app",
        "WORKDIR sub/../$B",
        "EXPOSE 80 53/udp 8000-8001",
        "USER me",
        "VOLUME [\"/data\"]",
        "CMD echo $A",
        "ENTRYPOINT [\"/bin/x\"]",
        "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=5s --retries=2 CMD true",
        "ONBUILD RUN x",
    ])
    .unwrap();
    assert_eq!(config.env.unwrap(), ["A=12", "B=2"]);
    assert_eq!(config.labels.unwrap()["x"], "12 y");
    assert_eq!(config.working_dir, "/app/2");
    assert_eq!(
        config.exposed_ports.unwrap().into_keys().collect::<Vec<_>>(),
        ["53/udp", "80/tcp", "8000/tcp", "8001/tcp"]
    );
    assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo $A"]);
    assert_eq!(config.entrypoint.unwrap(), ["/bin/x"]);
    let health = config.healthcheck.unwrap();
    assert_eq!(
        (health.test, health.interval),
        (vec!["CMD-SHELL".into(), "true".into()], 5_000_000_000)
    );
    assert_eq!(config.on_build.unwrap(), ["RUN x"]);
}

#[test]
fn only_metadata_can_be_changed() {
    assert_eq!(changed(&["RUN x"]).unwrap_err(), "run is not a valid change command");
    assert_eq!(changed(&["FROM x"]).unwrap_err(), "from is not a valid change command");
    assert_eq!(
        changed(&["FOO x"]).unwrap_err(),
        "dockerfile parse error on line 1: unknown instruction: FOO"
    );
    assert_eq!(
        changed(&["USER a", "EXPOSE x"]).unwrap_err(),
        "dockerfile parse error on line 2: Invalid containerPort: x"
    );
    assert_eq!(
        changed(&["EXPOSE 1/foo"]).unwrap_err(),
        "dockerfile parse error on line 1: Invalid proto: foo"
    );
}

#[test]
fn a_shell_counts_for_the_commands_after_it() {
    let file =
        Dockerfile::parse("FROM a\nSHELL [\"/bin/bash\", \"-ec\"]\nCMD x", "Dockerfile").unwrap();
    let mut config = Config::default();
    for instruction in &file.stages[0].instructions {
        assert!(apply(&mut config, &instruction.kind));
    }
    assert_eq!(config.cmd.unwrap(), ["/bin/bash", "-ec", "x"]);
}

#[test]
fn commands_are_left_to_the_shell_and_paths_are_expanded() {
    let args = BuildArgs::default();
    let env = |name: &str| if name == "D" { Some("dir") } else { args.value(name) };
    let expanded = |text: &str| {
        let file = Dockerfile::parse(&format!("FROM a\n{text}"), "Dockerfile").unwrap();
        file.stages[0].instructions[0].expanded('\\', &env).unwrap()
    };
    let Kind::Copy(copy) = expanded("COPY --chown=$D a/$D <<E /$D/\n$D '$D'\nE") else { panic!() };
    assert_eq!(copy.sources, ["a/dir"]);
    assert_eq!((copy.destination.as_str(), copy.chown.as_deref()), ("/dir/", Some("dir")));
    assert_eq!(copy.contents[0].content, "dir 'dir'\n");
    let Kind::Run(run) = expanded("RUN echo $D") else { panic!() };
    assert_eq!(run.command.words, ["echo $D"]);
}

#[test]
fn a_new_entry_point_drops_the_inherited_command() {
    let base = Config { cmd: Some(vec!["old".into()]), ..Config::default() };
    let with = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(base.clone(), &lines).unwrap().cmd
    };
    assert_eq!(with(&["ENTRYPOINT [\"x\"]"]), None);
    assert_eq!(with(&["CMD [\"new\"]", "ENTRYPOINT [\"x\"]"]), Some(vec!["new".into()]));
}
