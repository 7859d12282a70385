//! Each state of the world and the exact operations it calls for.

use super::{Container, DownOptions, Observed, Plan, Recreate, UpOptions, down, plan};
use crate::desired::Desired;
use crate::desired::tests::wanted;
use std::fmt::Write as _;

const FILE: &str = "services:\n  web:\n    image: nginx\n    depends_on: {db: {condition: service_healthy}}\n    deploy: {replicas: 2}\n  db: {image: pg, volumes: ['data:/data', /anon]}\nvolumes: {data: }\n";

/// One line per step: number, operation in short, what it waits for.
fn show(plan: &Plan) -> String {
    let mut out = String::new();
    for (index, step) in plan.steps.iter().enumerate() {
        let text = format!("{:?}", step.operation);
        let _ = writeln!(out, "{index}: {text} after {:?}", step.after);
    }
    for warning in &plan.warnings {
        let _ = writeln!(out, "warning: {warning}");
    }
    out
}

fn up(desired: &Desired, observed: &Observed, change: impl FnOnce(&mut UpOptions)) -> String {
    let mut options = UpOptions::default();
    change(&mut options);
    match plan(desired, observed, &options) {
        Ok(plan) => show(&plan),
        Err(error) => error.to_string(),
    }
}

fn container(desired: &Desired, service: &str, number: u32) -> Container {
    let hash = desired.services.get(service).map(|s| s.hash.clone()).unwrap_or_default();
    Container {
        id: format!("id-{service}-{number}"),
        name: format!("app-{service}-{number}"),
        service: service.to_owned(),
        number,
        state: "running".to_owned(),
        hash,
        volumes: desired.volumes.values().map(|volume| volume.request.name.clone()).collect(),
        ..Container::default()
    }
}

fn settled(desired: &Desired) -> Observed {
    let all = [("db", 1), ("web", 1), ("web", 2)];
    Observed {
        containers: all.iter().map(|(s, n)| container(desired, s, *n)).collect(),
        networks: [("app_default".to_owned(), None)].into(),
        volumes: [("app_data".to_owned(), None)].into(),
        ..Observed::default()
    }
}

#[test]
fn who_is_linked_on_dockers_bridge_is_made_first() {
    let text = "services: {a: {image: x, network_mode: bridge, links: [db]}, db: {image: x, network_mode: bridge}}\n";
    let steps = up(&wanted(text), &Observed::default(), |_| {});
    let made = |line: &&str| line.contains("CreateContainer { service: \"a\"");
    let made = steps.lines().find(made).unwrap_or_else(|| panic!("{steps}"));
    assert!(made.ends_with("after [0]"), "{steps}");
}

#[test]
fn from_nothing_everything_is_made_in_order() {
    insta::assert_snapshot!(up(&wanted(FILE), &Observed::default(), |_| {}));
}

#[test]
fn a_second_up_changes_nothing() {
    let desired = wanted(FILE);
    let text = up(&desired, &settled(&desired), |_| {});
    assert!(text.lines().all(|line| line.contains("Running") || line.contains("Wait")), "{text}");
}

#[test]
fn only_the_changed_service_is_recreated_and_keeps_its_anonymous_volume() {
    let desired = wanted(FILE);
    let mut observed = settled(&desired);
    observed.containers[0].hash = "old".to_owned();
    observed.containers[0].anonymous.insert("/anon".to_owned(), "volume-id".to_owned());
    insta::assert_snapshot!("kept", up(&desired, &observed, |_| {}));
    insta::assert_snapshot!("renewed", up(&desired, &observed, |o| o.renew_anon_volumes = true));
    let never = up(&desired, &observed, |o| o.recreate = Recreate::Never);
    assert!(!never.contains("CreateContainer"), "{never}");
}

#[test]
fn a_project_of_docker_compose_1_is_taken_over() {
    let desired = wanted(FILE);
    let mut observed = settled(&desired);
    observed.containers.truncate(1);
    observed.containers[0].name = "app_db_1".to_owned();
    observed.containers[0].hash = "made by version 1".to_owned();
    insta::assert_snapshot!(up(&desired, &observed, |o| o.services = vec!["db".to_owned()]));
}

#[test]
fn scaling_down_takes_the_highest_numbers_and_up_fills_gaps() {
    let desired = wanted(FILE);
    let mut observed = settled(&desired);
    let one = up(&desired, &observed, |o| {
        o.scale.insert("web".to_owned(), 1);
    });
    assert!(one.contains("Remove { id: \"id-web-2\""), "{one}");
    observed.containers.remove(1);
    let again = up(&desired, &observed, |_| {});
    assert!(again.contains("CreateContainer { service: \"web\", number: 1"), "{again}");
}

