//! Services.

use super::world::{AT, outcome, spec, world, write};
use crate::control::service::{self, Rollback, Update};
use serde_json::{Value, json};
use std::sync::Arc;
use store::{Snapshot, Store};
use types::ServiceId;
use types::swarm::service::Service;

fn create(state: &Snapshot, wanted: Value) -> String {
    let id = ServiceId::new("fresh");
    outcome(state, service::create(state, id, &spec(wanted), "", AT))
}

fn web(store: &Store) -> Arc<Service> {
    store.state().services().by_name("web").unwrap().clone()
}

#[track_caller]
fn check(wanted: Value, want: &str) {
    assert_eq!(create(world().state(), wanted.clone()), want, "{wanted}");
}

#[test]
fn a_spec_that_makes_no_sense_is_refused_in_swarmkits_words() {
    let template = |template: Value| json!({"TaskTemplate": template});
    let container = |container: Value| template(json!({"ContainerSpec": container}));
    let refused = |desc: &str| format!("400 rpc error: code = InvalidArgument desc = {desc}");
    let cases = [
        (json!({"Name": "a.b"}), "name must be valid as a DNS name component"),
        (json!({"Name": "a".repeat(64)}), "name must be 63 characters or fewer"),
        (
            template(json!({"Resources": {"Limits": {"MemoryBytes": 4_194_303}}})),
            "invalid memory value 4194303: Must be at least 4MiB",
        ),
        (
            template(json!({"Resources": {"Reservations": {"NanoCPUs": 999_999}}})),
            "invalid cpu value 0.000999999: Must be at least 0.001",
        ),
        (
            template(json!({"RestartPolicy": {"Delay": -1}})),
            "TaskSpec: restart-delay cannot be negative",
        ),
        (
            template(json!({"RestartPolicy": {"Window": -1}})),
            "TaskSpec: restart-window cannot be negative",
        ),
        (
            container(json!({"Image": "nginx", "Privileges": {"CredentialSpec": {"File": "x"}}})),
            "ContainerSpec: CredentialSpec is for Windows' containers, and no node runs them",
        ),
        (container(json!({"Image": ""})), "ContainerSpec: image reference must be provided"),
        (
            container(json!({"Image": "A:b:c"})),
            "ContainerSpec: \"A:b:c\" is not a valid repository/tag",
        ),
        (
            container(
                json!({"Mounts": [{"Type": "tmpfs", "Target": "/a"}, {"Type": "volume", "Target": "/a"}]}),
            ),
            "ContainerSpec: duplicate mount point: /a",
        ),
        (
            container(json!({"Healthcheck": {"Interval": 5}})),
            "ContainerSpec: Interval in HealthConfig cannot be less than 1ms",
        ),
        (
            container(json!({"Healthcheck": {"Retries": -1}})),
            "ContainerSpec: Retries in HealthConfig cannot be negative",
        ),
        (container(json!({"Secrets": [{"SecretID": "secret1"}]})), "malformed secret reference"),
        (
            container(json!({"Configs": [{"ConfigID": "x", "ConfigName": "x", "File": {}}]})),
            "malformed file config reference, invalid target file name provided",
        ),
        (
            container(json!({"Secrets": [
                {"SecretID": "1", "SecretName": "a", "File": {"Name": "f"}},
                {"SecretID": "2", "SecretName": "b", "File": {"Name": "f"}},
            ]})),
            "secret references 'a' and 'b' have a conflicting target: 'f'",
        ),
        (
            container(
                json!({"Secrets": [{"SecretID": "secret1", "SecretName": "other", "File": {"Name": "f"}}]}),
            ),
            "secret not found: other",
        ),
        (
            json!({"Mode": {"Replicated": {"Replicas": u64::MAX}}}),
            "Number of replicas must be non-negative",
        ),
        (
            json!({"Mode": {"GlobalJob": {}}, "UpdateConfig": {}}),
            "Jobs may not have an update config",
        ),
        (
            json!({"UpdateConfig": {"MaxFailureRatio": 1.5}}),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1",
        ),
        (
            json!({"EndpointSpec": {"Mode": "dnsrr", "Ports": [{"TargetPort": 1}]}}),
            "EndpointSpec: port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            json!({"EndpointSpec": {"Ports": [
                {"TargetPort": 1, "PublishedPort": 9}, {"TargetPort": 2, "PublishedPort": 9},
            ]}}),
            "EndpointSpec: duplicate published ports provided",
        ),
        (
            json!({"EndpointSpec": {"Ports": [{"TargetPort": 1, "PublishedPort": 80}]}}),
            "port '80' is already in use by service 'web' (service1) as an ingress port",
        ),
        (
            json!({"EndpointSpec": {"Ports": [{"TargetPort": 1, "PublishedPort": 80, "PublishMode": "host"}]}}),
            "port '80' is already in use by service 'web' (service1) as an ingress port",
        ),
        (
            template(json!({"Networks": [{"Target": "ingress"}]})),
            "Service cannot be explicitly attached to the ingress network \"ingress\"",
        ),
        (
            json!({"Sampan": {"DependsOn": {"new": "service_started"}}}),
            "services depend on each other: new -> new",
        ),
    ];
    for (wanted, desc) in cases {
        check(wanted, &refused(desc));
    }
}

