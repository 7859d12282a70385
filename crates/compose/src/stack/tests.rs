//! Stacks as docker's client would send them, and what ours adds.

use super::*;
use crate::{LoadOptions, Target, load};
use serde_json::{Value, json};
use std::io;
use std::path::Path;
use types::swarm::node::Node;
use types::swarm::policy::PolicyRule;
use types::swarm::service as swarm;
use types::swarm::task::Task;

fn read_file(path: &str) -> io::Result<Vec<u8>> {
    match path {
        "/app/token.txt" => Ok(b"s3cret".to_vec()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    }
}

fn tried(text: &str) -> Result<(Stack, Vec<String>), Vec<String>> {
    let read = |_: &Path| Ok(text.to_owned());
    let options = LoadOptions {
        files: vec!["/app/compose.yaml".into()],
        project_dir: "/app".into(),
        project_name: Some("demo".to_owned()),
        env: [("TOKEN".to_owned(), "from the shell".to_owned())].into(),
        target: Target::Cluster,
        ..LoadOptions::default()
    };
    let loaded = load(&options, &read).unwrap_or_else(|report| panic!("{report}"));
    let told = |said: Vec<Diagnostic>| -> Vec<String> {
        said.into_iter().map(|d| format!("{}: {}", d.path, d.message)).collect()
    };
    let warnings = told(loaded.warnings);
    match stack(&loaded.project, &read_file) {
        Ok((stack, said)) => Ok((stack, [warnings, told(said)].concat())),
        Err(said) => Err(told(said)),
    }
}

fn made(text: &str) -> Stack {
    tried(text).unwrap_or_else(|errors| panic!("{errors:?}")).0
}

fn spec(stack: &Stack, key: &str) -> Value {
    serde_json::to_value(&stack.services[key].spec).unwrap_or_default()
}

/// What the cluster would hold after the operations.
fn deployed(stack: &Stack, observed: &Observed) -> Observed {
    let plan = plan(stack, observed, &StackOptions::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let mut after = observed.clone();
    for operation in plan.operations {
        match operation {
            Operation::CreateNetwork { name, .. } => {
                let shared = Shared {
                    id: format!("id-{name}"),
                    scope: "swarm".to_owned(),
                    ..Shared::default()
                };
                after.networks.insert(name, shared);
            }
            Operation::SetPolicies { network, rules } => {
                after.networks.entry(network).or_default().policies = rules;
            }
            Operation::CreateSecret { key, name } => {
                let labels = stack.secrets[&key].labels.clone();
                after.secrets.insert(name, Known { id: key, labels });
            }
            Operation::CreateConfig { key, name } => {
                let labels = stack.configs[&key].labels.clone();
                after.configs.insert(name, Known { id: key, labels });
            }
            Operation::CreateService { key, spec } => {
                let id = types::ServiceId::new(format!("id-{key}"));
                after.services.push(swarm::Service { id, spec: *spec, ..Default::default() });
            }
            Operation::UpdateService { id, spec, .. } => {
                for service in &mut after.services {
                    if service.id.as_str() == id {
                        service.previous_spec = Some(service.spec.clone());
                        service.spec = (*spec).clone();
                    }
                }
            }
            _ => {}
        }
    }
    // the cluster keeps networks by their ids, and writes defaults out
    let networks = after.networks.clone();
    for service in &mut after.services {
        for attachment in &mut service.spec.task_template.networks {
            if let Some(network) = networks.get(&attachment.target) {
                attachment.target.clone_from(&network.id);
            }
        }
        service.spec.task_template.runtime = "container".to_owned();
        if let Some(container) = &mut service.spec.task_template.container_spec {
            container.isolation = "default".to_owned();
        }
    }
    after
}

/// The operations in a word each.
fn words(stack: &Stack, observed: &Observed, options: &StackOptions) -> Vec<String> {
    let plan = plan(stack, observed, options).unwrap_or_else(|errors| panic!("{errors:?}"));
    let word = |operation: Operation| match operation {
        Operation::RemoveService { name, .. } => format!("-{name}"),
        Operation::CreateNetwork { name, .. } => format!("+net {name}"),
        Operation::SetPolicies { network, rules } => format!("policies {network} {}", rules.len()),
        Operation::CreateSecret { key, .. } => format!("+secret {key}"),
        Operation::UpdateSecret { key, .. } => format!("~secret {key}"),
        Operation::CreateConfig { key, .. } => format!("+config {key}"),
        Operation::UpdateConfig { key, .. } => format!("~config {key}"),
        Operation::CreateService { spec, .. } => format!("+{}", spec.name),
        Operation::UpdateService { spec, differences, .. } => {
            let fields: Vec<&str> = differences.iter().map(|d| d.field.as_str()).collect();
            format!("~{} {}", spec.name, fields.join(" "))
        }
        Operation::Keep { key, .. } => format!("={key}"),
    };
    plan.operations.into_iter().map(word).collect()
}

#[test]
fn a_service_is_sent_as_dockers_client_sends_it() {
    let stack = made(
        r#"
version: "3.8"
services:
  nginx:
    image: nginx:latest
    command: ["-g", "daemon off;"]
    environment: {B: "2", A: "1"}
    labels: {in: container}
    extra_hosts: ["db:10.0.0.9"]
    ports: ["8080:80", {target: 53, published: 53, protocol: udp, mode: host}]
    stop_grace_period: 20s
    deploy:
      replicas: 3
      labels: {on: service}
      update_config: {parallelism: 2, order: start-first, failure_action: rollback, monitor: 3s}
      restart_policy: {condition: on-failure, max_attempts: 2, delay: 1s}
      resources: {limits: {cpus: "0.5", memory: 64M}, reservations: {memory: 32M}}
      placement:
        constraints: [node.role == worker]
        preferences: [{spread: node.labels.rack}]
        max_replicas_per_node: 2
"#,
    );
    let spec = spec(&stack, "nginx");
    assert_eq!(spec["Name"], "demo_nginx");
    let labels = json!({"com.docker.stack.image": "nginx:latest", "com.docker.stack.namespace": "demo", "on": "service"});
    assert_eq!(spec["Labels"], labels);
    assert_eq!(spec["Mode"], json!({"Replicated": {"Replicas": 3}}));
    let container = &spec["TaskTemplate"]["ContainerSpec"];
    assert_eq!(
        container["Labels"],
        json!({"com.docker.stack.namespace": "demo", "in": "container"})
    );
    assert_eq!(container["Args"], json!(["-g", "daemon off;"]));
    assert_eq!(container["Env"], json!(["A=1", "B=2"]));
    assert_eq!(container["Hosts"], json!(["10.0.0.9 db"]));
    assert_eq!(container["StopGracePeriod"], 20_000_000_000_i64);
    let networks = json!([{"Target": "demo_default", "Aliases": ["nginx"]}]);
    assert_eq!(spec["TaskTemplate"]["Networks"], networks);
    let resources = json!({"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864},
        "Reservations": {"MemoryBytes": 33_554_432}});
    assert_eq!(spec["TaskTemplate"]["Resources"], resources);
    let placement = json!({"Constraints": ["node.role == worker"], "MaxReplicas": 2,
        "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.rack"}}]});
    assert_eq!(spec["TaskTemplate"]["Placement"], placement);
    let ports = json!([
        {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53, "PublishMode": "host"},
        {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},
    ]);
    assert_eq!(spec["EndpointSpec"]["Ports"], ports);
    assert_eq!(spec["UpdateConfig"]["Parallelism"], 2);
    assert_eq!(spec["UpdateConfig"]["FailureAction"], "rollback");
    let network = &stack.networks["default"].request;
    assert_eq!((network.name.as_str(), network.driver.as_str()), ("demo_default", "overlay"));
}

