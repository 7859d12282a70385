//! The words of the scenarios.
//!
//! A file is blocks of commands, `----`, and what they print. `#` starts a comment, a blank line ends a block.

use crate::world::{START, World};
use orchestrator::{Action, SpecSource, progress, roll_back};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;
use types::container::Nanos;
use types::mount::Mount;
use types::swarm::extension::{
    Backoff, Capacity, DEPLOYMENT_LABEL, DependencyCondition, Overlap, Rebalance, Schedule,
    ServiceExtensions,
};
use types::swarm::service::{
    EndpointSpec, Global, Mode, PortConfig, Replicated, ReplicatedJob, ServiceSpec, UpdateConfig,
};
use types::swarm::task::{Placement, PullOptions, RestartPolicy, Task, TaskState};
use types::{NodeId, TaskId};

pub(crate) struct Script {
    pub(crate) world: World,
    created: bool,
}

impl Script {
    pub(crate) fn new() -> Self {
        Script { world: World::new(), created: false }
    }

    /// Runs one line; returns what it prints.
    pub(crate) fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut out = String::new();
        match words.as_slice() {
            ["nodes", names @ ..] => names.iter().for_each(|name| self.world.add_node(name)),
            ["node", name, state] => self.world.set_node(name, state),
            ["service", wishes @ ..] => self.service(wishes),
            ["remove-service"] => self.world.removed = true,
            ["rollback"] => match roll_back(&self.world.service, self.world.now) {
                Ok(service) => self.world.service = service,
                Err(err) => writeln!(out, "{err}").unwrap(),
            },
            ["dependency", name, states @ ..] => {
                let known = self.world.dependencies.entry((*name).to_owned()).or_default();
                known.started = states.contains(&"started");
                known.healthy = states.contains(&"healthy");
                known.completed = states.contains(&"completed");
            }
            ["history", limit] => self.world.defaults.history_limit = limit.parse().unwrap(),
            ["scheduler", state] => self.world.scheduler_sleeps = *state == "sleeps",
            ["wait", time] => {
                let wait = Duration::from_nanos(nanos(time).unsigned_abs());
                self.world.now = self.world.now.after(wait);
            }
            ["fail", ids @ ..] => self.report(ids, TaskState::Failed, "task: non-zero exit (1)"),
            ["complete", ids @ ..] => self.report(ids, TaskState::Complete, ""),
            ["decide"] => {
                self.decide(&mut out);
            }
            ["agents"] => while self.world.agents() {},
            ["go"] => self.go(&mut out),
            ["settle"] => self.go(&mut String::new()),
            ["crash-loop", times] => self.crash_loop(times.parse().unwrap(), &mut out),
            ["show"] => self.show(&mut out),
            ["deployments"] => self.deployments(&mut out),
            ["why"] => self.why(&mut out),
            ["progress"] => {
                let tasks: Vec<&Task> = self.world.tasks.values().collect();
                let now = progress(&self.world.service, &tasks);
                let (running, desired) = (now.running, now.desired);
                let (completed, converged) = (now.completed, now.converged);
                writeln!(
                    out,
                    "{running}/{desired} running, {completed} completed, converged: {converged}"
                )
                .unwrap();
            }
            other => panic!("no command {other:?}"),
        }
        out
    }

    fn report(&mut self, ids: &[&str], state: TaskState, err: &str) {
        for id in ids {
            self.world.report(&TaskId::new(*id), state, err);
        }
    }

    fn service(&mut self, wishes: &[&str]) {
        let mut spec = self.world.service.spec.clone();
        wishes.iter().for_each(|wish| set(&mut spec, wish));
        self.world.set_spec(spec, !self.created);
        self.created = true;
    }

    fn decide(&mut self, out: &mut String) -> bool {
        let mut any = false;
        for round in 0.. {
            assert!(round < 8, "no fixed point: {:?}", self.world.decide().actions);
            let decision = self.world.decide();
            if decision.actions.is_empty() {
                break;
            }
            any = true;
            for action in &decision.actions {
                let line = self.tell(action);
                let id = self.world.commit(action);
                writeln!(out, "{line}{}", id.map_or(String::new(), |id| format!(" as {id}")))
                    .unwrap();
            }
        }
        any
    }

    fn go(&mut self, out: &mut String) {
        for round in 0.. {
            assert!(round < 200, "the world does not come to rest");
            let decided = self.decide(out);
            let moved = self.world.agents();
            if !decided && !moved {
                break;
            }
        }
    }

    /// Lets every started task fail at once, `times` times, as fast as policy restarts them.
    fn crash_loop(&mut self, times: u64, out: &mut String) {
        for _ in 0..times {
            self.go(&mut String::new());
            let running = |task: &&Task| task.status.state == TaskState::Running;
            let ids: Vec<TaskId> =
                self.world.tasks.values().filter(running).map(|task| task.id.clone()).collect();
            ids.iter().for_each(|id| self.world.report(id, TaskState::Failed, "boom"));
            let failed = self.world.now;
            self.go(&mut String::new());
            let wake = self.world.decide().wake_at.unwrap();
            writeln!(
                out,
                "{} failed, next restart after {}s",
                ids.len(),
                wake.since(failed).as_secs()
            )
            .unwrap();
            self.world.now = wake;
        }
    }

    fn tell(&self, action: &Action) -> String {
        let name = |id: &TaskId| {
            let task = &self.world.tasks[id];
            format!("{id} ({})", place(task.slot, Some(&task.node_id)))
        };
        match action {
            Action::CreateTask(new) => {
                let mut line = format!("create {}", place(new.slot, new.node.as_ref()));
                if let (Some(node), true) = (&new.node, new.slot > 0) {
                    write!(line, " on {node}").unwrap();
                }
                if let Some(run) = new.job_iteration {
                    write!(line, " of run {}", run.index).unwrap();
                }
                write!(line, ", {:?}", new.record.cause).unwrap();
                if let SpecSource::SameAs(old) = &new.spec {
                    write!(line, ", spec of {old}").unwrap();
                }
                write!(line, ", desired {}", new.desired.as_str()).unwrap();
                line.to_lowercase()
            }
            Action::SetDesired { task, desired, stop: None } => {
                format!("start {} (desired {})", name(task), desired.as_str())
            }
            Action::SetDesired { task, desired, stop: Some(stop) } => {
                format!("{} {}: {stop:?}", desired.as_str(), name(task))
            }
            Action::Orphan { task, message } => format!("orphan {}: {message}", name(task)),
            Action::DeleteTask { task } => format!("delete {}", name(task)),
            Action::SetUpdate { status, .. } => {
                format!("update {}: {}", status.state, status.message)
            }
            Action::RollBack { status, .. } => {
                format!("roll back, update {}: {}", status.state, status.message)
            }
            Action::Converged { .. } => "the deployment has converged".to_owned(),
            Action::SetJob { status } => format!("run {} begins", status.job_iteration.index),
            Action::SetSchedule { last_fire, skipped } => {
                format!("schedule used up to {}, {skipped} skipped", self.clock(*last_fire))
            }
        }
    }

    fn clock(&self, at: types::Timestamp) -> String {
        format!("{:+}s", at.seconds() - START)
    }

    fn deployments(&self, out: &mut String) {
        for it in self.world.service.record.iter().flat_map(|record| &record.deployments) {
            let ended = it.ended_at.map_or("…".to_owned(), |at| self.clock(at));
            let (number, state) = (it.number, it.state.as_str());
            let line =
                format!("{number} {} to {ended}: {state} {}", self.clock(it.started_at), it.reason);
            writeln!(out, "{}", line.trim_end()).unwrap();
        }
    }

    fn show(&self, out: &mut String) {
        let mut tasks: Vec<&Task> = self.world.tasks.values().collect();
        tasks.sort_by_key(|task| (task.slot, &task.node_id, task.record.run));
        let alive: BTreeSet<_> = tasks.iter().map(|task| &task.id).collect();
        assert_eq!(alive.len(), tasks.len());
        for task in tasks {
            let node = if task.node_id.as_str().is_empty() { "-" } else { task.node_id.as_str() };
            let image = task.spec.container_spec.as_ref().map_or("", |spec| &spec.image);
            writeln!(
                out,
                "slot {} {} on {node}: {} {}, desired {}",
                task.slot,
                task.id,
                image,
                task.status.state.as_str(),
                task.desired_state.as_str(),
            )
            .unwrap();
        }
        if let Some(status) = &self.world.service.update_status {
            writeln!(out, "update {}: {}", status.state, status.message).unwrap();
        }
    }

    fn why(&self, out: &mut String) {
        let decision = self.world.decide();
        for wait in &decision.waits {
            let whose = match (wait.slot, &wait.node) {
                (0, None) => "service".to_owned(),
                (slot, node) => place(slot, node.as_ref()),
            };
            writeln!(out, "{whose}: {}", wait.reason).unwrap();
        }
        if let Some(wake) = decision.wake_at {
            writeln!(out, "looks again in {}s", wake.since(self.world.now).as_secs()).unwrap();
        }
    }
}

