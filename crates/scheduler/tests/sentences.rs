//! One test for each promise of the scheduler.

#[path = "support/small.rs"]
mod support;

use scheduler::{Decision, Filter, Scheduler, suits, validate};
use std::sync::Arc;
use support::{cluster, generic, node, now, run, service, spec, tasks, told};
use types::swarm::node::{Availability, NodeState};
use types::swarm::placement::{Affinity, PlacementExtensions, SpreadWeight, Strategy};
use types::swarm::service::{PortConfig, ServiceSpec};
use types::swarm::task::{Platform, Task, TaskState};
use types::swarm::volume::ClusterVolume;
use types::{NodeId, ServiceId, Timestamp, VolumeId};

fn marathon(words: &[&str]) -> PlacementExtensions {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    PlacementExtensions { constraints: vec![words], ..PlacementExtensions::default() }
}

#[test]
fn a_refusal_tallies_in_dockers_words_most_nodes_first() {
    let mut scheduler = cluster(&["n1 cpu=1 d=a", "n2 cpu=1 d=a", "n3 d=b", "n4 d=b", "n5 d=b"]);
    assert_eq!(
        run(&mut scheduler, "web", 1, "cpu=2 if:node.labels.d==a"),
        [
            "web.1 no suitable node (scheduling constraints not satisfied on 3 nodes; insufficient resources on 2 nodes)"
        ]
    );
    assert_eq!(
        told(&Scheduler::new().decide(&tasks("web", 1, &spec("")), now())),
        ["web.1 no suitable node"]
    );
}