#[test]
fn a_second_deployment_changes_nothing_and_a_change_only_what_it_names() {
    let text = "services:
  web: {image: 'nginx:1', deploy: {replicas: 2}}
  api: {image: 'api:1', restart: always, ports: ['80:80']}
";
    let stack = made(text);
    let start = Observed::default();
    let first = ["+net demo_default", "+demo_api", "+demo_web"];
    assert_eq!(words(&stack, &start, &StackOptions::default()), first);
    let after = deployed(&stack, &start);
    assert_eq!(words(&stack, &after, &StackOptions::default()), ["=api", "=web"]);

    let other = made(&text.replace("nginx:1", "nginx:2"));
    let want = ["=api", "~demo_web Labels.com.docker.stack.image TaskTemplate.ContainerSpec.Image"];
    assert_eq!(words(&other, &after, &StackOptions::default()), want);
    let scaled = made(&text.replace("replicas: 2", "replicas: 5"));
    assert_eq!(words(&scaled, &after, &StackOptions::default()), ["=api", "~demo_web Mode"]);
}

/// The client of the deployment before may be gone, or have waited for nothing.
#[test]
fn what_goes_on_is_waited_for_and_what_is_paused_is_tried_again() {
    let stack = made("services:\n  web: {image: 'nginx:1'}\n");
    let after = deployed(&stack, &Observed::default());
    let planned = |state: &str, underway: &[&str]| {
        let mut observed = after.clone();
        observed.underway = underway.iter().map(|name| (*name).to_owned()).collect();
        observed.services[0].update_status =
            Some(swarm::UpdateStatus { state: state.to_owned(), ..Default::default() });
        let plan = plan(&stack, &observed, &StackOptions::default()).unwrap_or_default();
        match plan.operations.into_iter().next() {
            Some(Operation::Keep { asked, .. }) => format!("{asked:?}"),
            Some(Operation::UpdateService { differences, .. }) => {
                differences.into_iter().map(|it| it.field).collect()
            }
            other => format!("{other:?}"),
        }
    };
    let cases: [(&str, &[&str], &str); 8] = [
        ("", &[], "Nothing"),
        ("", &["demo_web"], "Update"),
        ("completed", &[], "Nothing"),
        ("updating", &["demo_web"], "Update"),
        ("rollback_started", &["demo_web"], "Rollback"),
        ("rollback_completed", &[], "Nothing"),
        ("paused", &[], "UpdateStatus.State"),
        ("rollback_paused", &[], "UpdateStatus.State"),
    ];
    for (state, underway, want) in cases {
        assert_eq!(planned(state, underway), want, "{state} {underway:?}");
    }
}