fn place(slot: u64, node: Option<&NodeId>) -> String {
    match node {
        Some(node) if slot == 0 => format!("node {node}"),
        _ => format!("slot {slot}"),
    }
}

fn nanos(text: &str) -> Nanos {
    let split = text.find(|c: char| c.is_alphabetic()).unwrap();
    let number: f64 = text[..split].parse().unwrap();
    let unit = match &text[split..] {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        other => panic!("no unit {other}"),
    };
    (number * unit * 1e9) as Nanos
}

fn set(spec: &mut ServiceSpec, wish: &str) {
    let (key, value) = wish.split_once('=').unwrap_or((wish, ""));
    let template = &mut spec.task_template;
    match key {
        "name" => spec.name = value.to_owned(),
        "deployment" => {
            spec.labels.insert(DEPLOYMENT_LABEL.to_owned(), value.to_owned());
        }
        "image" => {
            template.container_spec.get_or_insert_default().image = value.to_owned();
        }
        "credential" => {
            let registry_auth = value.to_owned();
            let container = template.container_spec.get_or_insert_default();
            container.pull_options = Some(PullOptions { registry_auth });
        }
        "force" => template.force_update += 1,
        "restart" => restart(spec).condition = value.to_owned(),
        "restart-delay" => restart(spec).delay = Some(nanos(value)),
        "attempts" => restart(spec).max_attempts = Some(value.parse().unwrap()),
        "window" => restart(spec).window = Some(nanos(value)),
        "max-per-node" => {
            template.placement =
                Some(Placement { max_replicas: value.parse().unwrap(), ..Placement::default() });
        }
        "volume" => {
            let mounts = &mut template.container_spec.get_or_insert_default().mounts;
            mounts.push(Mount::default());
        }
        "host-port" => {
            let port = PortConfig {
                published_port: value.parse().unwrap(),
                publish_mode: "host".to_owned(),
                ..PortConfig::default()
            };
            spec.endpoint_spec =
                Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() });
        }
        _ if set_mode(spec, key, value) => {}
        _ if set_update(spec, key, value) => {}
        _ => set_extension(spec.sampan.get_or_insert_default(), key, value),
    }
}