#[test]
fn words_that_dockerd_does_not_know_are_refused_before_a_manager_is_asked() {
    let container = |container: Value| json!({"TaskTemplate": {"ContainerSpec": container}});
    let cases = [
        (json!({"TaskTemplate": {"Runtime": "wasm"}}), "400 unsupported runtime"),
        (
            json!({"TaskTemplate": {"ContainerSpec": null}}),
            "400 mismatched Runtime and *Spec fields",
        ),
        (
            json!({"Mode": {"Replicated": {"Replicas": 2}, "Global": {}}}),
            "400 must specify only one service mode",
        ),
        (json!({"EndpointSpec": {"Mode": "x"}}), "400 invalid resolution mode: \"x\""),
        (
            json!({"TaskTemplate": {"RestartPolicy": {"Condition": "x"}}}),
            "400 invalid RestartCondition: \"x\"",
        ),
        (
            json!({"UpdateConfig": {"FailureAction": "x"}}),
            "400 unrecognized update failure action x",
        ),
        (json!({"RollbackConfig": {"Order": "x"}}), "400 unrecognized update order x"),
        (
            container(json!({"Mounts": [{"Type": "x", "Target": "/a"}]})),
            "400 invalid MountType: \"x\"",
        ),
        (
            json!({"TaskTemplate": {"Networks": [{"Target": "nowhere"}]}}),
            "500 network nowhere not found",
        ),
        (
            json!({"TaskTemplate": {"Placement": {"Constraints": ["node.role=manager"]}}}),
            "500 rpc error: code = Unknown desc = constraint expected one operator from ==, !=",
        ),
    ];
    for (wanted, want) in cases {
        check(wanted, want);
    }
}

#[test]
fn a_name_is_taken_whatever_its_case() {
    check(
        json!({"Name": "WEB"}),
        "409 rpc error: code = AlreadyExists desc = name conflicts with an existing object: service WEB already exists",
    );
}

#[test]
fn two_services_may_publish_one_port_of_their_hosts() {
    let mut store = world();
    let host = |name: &str| {
        json!({"Name": name, "EndpointSpec": {"Ports": [
            {"TargetPort": 1, "PublishedPort": 9, "PublishMode": "host"},
        ]}})
    };
    let id = ServiceId::new("one");
    let changes = service::create(store.state(), id, &spec(host("one")), "", AT).unwrap();
    write(&mut store, changes);
    assert_eq!(create(store.state(), host("two")), "ok");
    let ingress = json!({"EndpointSpec": {"Ports": [{"TargetPort": 1, "PublishedPort": 9}]}});
    assert_eq!(
        create(store.state(), ingress),
        "400 rpc error: code = InvalidArgument desc = port '9' is already in use by service 'one' (one) as a host-published port"
    );
}

#[test]
fn what_is_left_open_is_written_out() {
    let store = world();
    let service = web(&store);
    let text = serde_json::to_value(&service.spec).unwrap();
    assert_eq!(text["Mode"], json!({"Replicated": {"Replicas": 1}}));
    assert_eq!(text["TaskTemplate"]["Runtime"], "container");
    assert_eq!(text["TaskTemplate"]["Networks"][0]["Target"], "net");
    assert_eq!(text["EndpointSpec"]["Mode"], "vip");
    assert_eq!(text["EndpointSpec"]["Ports"][0]["Protocol"], "tcp");
    let defaults = serde_json::to_value(service::with_defaults(&service)).unwrap();
    let task = &defaults["Spec"]["TaskTemplate"];
    assert_eq!(task["ContainerSpec"]["StopGracePeriod"], 10_000_000_000_i64);
    assert_eq!(task["RestartPolicy"]["Delay"], 5_000_000_000_i64);
    assert_eq!(defaults["Spec"]["UpdateConfig"]["Monitor"], 5_000_000_000_i64);
}

fn change(store: &Store, version: Option<u64>, wanted: Value) -> String {
    let update = Update { version, spec: spec(wanted), ..Update::default() };
    outcome(store.state(), service::update(store.state(), "web", &update, AT))
}

#[test]
fn an_update_names_the_version_that_it_read() {
    let store = world();
    let version = web(&store).meta.version.index;
    let wanted = json!({"Name": "web"});
    assert_eq!(change(&store, Some(version), wanted.clone()), "ok");
    assert_eq!(change(&store, None, wanted.clone()), "ok");
    assert_eq!(
        change(&store, Some(version - 1), wanted),
        "500 rpc error: code = Unknown desc = update out of sequence"
    );
    assert_eq!(
        change(&store, Some(version), json!({"Name": "other"})),
        "501 rpc error: code = Unimplemented desc = renaming services is not supported"
    );
    assert_eq!(
        change(&store, Some(version), json!({"Name": "web", "Mode": {"Global": {}}})),
        "501 rpc error: code = Unimplemented desc = service mode change is not allowed"
    );
    let elsewhere = Update { spec: spec(json!({})), ..Update::default() };
    let missing = service::update(store.state(), "nope", &elsewhere, AT);
    assert_eq!(outcome(store.state(), missing), "404 service nope not found");
}