#[test]
fn services_that_the_file_lost_go_with_prune_only() {
    let two = made("services:\n  a: {image: x}\n  b: {image: x}\n");
    let one = made("services:\n  a: {image: x}\n");
    let after = deployed(&two, &Observed::default());
    assert_eq!(words(&one, &after, &StackOptions::default()), ["=a"]);
    let prune = StackOptions { prune: true, ..StackOptions::default() };
    assert_eq!(words(&one, &after, &prune), ["-demo_b", "=a"]);
}

#[test]
fn a_changed_content_is_another_config_and_rolls_its_service() {
    let text = "services:
  a: {image: x, configs: [c], secrets: [{source: s, target: token, mode: 0400}]}
  b: {image: x}
configs: {c: {content: one}}
secrets: {s: {file: ./token.txt}}
";
    let first = made(text);
    let name = &first.secrets["s"].name;
    assert!(name.starts_with("demo_s_") && name.len() == "demo_s_".len() + 12, "{name}");
    let reference = &spec(&first, "a")["TaskTemplate"]["ContainerSpec"]["Secrets"][0];
    let file = json!({"Name": "token", "UID": "0", "GID": "0", "Mode": 0o400});
    assert_eq!(reference["File"], file);
    let after = deployed(&first, &Observed::default());
    let second = made(&text.replace("content: one", "content: two"));
    let want = ["+config c", "~demo_a TaskTemplate.ContainerSpec.Configs", "=b"];
    assert_eq!(words(&second, &after, &StackOptions::default()), want);

    // what the service would be rolled back to keeps its version; the one before goes
    let names = |observed: &Observed| -> Vec<String> {
        let old = outdated("demo", &observed.configs, &observed.services, configs_of);
        old.into_iter().map(|(name, _)| name.clone()).collect()
    };
    let after = deployed(&second, &after);
    assert!(names(&after).is_empty());
    let after = deployed(&made(&text.replace("content: one", "content: three")), &after);
    assert_eq!(names(&after), [first.configs["c"].name.clone()]);
}