#[test]
fn why_names_each_node_and_the_figures() {
    let mut scheduler = cluster(&["n1 cpu=1", "n2 d=b"]);
    let mut paused = node("n3");
    paused.spec.availability = Availability::Pause;
    scheduler.set_node(paused);
    scheduler.set_node(node("n4 d=a"));
    let task = &tasks("web", 1, &spec("cpu=2 if:node.labels.d==a"))[0];
    let verdicts = scheduler.why(task, now()).unwrap();
    let lines: Vec<String> = verdicts
        .iter()
        .map(|verdict| {
            format!(
                "{}: {}",
                verdict.node,
                verdict.reason.as_ref().map_or("fits".to_owned(), ToString::to_string)
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "n1: cpu: 2 wanted, 1 free",
            "n2: node.labels.d == a does not hold for \"b\"",
            "n3: the node is ready and its availability pause",
            "n4: fits",
        ]
    );
    assert_eq!(verdicts[0].filter, Some(Filter::Resources));
}

#[test]
fn tasks_go_where_the_service_has_fewest_then_where_all_have_fewest_then_by_id() {
    let mut scheduler = cluster(&["n3", "n1", "n2"]);
    assert_eq!(run(&mut scheduler, "a", 4, ""), ["a.1 n1", "a.2 n2", "a.3 n3", "a.4 n1"]);
    assert_eq!(run(&mut scheduler, "b", 3, ""), ["b.1 n2", "b.2 n3", "b.3 n1"]);
}

#[test]
fn a_down_or_drained_node_takes_nothing_and_one_that_returns_does() {
    let mut scheduler = cluster(&["n1"]);
    let mut down = node("n1");
    down.status.state = NodeState::Down;
    scheduler.set_node(down);
    assert_eq!(
        run(&mut scheduler, "a", 1, ""),
        ["a.1 no suitable node (1 node not available for new tasks)"]
    );
    scheduler.set_node(node("n1"));
    assert_eq!(run(&mut scheduler, "a", 1, ""), ["a.1 n1"]);
    scheduler.remove_node(&NodeId::new("n1"));
    assert_eq!(run(&mut scheduler, "b", 1, ""), ["b.1 no suitable node"]);
}

#[test]
fn x86_64_is_amd64_and_another_architecture_is_refused() {
    let with = |architecture: &str| {
        let mut spec = (*spec("")).clone();
        let platform = Platform { architecture: architecture.to_owned(), os: "linux".to_owned() };
        spec.placement.as_mut().unwrap().platforms = vec![platform];
        Arc::new(spec)
    };
    let mut scheduler = cluster(&["n1"]);
    assert_eq!(told(&scheduler.decide(&tasks("a", 1, &with("amd64")), now())), ["a.1 n1"]);
    assert_eq!(
        told(&scheduler.decide(&tasks("b", 1, &with("arm64")), now())),
        ["b.1 no suitable node (unsupported platform on 1 node)"]
    );
    assert!(suits(&with("amd64"), &node("n1")) && !suits(&with("arm64"), &node("n1")));
}

#[test]
fn generic_resources_are_given_by_name_first_and_come_back() {
    let mut scheduler = cluster(&["n1 gpu:a gpu:b gpu=1"]);
    let decisions = scheduler.decide(&tasks("ml", 3, &spec("gpu=2")), now());
    let Decision::Assign { generic_resources, task, node, .. } = &decisions[0] else {
        panic!("{decisions:?}")
    };
    assert_eq!(*generic_resources, [generic("gpu:a"), generic("gpu:b")]);
    assert_eq!(told(&decisions)[1], "ml.2 no suitable node (insufficient resources on 1 node)");
    scheduler.release(task, node);
    assert_eq!(
        run(&mut scheduler, "x", 2, "gpu:b")[..],
        ["x.1 n1", "x.2 no suitable node (insufficient resources on 1 node)"]
    );
    assert_eq!(run(&mut scheduler, "y", 1, "gpu=2"), ["y.1 n1"]);
}

#[test]
fn a_host_port_is_held_until_the_task_has_ended() {
    let mut scheduler = cluster(&["n1"]);
    let with_port = |name: &str| {
        let mut task = Task::clone(&tasks(name, 1, &spec(""))[0]);
        let port = PortConfig {
            published_port: 80,
            publish_mode: "host".to_owned(),
            ..PortConfig::default()
        };
        task.record.host_ports = vec![port];
        task
    };
    let mut first = with_port("a");
    assert_eq!(told(&scheduler.decide(&[Arc::new(first.clone())], now())), ["a.1 n1"]);
    first.node_id = NodeId::new("n1");
    first.status.state = TaskState::Running;
    first.desired_state = TaskState::Shutdown;
    scheduler.set_task(&first);
    let second = [Arc::new(with_port("b"))];
    assert_eq!(
        told(&scheduler.decide(&second, now())),
        ["b.1 no suitable node (host-mode port already in use on 1 node)"]
    );
    first.status.state = TaskState::Shutdown;
    scheduler.set_task(&first);
    assert_eq!(told(&scheduler.decide(&second, now())), ["b.1 n1"]);
}

#[test]
fn max_replicas_per_node_is_kept() {
    let mut scheduler = cluster(&["n1", "n2"]);
    assert_eq!(
        run(&mut scheduler, "a", 3, "max=1"),
        ["a.1 n1", "a.2 n2", "a.3 no suitable node (max replicas per node limit exceed)"]
    );
}

#[test]
fn a_volume_pins_its_tasks_to_its_node() {
    let mut scheduler = cluster(&["n1", "n2"]);
    let mut wanting = (*spec("")).clone();
    let mut container = types::swarm::task::ContainerSpec::default();
    container.mounts.push(types::mount::Mount {
        kind: "cluster".to_owned(),
        source: "data".to_owned(),
        ..types::mount::Mount::default()
    });
    wanting.container_spec = Some(container);
    let pending = tasks("db", 1, &Arc::new(wanting));
    assert_eq!(
        told(&scheduler.decide(&pending, now())),
        ["db.1 no suitable node (cannot fulfill requested CSI volume mounts on 2 nodes)"]
    );
    let mut volume = ClusterVolume { id: VolumeId::new("v1"), ..ClusterVolume::default() };
    volume.spec.name = "data".to_owned();
    volume.nodes = vec![NodeId::new("n2")];
    scheduler.set_volume(volume);
    assert_eq!(told(&scheduler.decide(&pending, now())), ["db.1 n2"]);
}

#[test]
fn two_levels_of_spread_come_before_the_nodes_load() {
    let mut scheduler =
        cluster(&["n1 zone=a rack=1", "n2 zone=a rack=2", "n3 zone=b rack=3", "n4 zone=b rack=3"]);
    assert_eq!(
        run(&mut scheduler, "a", 4, "spread=zone spread=rack"),
        ["a.1 n1", "a.2 n3", "a.3 n2", "a.4 n4"]
    );
}

#[test]
fn a_weighted_spread_follows_capacity() {
    let mut scheduler = cluster(&["n1 zone=a", "n2 zone=a", "n3 zone=b"]);
    let weighted = PlacementExtensions {
        spread_weight: SpreadWeight::Nodes,
        ..PlacementExtensions::default()
    };
    scheduler.set_service(&service("a", weighted));
    assert_eq!(run(&mut scheduler, "a", 3, "spread=zone"), ["a.1 n1", "a.2 n2", "a.3 n3"]);
}

#[test]
fn bin_packing_fills_one_node_before_the_next() {
    let mut scheduler = cluster(&["n1 cpu=4", "n2 cpu=4"]);
    let packed =
        PlacementExtensions { strategy: Strategy::Binpack, ..PlacementExtensions::default() };
    scheduler.set_service(&service("a", packed));
    assert_eq!(run(&mut scheduler, "a", 3, "cpu=2"), ["a.1 n1", "a.2 n1", "a.3 n2"]);
}

#[test]
fn five_failures_within_five_minutes_make_a_node_the_last_choice() {
    let mut scheduler = cluster(&["n1", "n2"]);
    for mut failed in tasks("a", 5, &spec("")).into_iter().map(|task| Task::clone(&task)) {
        failed.node_id = NodeId::new("n1");
        failed.status.state = TaskState::Failed;
        failed.status.timestamp = now();
        scheduler.set_task(&failed);
    }
    let pending = tasks("a", 3, &spec(""));
    assert_eq!(told(&scheduler.decide(&pending, now())), ["a.1 n2", "a.2 n2", "a.3 n2"]);
    assert_eq!(run(&mut scheduler, "b", 1, ""), ["b.1 n1"]);
    let later = Timestamp::from_seconds(now().seconds() + 301);
    assert_eq!(told(&scheduler.decide(&tasks("c", 1, &spec("")), later)), ["c.1 n1"]);
    let four = tasks("a", 4, &spec(""));
    assert_eq!(told(&scheduler.decide(&four[3..], later)), ["a.4 n1"]);
}

#[test]
fn marathons_constraints_hold() {
    let nodes = ["n1 rack=1", "n2 rack=1", "n3 rack=2", "n4"];
    let placed = |words: &[&str], count| {
        let mut scheduler = cluster(&nodes);
        scheduler.set_service(&service("a", marathon(words)));
        run(&mut scheduler, "a", count, "")
    };
    let refused = "no suitable node (scheduling constraints not satisfied on 4 nodes)";
    assert_eq!(placed(&["rack", "UNIQUE"], 3), ["a.1 n1", "a.2 n3", &format!("a.3 {refused}")]);
    assert_eq!(placed(&["hostname", "UNIQUE"], 5)[4], format!("a.5 {refused}"));
    assert_eq!(placed(&["rack", "MAX_PER", "1"], 3)[2], format!("a.3 {refused}"));
    assert_eq!(placed(&["rack", "CLUSTER"], 3), ["a.1 n1", "a.2 n2", "a.3 n1"]);
    assert_eq!(placed(&["rack", "CLUSTER", "2"], 2), ["a.1 n3", "a.2 n3"]);
    assert_eq!(placed(&["rack", "GROUP_BY"], 3), ["a.1 n4", "a.2 n1", "a.3 n3"]);
    assert_eq!(placed(&["hostname", "LIKE", "host-n[34]"], 2), ["a.1 n3", "a.2 n4"]);
    assert_eq!(placed(&["rack", "UNLIKE", "1"], 2), ["a.1 n3", "a.2 n4"]);
}

#[test]
fn affinity_follows_the_other_service_as_it_moves() {
    let wish = |anti, required| PlacementExtensions {
        affinities: vec![Affinity {
            service: "db".to_owned(),
            over: "node.labels.rack".to_owned(),
            anti,
            required,
        }],
        ..PlacementExtensions::default()
    };
    let mut scheduler = cluster(&["n1 rack=1", "n2 rack=1", "n3 rack=2"]);
    scheduler.set_service(&service("near", wish(false, true)));
    scheduler.set_service(&service("far", wish(true, true)));
    scheduler.set_service(&service("rather", wish(false, false)));
    let nowhere = "no suitable node (service affinity not satisfied on 3 nodes)";
    assert_eq!(run(&mut scheduler, "near", 1, ""), [format!("near.1 {nowhere}")]);
    let db = Arc::new(Task {
        id: types::TaskId::new("db.1"),
        ..Task::clone(&tasks("db", 1, &spec("if:node.id==n3"))[0])
    });
    assert_eq!(told(&scheduler.decide(&[db], now())), ["db.1 n3"]);
    assert_eq!(run(&mut scheduler, "near", 1, ""), ["near.1 n3"]);
    assert_eq!(run(&mut scheduler, "rather", 2, ""), ["rather.1 n3", "rather.2 n3"]);
    assert_eq!(run(&mut scheduler, "far", 2, ""), ["far.1 n1", "far.2 n2"]);
    scheduler.release(&types::TaskId::new("db.1"), &NodeId::new("n3"));
    let three = tasks("near", 3, &spec(""));
    assert_eq!(told(&scheduler.decide(&three[2..], now())), [format!("near.3 {nowhere}")]);
}

#[test]
fn a_higher_priority_takes_the_place_of_the_fewest_lowest_and_then_waits() {
    let mut scheduler = cluster(&["n1 cpu=4", "n2 cpu=4"]);
    let with = |priority, preempt| PlacementExtensions {
        priority,
        preempt,
        ..PlacementExtensions::default()
    };
    scheduler.set_service(&service("low", with(1, false)));
    scheduler.set_service(&service("mid", with(5, false)));
    scheduler.set_service(&service("top", with(9, true)));
    assert_eq!(run(&mut scheduler, "mid", 2, "cpu=3"), ["mid.1 n1", "mid.2 n2"]);
    assert_eq!(run(&mut scheduler, "low", 1, "cpu=1 if:node.id==n2"), ["low.1 n2"]);
    assert_eq!(run(&mut scheduler, "top", 1, "cpu=1"), ["top.1 n1"]);
    let pending = tasks("top", 3, &spec("cpu=1"));
    assert_eq!(
        told(&scheduler.decide(&pending[1..2], now())),
        ["top.2 ends [TaskId(low.1)] on n2"]
    );
    assert_eq!(
        told(&scheduler.decide(&pending[1..2], now())),
        ["top.2 waiting for tasks to stop on node n2"]
    );
    assert_eq!(
        told(&scheduler.decide(&pending[1..], now())),
        ["top.2 waiting for tasks to stop on node n2", "top.3 ends [TaskId(mid.1)] on n1"]
    );
    scheduler.release(&types::TaskId::new("low.1"), &NodeId::new("n2"));
    assert_eq!(told(&scheduler.decide(&pending[1..2], now())), ["top.2 n2"]);
}

#[test]
fn a_task_of_a_global_service_is_checked_on_its_own_node() {
    let mut scheduler = cluster(&["n1 cpu=1", "n2 cpu=4"]);
    let on = |node: &str| {
        let mut task = Task::clone(&tasks("agent", 1, &spec("cpu=2"))[0]);
        task.node_id = NodeId::new(node);
        [Arc::new(task)]
    };
    assert_eq!(
        told(&scheduler.decide(&on("n1"), now())),
        ["agent.1 no suitable node (insufficient resources on 1 node)"]
    );
    assert_eq!(told(&scheduler.decide(&on("n2"), now())), ["agent.1 n2"]);
}

#[test]
fn a_spec_that_no_scheduler_can_read_is_refused_with_the_reason() {
    let check = |words: &str, placement: PlacementExtensions| {
        let mut spec = ServiceSpec::default();
        spec.task_template = (*self::spec(words)).clone();
        spec.sampan = service("a", placement).spec.sampan;
        validate(&spec).map_err(|error| error.to_string())
    };
    let plain = PlacementExtensions::default;
    assert_eq!(check("if:node.id==n1", plain()), Ok(()));
    assert_eq!(
        check("if:node.id", plain()),
        Err("constraint expected one operator from ==, !=".to_owned())
    );
    assert_eq!(
        check("", marathon(&["rack", "MAX_PER", "0"])),
        Err("operator MAX_PER expects a number above 0, not '0'".to_owned())
    );
    assert_eq!(
        check("", marathon(&["rack", "LIKE", "("])),
        Err("operator LIKE expects a regular expression, not '('".to_owned())
    );
    let mut scheduler = cluster(&["n1"]);
    assert_eq!(
        run(&mut scheduler, "a", 1, "if:oops"),
        ["a.1 no suitable node (constraint expected one operator from ==, !=)"]
    );
    scheduler.remove_service(&ServiceId::new("a"));
}