#[test]
fn a_volume_whose_settings_changed_is_named_and_made_anew_only_when_asked() {
    let desired = wanted(FILE);
    let mut observed = settled(&desired);
    observed.volumes.insert("app_data".to_owned(), Some("of other settings".to_owned()));
    let plan = plan(&desired, &observed, &UpOptions::default()).expect("a plan");
    assert_eq!(plan.changed_volumes, ["app_data"]);
    let left = up(&desired, &observed, |_| {});
    assert!(!left.contains("Volume") && !left.contains("CreateContainer"), "{left}");
    insta::assert_snapshot!(up(&desired, &observed, |o| o.renew_volumes = true));
    observed.volumes.insert("app_data".to_owned(), Some(desired.volumes["data"].hash.clone()));
    let same = up(&desired, &observed, |o| o.renew_volumes = true);
    assert!(!same.contains("Volume"), "{same}");
}

#[test]
fn orphans_are_named_or_removed() {
    let desired = wanted(FILE);
    let mut observed = settled(&desired);
    observed.containers.push(container(&desired, "gone", 1));
    assert!(
        up(&desired, &observed, |_| {}).contains("warning: Found orphan containers ([app-gone-1])")
    );
    let removed = up(&desired, &observed, |o| o.remove_orphans = true);
    assert!(removed.contains("Remove { id: \"id-gone-1\""), "{removed}");
}

#[test]
fn sharing_a_namespace_means_being_recreated_together() {
    let desired =
        wanted("services:\n  a: {image: x}\n  b: {image: y, network_mode: 'service:a'}\n");
    let mut observed = Observed {
        containers: vec![container(&desired, "a", 1), container(&desired, "b", 1)],
        networks: [("app_default".to_owned(), None)].into(),
        ..Observed::default()
    };
    observed.containers[0].hash = "old".to_owned();
    insta::assert_snapshot!(up(&desired, &observed, |_| {}));
}

#[test]
fn what_is_external_must_be_there() {
    let text = "services: {a: {image: x, networks: [n], volumes: ['v:/v']}}\nnetworks: {n: {external: true}}\nvolumes: {v: {external: true}}\n";
    let desired = wanted(text);
    let mut observed = Observed::default();
    assert_eq!(
        up(&desired, &observed, |_| {}),
        "network n declared as external, but could not be found"
    );
    observed.networks.insert("n".to_owned(), None);
    assert_eq!(up(&desired, &observed, |_| {}), "external volume \"v\" not found");
    let near = up(&desired, &observed, |o| o.services = vec!["aa".to_owned()]);
    assert_eq!(near, "no such service: aa (did you mean a?)");
}

#[test]
fn down_takes_dependents_first_and_networks_last() {
    let desired = wanted(FILE);
    let options = DownOptions { volumes: true, ..DownOptions::default() };
    insta::assert_snapshot!(show(&down(&desired, &settled(&desired), &options)));
}

#[test]
fn a_plan_never_waits_for_a_later_step() {
    let desired = wanted(FILE);
    let plan = plan(&desired, &Observed::default(), &UpOptions::default()).expect("a plan");
    for (index, step) in plan.steps.iter().enumerate() {
        assert!(step.after.iter().all(|before| *before < index), "{step:?}");
    }
}

#[test]
fn a_service_of_another_profile_is_no_orphan() {
    let desired = wanted("services: {a: {image: x}, tool: {image: x, profiles: [tools]}}\n");
    let mut observed =
        Observed { containers: vec![container(&desired, "a", 1)], ..Observed::default() };
    for service in ["tool", "gone"] {
        observed.containers.push(Container {
            id: service.to_owned(),
            name: format!("app-{service}-1"),
            service: service.to_owned(),
            number: 1,
            ..Container::default()
        });
    }
    let plan = plan(&desired, &observed, &UpOptions::default()).expect("a plan");
    assert!(plan.warnings[0].contains("[app-gone-1]"), "{:?}", plan.warnings);
}

#[test]
fn what_run_left_is_an_orphan_and_what_it_still_runs_is_not() {
    let desired = wanted("services: {a: {image: x}}\n");
    let mut observed = Observed::default();
    for (id, state) in [("spent", "exited"), ("live", "running")] {
        let c = container(&desired, "a", 1);
        let (id, state) = (id.to_owned(), state.to_owned());
        observed.containers.push(Container { name: id.clone(), id, state, oneoff: true, ..c });
    }
    let removed = up(&desired, &observed, |o| o.remove_orphans = true);
    assert!(removed.contains("Remove { id: \"spent\"") && !removed.contains("live"), "{removed}");
    let options = DownOptions { keep: true, ..DownOptions::default() };
    assert_eq!(show(&down(&desired, &observed, &options)), "");
    let all = show(&down(&desired, &observed, &DownOptions::default()));
    assert!(all.contains("\"spent\"") && all.contains("\"live\""), "{all}");
}