#[test]
fn names_of_the_users_own_and_the_environment_are_taken_as_they_are() {
    let stack = made(
        "services: {a: {image: x, configs: [own], secrets: [env, there]}}
configs: {own: {name: mine-v1, content: text}}
secrets: {env: {environment: TOKEN}, there: {external: true, name: old}}
",
    );
    assert_eq!(stack.configs["own"].name, "mine-v1");
    assert_eq!(stack.secrets["env"].data, b"from the shell");
    let errors = plan(&stack, &Observed::default(), &StackOptions::default()).unwrap_err();
    assert_eq!(errors[0].to_string(), "secret not found: old");
    let unset = "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: NOPE}}\n";
    let want = "secrets.s: the environment variable NOPE is not set";
    assert_eq!(tried(unset).unwrap_err(), [want]);
    let missing = "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: ./no.txt}}\n";
    let errors = tried(missing).unwrap_err();
    assert!(errors[0].starts_with("secrets.s: cannot read /app/no.txt: "), "{errors:?}");
}

#[test]
fn external_networks_must_be_there_and_span_the_cluster() {
    let stack = made(
        "services: {a: {image: x, networks: [n, hostnet]}}
networks: {n: {external: true, name: shared}, hostnet: {external: true, name: host}}
",
    );
    let mut observed = Observed::default();
    let said = |observed: &Observed| {
        plan(&stack, observed, &StackOptions::default()).unwrap_err()[0].to_string()
    };
    assert!(
        said(&observed)
            .starts_with("network \"shared\" is declared as external, but could not be found.")
    );
    let local = Shared { id: "1".to_owned(), scope: "local".to_owned(), ..Shared::default() };
    observed.networks.insert("shared".to_owned(), local);
    assert!(said(&observed).contains("not in the right scope: \"local\" instead of \"swarm\""));
    observed.networks.insert(
        "shared".to_owned(),
        Shared { id: "1".to_owned(), scope: "swarm".to_owned(), ..Shared::default() },
    );
    assert_eq!(words(&stack, &observed, &StackOptions::default()), ["+demo_a"]);
    let networks = &spec(&stack, "a")["TaskTemplate"]["Networks"];
    assert_eq!(networks, &json!([{"Target": "host"}, {"Target": "shared", "Aliases": ["a"]}]));
}

#[test]
fn what_docker_has_no_words_for_goes_into_the_extension() {
    let stack = made(
        "services:
  db: {image: x, healthcheck: {test: [CMD, 'true'], interval: 1s}}
  web:
    image: x
    privileged: true
    security_opt: ['no-new-privileges:true']
    depends_on: {db: {condition: service_healthy}}
  nightly:
    image: x
    depends_on: [db]
    x-sampan-schedule: {cron: '0 3 * * *', time_zone: Asia/Shanghai, overlap: replace, starting_deadline: 5m}
",
    );
    let web = spec(&stack, "web");
    assert_eq!(web["Sampan"], json!({"DependsOn": {"demo_db": "service_healthy"}}));
    let container = &web["TaskTemplate"]["ContainerSpec"];
    assert_eq!(container["Sampan"], json!({"Privileged": true}));
    assert_eq!(container["Privileges"], json!({"NoNewPrivileges": true}));
    let nightly = spec(&stack, "nightly");
    assert!(nightly["Mode"]["ReplicatedJob"].is_object());
    let schedule = json!({"Cron": "0 3 * * *", "TimeZone": "Asia/Shanghai", "Overlap": "replace",
        "StartingDeadline": 300_000_000_000_i64});
    assert_eq!(nightly["Sampan"]["Schedule"], schedule);
}