fn restart(spec: &mut ServiceSpec) -> &mut RestartPolicy {
    spec.task_template.restart_policy.get_or_insert_default()
}

fn set_mode(spec: &mut ServiceSpec, key: &str, value: &str) -> bool {
    match key {
        "replicas" => {
            let replicas = Some(value.parse().unwrap());
            spec.mode = Mode { replicated: Some(Replicated { replicas }), ..Mode::default() };
        }
        "global" => spec.mode = Mode { global: Some(Global {}), ..Mode::default() },
        "global-job" => spec.mode = Mode { global_job: Some(Global {}), ..Mode::default() },
        "job" => {
            let (concurrent, total) = value.split_once('/').unwrap();
            spec.mode = Mode {
                replicated_job: Some(ReplicatedJob {
                    max_concurrent: Some(concurrent.parse().unwrap()),
                    total_completions: Some(total.parse().unwrap()),
                }),
                ..Mode::default()
            };
        }
        _ => return false,
    }
    true
}

fn set_update(spec: &mut ServiceSpec, key: &str, value: &str) -> bool {
    let (config, key) = match key.strip_prefix("rollback-") {
        Some(key) => (&mut spec.rollback_config, key),
        None => (&mut spec.update_config, key),
    };
    let known = ["parallelism", "delay", "monitor", "ratio", "on-failure", "order"];
    if !known.contains(&key) {
        return false;
    }
    let one = UpdateConfig { parallelism: 1, ..UpdateConfig::default() };
    let config = config.get_or_insert(one);
    match key {
        "parallelism" => config.parallelism = value.parse().unwrap(),
        "delay" => config.delay = nanos(value),
        "monitor" => config.monitor = nanos(value),
        "ratio" => config.max_failure_ratio = value.parse().unwrap(),
        "on-failure" => config.failure_action = value.to_owned(),
        _ => config.order = value.to_owned(),
    }
    true
}

fn set_extension(wishes: &mut ServiceExtensions, key: &str, value: &str) {
    let backoff = Backoff::default;
    match key {
        "paused" => wishes.paused = value != "no",
        "depends-on" => {
            let (service, condition) = value.split_once(':').unwrap();
            let condition = match condition {
                "started" => DependencyCondition::Started,
                "healthy" => DependencyCondition::Healthy,
                "completed" => DependencyCondition::Completed,
                other => panic!("no condition {other}"),
            };
            wishes.depends_on.insert(service.to_owned(), condition);
        }
        "rebalance" => {
            let budget = value.parse().unwrap();
            wishes.rebalance = Some(Rebalance { budget, cool_down: None });
        }
        "capacity" => {
            let (minimum, over) = value.split_once('/').unwrap();
            wishes.capacity = Some(Capacity {
                minimum_health: minimum.parse().unwrap(),
                maximum_over: over.parse().unwrap(),
            });
        }
        "backoff-factor" => {
            wishes.backoff.get_or_insert_with(backoff).factor = Some(value.parse().unwrap());
        }
        "max-launch-delay" => {
            wishes.backoff.get_or_insert_with(backoff).max_launch_delay = Some(nanos(value));
        }
        "down-grace" => wishes.down_grace = Some(nanos(value)),
        "every" => schedule(wishes).cron = value.replace('_', " "),
        "zone" => schedule(wishes).time_zone = value.to_owned(),
        "deadline" => schedule(wishes).starting_deadline = Some(nanos(value)),
        "keep" => schedule(wishes).history = Some(value.parse().unwrap()),
        "overlap" => {
            schedule(wishes).overlap = match value {
                "allow" => Overlap::Allow,
                "forbid" => Overlap::Forbid,
                "replace" => Overlap::Replace,
                other => panic!("no overlap {other}"),
            };
        }
        other => panic!("no wish {other}"),
    }
}

fn schedule(wishes: &mut ServiceExtensions) -> &mut Schedule {
    wishes.schedule.get_or_insert_default()
}