#[test]
fn a_rollback_changes_the_two_specs_and_needs_one_to_go_back_to() {
    let mut store = world();
    let back = |store: &Store| {
        let spec = web(store).spec.clone();
        let update = Update { spec, rollback: Rollback::Previous, ..Update::default() };
        service::update(store.state(), "service1", &update, AT)
    };
    assert_eq!(
        outcome(store.state(), back(&store)),
        "400 rpc error: code = FailedPrecondition desc = service service1 does not have a previous spec"
    );
    let wanted = spec(json!({"Name": "web", "Labels": {"a": "b"}}));
    let update = Update { spec: wanted, ..Update::default() };
    let changes = service::update(store.state(), "web", &update, AT).unwrap();
    write(&mut store, changes);
    assert_eq!(web(&store).spec.labels["a"], "b");
    let changes = back(&store).unwrap();
    write(&mut store, changes);
    let service = web(&store);
    assert!(service.spec.labels.is_empty());
    assert_eq!(service.previous_spec.as_ref().unwrap().labels["a"], "b");
    assert_eq!(service.update_status.as_ref().unwrap().state, "rollback_started");
}

#[test]
fn registry_credentials_stay_until_there_are_new_ones() {
    let mut store = world();
    let auth = |store: &Store| {
        let service = web(store);
        let container = service.spec.task_template.container_spec.as_ref().unwrap().clone();
        container.pull_options.map(|options| options.registry_auth)
    };
    assert_eq!(auth(&store).as_deref(), Some("secret"));
    for (given, want) in [("", "secret"), ("newer", "newer")] {
        let update = Update {
            spec: spec(json!({"Name": "web"})),
            registry_auth: given.to_owned(),
            ..Update::default()
        };
        let changes = service::update(store.state(), "web", &update, AT).unwrap();
        write(&mut store, changes);
        assert_eq!(auth(&store).as_deref(), Some(want));
    }
}

#[test]
fn what_swarm_refuses_needs_the_clusters_leave_and_outlives_a_client_that_does_not_know_it() {
    let mut store = world();
    let wanted = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Sampan": {
        "ShmSize": 67_108_864,
        "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}],
    }}}});
    assert_eq!(
        change(&store, None, wanted.clone()),
        "403 rpc error: code = PermissionDenied desc = the cluster's policy does not allow services to use devices: allow it with `swarm update --allow devices`"
    );
    allow(&mut store, &["devices", "shm-size"]);
    let update = Update { spec: spec(wanted), ..Update::default() };
    let changes = service::update(store.state(), "web", &update, AT).unwrap();
    write(&mut store, changes);
    let plain = Update { spec: spec(json!({"Name": "web"})), ..Update::default() };
    let changes = service::update(store.state(), "web", &plain, AT).unwrap();
    write(&mut store, changes);
    let extensions = |store: &Store| {
        web(store).spec.task_template.container_spec.as_ref().unwrap().sampan.clone()
    };
    assert_eq!(extensions(&store).unwrap().shm_size, 67_108_864);
    let away = json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Sampan": {}}}});
    let update = Update { spec: spec(away), ..Update::default() };
    let changes = service::update(store.state(), "web", &update, AT).unwrap();
    write(&mut store, changes);
    assert_eq!(extensions(&store), None);
    let nonsense =
        json!({"Name": "web", "TaskTemplate": {"ContainerSpec": {"Sampan": {"PidMode": "x"}}}});
    assert_eq!(
        change(&store, None, nonsense),
        "400 rpc error: code = InvalidArgument desc = ContainerSpec: invalid PID mode: \"x\""
    );
}

fn allow(store: &mut Store, words: &[&str]) {
    use crate::control::cluster;
    let old = cluster::get(store.state()).unwrap().clone();
    let policy = json!({"Name": "default", "Sampan": {"Allow": words}});
    let update = cluster::Update {
        version: old.meta.version.index,
        spec: types::json::from_value(policy).unwrap(),
        ..cluster::Update::default()
    };
    let fresh =
        cluster::Fresh { worker_token: [1; 16], manager_token: [2; 16], unlock_key: [3; 32] };
    let changes = cluster::update(store.state(), &update, &fresh, AT).unwrap();
    write(store, changes);
}

#[test]
fn tasks_are_counted_as_swarmkit_counts_them() {
    let store = world();
    let status = service::count(store.state(), &web(&store));
    assert_eq!((status.running_tasks, status.desired_tasks), (0, 1));
}