#[test]
fn policies_of_services_become_rules_of_their_networks_and_others_rules_stay() {
    let text = "services:
  api: {image: x, networks: [front, back]}
  db:
    image: x
    networks: [back]
    x-sampan-policy: [{from: [api, 'label=tier=ops'], ports: [5432]}, {from: other_api}]
networks: {front: {}, back: {}}
";
    let stack = made(text);
    let foreign = PolicyRule { to: "x".to_owned(), ..PolicyRule::default() };
    let mut observed = Observed::default();
    let there = Shared { policies: vec![foreign.clone()], ..Shared::default() };
    observed.networks.insert("demo_back".to_owned(), there);
    let after = deployed(&stack, &observed);
    let rules = &after.networks["demo_back"].policies;
    let shown: Vec<String> = rules.iter().map(ToString::to_string).collect();
    let want = [
        "x from everybody on all ports",
        "demo_db from demo_api,label=tier=ops on 5432",
        "demo_db from other_api on all ports",
    ];
    assert_eq!(shown, want);
    assert!(rules[1].owner == "demo" && after.networks["demo_front"].policies.is_empty());
    let again = plan(&stack, &after, &StackOptions::default()).unwrap_or_default();
    let sets = |operation: &Operation| matches!(operation, Operation::SetPolicies { .. });
    assert!(!again.operations.iter().any(sets), "{again:?}");
    let without = made(&text.replace("x-sampan-policy", "x-other"));
    assert_eq!(deployed(&without, &after).networks["demo_back"].policies, [foreign]);
    for (policy, message) in [
        ("{from: [], ports: [1]}", "`from` must be a name or a list of names"),
        ("{ports: [0]}", "invalid port \"0\": PORT[/tcp|/udp]"),
        ("{networks: [nope]}", "the service is not on network `nope`"),
        ("{to: api}", "unknown key `to`"),
        ("everybody", "must be a mapping or a list of mappings"),
    ] {
        let text = format!("services:\n  db: {{image: x, x-sampan-policy: {policy}}}\n");
        let errors = tried(&text).unwrap_err();
        assert_eq!(errors, [format!("services.db.x-sampan-policy: {message}")]);
    }
}

#[test]
fn mistakes_are_told_with_their_places_and_what_has_no_effect_is_named() {
    let errors = tried(
        "services:
  a: {image: x, deploy: {mode: global, replicas: 2}}
  b: {image: x, deploy: {placement: {constraints: ['node.role=manager']}}}
  c: {image: x, network_mode: 'service:a'}
  d: {image: x, deploy: {mode: replicated}, x-sampan-schedule: '@daily'}
  e: {image: x, deploy: {endpoint_mode: dnsrr}, ports: ['80:80']}
",
    )
    .unwrap_err();
    let want = [
        "services.a.deploy.replicas: replicas can only be used with replicated or replicated-job mode",
        "services.b.deploy.placement.constraints: \"node.role=manager\" is no constraint: constraint expected one operator from ==, !=",
        "services.c.network_mode: tasks of a stack share no other container's network",
        "services.d.deploy.mode: `x-sampan-schedule` needs a job",
        "services.e.deploy.endpoint_mode: port published with ingress mode can't be used with dnsrr mode",
    ];
    assert_eq!(errors, want);
    let (_, said) =
        tried("services:\n  a: {image: x, container_name: fixed, deploy: {labels: {a: b}}}\n")
            .unwrap_or_else(|errors| panic!("{errors:?}"));
    let want = "services.a.container_name: `container_name` has no effect: a stack's services do not have it";
    assert_eq!(said, [want]);
}

fn node(name: &str) -> Node {
    let mut node = Node { id: types::NodeId::new(format!("id-{name}")), ..Node::default() };
    node.description.hostname = name.to_owned();
    node.status.state = types::swarm::node::NodeState::Ready;
    node
}