#[test]
fn containers_that_are_out_of_date_go_before_the_highest_numbers() {
    let desired = wanted("services: {a: {image: x, scale: 2}}\n");
    let mut observed = Observed {
        containers: (1..=4).map(|number| container(&desired, "a", number)).collect(),
        networks: [("app_default".to_owned(), None)].into(),
        ..Observed::default()
    };
    for old in &mut observed.containers[..2] {
        old.hash = "old".to_owned();
    }
    let text = up(&desired, &observed, |_| {});
    for gone in ["id-a-1", "id-a-2"] {
        assert!(text.contains(&format!("Remove {{ id: \"{gone}\"")), "{text}");
    }
    assert!(!text.contains("id-a-3") && !text.contains("CreateContainer"), "{text}");
}

#[test]
fn a_volume_by_another_name_makes_its_containers_anew() {
    let text = |name: &str| {
        format!(
            "services: {{a: {{image: x, volumes: ['v:/v']}}}}\nvolumes: {{v: {{external: true, name: {name}}}}}\n"
        )
    };
    let desired = wanted(&text("two"));
    let mut one = container(&desired, "a", 1);
    one.volumes = ["two".to_owned()].into();
    let mut observed = Observed {
        containers: vec![one],
        networks: [("app_default".to_owned(), None)].into(),
        volumes: [("one".to_owned(), None), ("two".to_owned(), None)].into(),
        ..Observed::default()
    };
    assert!(!up(&desired, &observed, |_| {}).contains("CreateContainer"));
    observed.containers[0].volumes = ["one".to_owned()].into();
    assert!(up(&desired, &observed, |_| {}).contains("CreateContainer"));
}

#[test]
fn a_start_interval_needs_a_start_period() {
    let text =
        "services:\n  a: {image: x, healthcheck: {test: t, start_interval: 1s}}\n  b: {image: x}\n";
    let desired = wanted(text);
    let refused = up(&desired, &Observed::default(), |_| {});
    assert_eq!(refused, "healthcheck.start_interval requires healthcheck.start_period to be set");
    let other = up(&desired, &Observed::default(), |o| o.services = vec!["b".to_owned()]);
    assert!(other.contains("CreateContainer"), "{other}");
}

#[test]
fn there_must_be_somebody_to_share_with() {
    let desired = wanted(
        "services:\n  db: {image: x}\n  app: {image: x, network_mode: 'service:db', volumes_from: [db]}\n",
    );
    let mut observed =
        Observed { containers: vec![container(&desired, "app", 1)], ..Observed::default() };
    let alone = |o: &mut UpOptions| {
        o.no_deps = true;
        o.services = vec!["app".to_owned()];
    };
    let refused = up(&desired, &observed, alone);
    assert_eq!(refused, "cannot share network namespace with service db: container missing");
    observed.containers.push(container(&desired, "db", 1));
    assert!(up(&desired, &observed, alone).contains("Running"));
}

#[test]
fn unused_networks_and_volumes_are_made_when_all_are_asked_for() {
    let desired = wanted("services: {a: {image: x, network_mode: host}}\n");
    let mut desired = desired;
    let extra = wanted("services: {b: {image: x, volumes: ['v:/v']}}\nvolumes: {v: }\n");
    desired.networks = extra.networks;
    desired.volumes = extra.volumes;
    assert!(!up(&desired, &Observed::default(), |_| {}).contains("Network"));
    let all = up(&desired, &Observed::default(), |o| o.all_resources = true);
    assert!(all.contains("CreateNetwork") && all.contains("CreateVolume"), "{all}");
}

#[test]
fn pre_start_hooks_run_before_the_first_container_and_not_beside_a_running_one() {
    let desired = wanted("services: {a: {image: x, scale: 2, pre_start: [{command: [init]}]}}\n");
    insta::assert_snapshot!(up(&desired, &Observed::default(), |_| {}));
    let mut observed = Observed {
        containers: vec![container(&desired, "a", 1)],
        networks: [("app_default".to_owned(), None)].into(),
        ..Observed::default()
    };
    assert!(!up(&desired, &observed, |_| {}).contains("Init"));
    let anew = up(&desired, &observed, |o| o.recreate = Recreate::Force);
    assert!(anew.contains("Init"), "{anew}");
    observed.containers[0].state = "exited".to_owned();
    assert!(up(&desired, &observed, |_| {}).contains("Init"));
    assert!(!up(&desired, &observed, |o| o.no_start = true).contains("Init"));
}

#[test]
fn a_network_with_other_settings_is_made_anew_under_its_containers() {
    let desired = wanted("services: {a: {image: x}}\nnetworks: {default: {internal: true}}\n");
    let observed = Observed {
        containers: vec![container(&desired, "a", 1)],
        networks: [("app_default".to_owned(), Some("other".to_owned()))].into(),
        ..Observed::default()
    };
    insta::assert_snapshot!(up(&desired, &observed, |_| {}));
    let kept = up(&desired, &observed, |o| o.recreate = Recreate::Never);
    assert!(!kept.contains("RemoveNetwork"), "{kept}");
}