fn constraints(stack: &Stack, observed: &Observed, key: &str) -> Vec<String> {
    let plan = plan(stack, observed, &StackOptions::default()).unwrap_or_else(|e| panic!("{e:?}"));
    let found = plan.operations.iter().find_map(|operation| match operation {
        Operation::CreateService { key: of, spec }
        | Operation::UpdateService { key: of, spec, .. }
            if of == key =>
        {
            spec.task_template.placement.as_ref().map(|placement| placement.constraints.clone())
        }
        _ => None,
    });
    found.unwrap_or_default()
}

#[test]
fn a_service_stays_where_its_volume_is() {
    let text = "services:
  db: {image: x, volumes: ['data:/var/lib']}
  dump: {image: x, volumes: ['data:/from'], x-sampan-schedule: '@daily'}
  web: {image: x, volumes: ['cache:/c'], deploy: {replicas: 2}}
  mine: {image: x, volumes: ['own:/c'], deploy: {placement: {constraints: [node.hostname == n2]}}}
  nfs: {image: x, volumes: ['remote:/c']}
volumes: {data: , cache: , own: , remote: {driver_opts: {type: nfs, device: ':/x'}}}
";
    let (stack, said) = tried(text).unwrap_or_else(|errors| panic!("{errors:?}"));
    let want = "services.web.volumes: every node has a demo_cache of its own: tasks share no data";
    assert_eq!(said, [want]);
    let mut observed = Observed { nodes: vec![node("n1"), node("n2")], ..Observed::default() };
    let busy = Task { node_id: types::NodeId::new("id-n1"), ..Task::default() };
    observed.tasks.push(busy);
    for key in ["db", "dump"] {
        assert_eq!(constraints(&stack, &observed, key), ["node.id == id-n2"], "{key}");
    }
    assert!(constraints(&stack, &observed, "web").is_empty());
    assert!(constraints(&stack, &observed, "nfs").is_empty());
    assert_eq!(constraints(&stack, &observed, "mine"), ["node.hostname == n2"]);
    // it is still there when the other node has become the emptier one
    let mut after = deployed(&stack, &observed);
    after.tasks.clear();
    let all = ["=db", "=dump", "=mine", "=nfs", "=web"];
    assert_eq!(words(&stack, &after, &StackOptions::default()), all);
    let notes = plan(&stack, &after, &StackOptions::default()).unwrap_or_default().notes;
    assert_eq!(notes[0], "demo_db stays on n2, where its data are: demo_data");
}

#[test]
fn what_was_resolved_stays_until_the_file_says_another_image() {
    let stack = made("services: {a: {image: 'x:1'}}\n");
    let image = [("x:1".to_owned(), "x:1@sha256:0".to_owned())];
    let options = StackOptions { images: image.into(), ..StackOptions::default() };
    let after = deployed(&stack, &Observed::default());
    assert_eq!(words(&stack, &after, &options), ["~demo_a TaskTemplate.ContainerSpec.Image"]);
    let mut pinned = after;
    if let Some(container) = &mut pinned.services[0].spec.task_template.container_spec {
        container.image = "x:1@sha256:0".to_owned();
    }
    assert_eq!(words(&stack, &pinned, &StackOptions::default()), ["=a"]);
}

#[test]
fn a_rollback_takes_back_what_the_last_deployment_changed() {
    let text = "services:\n  a: {image: 'x:1'}\n  b: {image: 'x:1'}\n";
    let first = deployed(&made(text), &Observed::default());
    let other = "services:\n  a: {image: 'x:1'}\n  b: {image: 'x:2'}\n  c: {image: 'x:1'}\n";
    let second = deployed(&made(other), &first);
    let (back, made) = last_changed(&second.services);
    let back: Vec<&str> = back.iter().map(|service| service.spec.name.as_str()).collect();
    assert_eq!((back, made), (vec!["demo_b"], vec!["demo_c"]));
}

mod verdicts {
    use super::super::{Asked, Verdict, judge};
    use types::Timestamp;
    use types::swarm::service::{Mode, Replicated, Service, UpdateStatus};
    use types::swarm::task::{RestartPolicy, Task, TaskState};

    fn service(replicas: u64, state: &str) -> Service {
        let mut service = Service::default();
        let replicated = Replicated { replicas: Some(replicas) };
        service.spec.mode = Mode { replicated: Some(replicated), ..Mode::default() };
        service.update_status = (!state.is_empty()).then(|| UpdateStatus {
            state: state.to_owned(),
            message: "because".to_owned(),
            ..UpdateStatus::default()
        });
        service
    }

    fn task(slot: u64, at: i64, state: TaskState, err: &str) -> Task {
        let mut task = Task { slot, desired_state: TaskState::Running, ..Task::default() };
        task.meta.created_at = Timestamp::from_seconds(at);
        task.status.state = state;
        err.clone_into(&mut task.status.err);
        if state.is_terminal() {
            task.desired_state = TaskState::Shutdown;
        }
        task
    }

    fn verdict(service: &Service, tasks: &[Task]) -> Verdict {
        let tasks: Vec<&Task> = tasks.iter().collect();
        judge(service, &tasks, &tasks, None, Asked::Update)
    }

    #[test]
    fn it_is_underway_until_every_slot_runs() {
        let wanted = service(2, "");
        let mut tasks = vec![
            task(1, 1, TaskState::Running, ""),
            task(2, 1, TaskState::Pending, "no suitable node"),
        ];
        assert_eq!(verdict(&wanted, &tasks), Verdict::Underway("no suitable node".to_owned()));
        tasks[1] = task(2, 1, TaskState::Running, "");
        assert_eq!(verdict(&wanted, &tasks), Verdict::Converged);
        assert_eq!(verdict(&service(2, "updating"), &tasks), Verdict::Underway(String::new()));
    }

    #[test]
    fn a_rollback_is_the_end_and_names_the_task_that_failed() {
        let tasks = [
            task(1, 2, TaskState::Failed, "task: non-zero exit (1)"),
            task(1, 3, TaskState::Running, ""),
        ];
        let rolled = service(1, "rollback_completed");
        let want = Verdict::Failed("update rolled back: task: non-zero exit (1)".to_owned());
        assert_eq!(verdict(&rolled, &tasks), want);
        let all: Vec<&Task> = tasks.iter().collect();
        // an end of before, or one that was asked for, is none of this deployment
        for asked in [Asked::Nothing, Asked::Rollback] {
            assert_eq!(judge(&rolled, &all[1..], &all, None, asked), Verdict::Converged);
        }
        // what the managers wrote down outlives the task
        let want = Verdict::Failed("update rolled back: unhealthy".to_owned());
        assert_eq!(judge(&rolled, &all[1..], &all[1..], Some("unhealthy"), Asked::Update), want);
        assert_eq!(verdict(&service(1, "paused"), &[]), Verdict::Failed("because".to_owned()));
    }

    #[test]
    fn a_slot_that_ends_again_and_again_is_failing() {
        let failed = |at| task(1, at, TaskState::Rejected, "No such image: nope");
        let mut tasks: Vec<Task> = (1..4).map(failed).collect();
        tasks.push(task(1, 4, TaskState::Ready, ""));
        assert_eq!(verdict(&service(1, ""), &tasks), Verdict::Underway(String::new()));
        tasks.insert(3, failed(3));
        let want = Verdict::Failing("No such image: nope".to_owned());
        assert_eq!(verdict(&service(1, ""), &tasks), want);
        // tried again: the ends of before are not this update's
        let again = |at| {
            let mut again = service(1, "updating");
            let status = again.update_status.get_or_insert_default();
            status.started_at = Some(Timestamp::from_seconds(at));
            again
        };
        assert_eq!(verdict(&again(4), &tasks), Verdict::Underway(String::new()));
        assert_eq!(verdict(&again(3), &tasks), want);
        let mut once = service(1, "");
        let policy = RestartPolicy { condition: "none".to_owned(), ..RestartPolicy::default() };
        once.spec.task_template.restart_policy = Some(policy);
        assert_eq!(verdict(&once, &tasks[..1]), want);
    }
}
