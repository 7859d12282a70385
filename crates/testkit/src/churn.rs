//! Churn of a cluster's networks by chance, one step after another, and a model that says after each what every host's
//! containers and a machine outside must be told: names, VIPs, pointers, the mesh.
//!
//! ```text
//! step (docker CLI) ─► managers have settled (their tasks are what was asked for) ─► Expected ─► asked everywhere
//!                                                                                    └ the last wrong answer: the lag
//! ```
//! Names, addresses and ports that were in use once are asked for, too: nobody may answer. Of what was in use long ago a
//! part is asked for in each round, another one in the next: the questions must not grow with the steps.

mod ask;
mod model;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::fuzz::Dice;
use crate::hosts::Hosts;
use model::{Expected, Probe};

/// On both is a probe of each host.
const NETWORKS: [&str; 2] = ["red", "blue"];
/// More would only make each step slower.
const SERVICES: usize = 5;
const BOXES: usize = 3;
/// Tells its services from others of the cluster.
const LABEL: &str = "churn";
/// The first port that is published; each service has its own.
const FIRST_PORT: u16 = 7001;
/// A cluster that has not settled by then never will.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
/// Says which task it is, and ends at once.
const TASK: &str = "trap 'exit 0' TERM; mkdir -p /www; hostname > /www/id; \
    httpd -p 0.0.0.0:80 -h /www; sleep 86400 & wait";

/// What was asked for.
#[derive(Debug, Clone)]
struct Wish {
    network: &'static str,
    replicas: usize,
    has_vip: bool,
    port: Option<u16>,
    alias: String,
}

/// A cluster under churn.
#[derive(Debug)]
pub struct Churn {
    dice: Dice,
    managers: usize,
    /// Their ids.
    networks: BTreeMap<&'static str, String>,
    services: BTreeMap<String, Wish>,
    /// Containers that joined by themselves: on which host and network, with which address.
    boxes: BTreeMap<String, (usize, &'static str, Ipv4Addr)>,
    /// The host that is cut off: once its node is down nobody is led to its containers.
    away: Option<usize>,
    probes: Vec<Probe>,
    made: u16,
    past: Past,
}

/// What was in use at some time, and in which round last.
#[derive(Debug, Default)]
struct Past {
    round: u32,
    /// Names with their network.
    names: BTreeMap<String, u32>,
    addresses: BTreeMap<Ipv4Addr, u32>,
    ports: BTreeMap<u16, u32>,
}

/// What came of a step.
#[derive(Debug)]
pub struct Step {
    /// What was done.
    pub what: String,
    /// From when managers had settled until the last wrong answer.
    pub lag: Duration,
    /// What was told then.
    pub wrong: Vec<String>,
    /// Questions of the last round, all answered as they should be.
    pub questions: usize,
}

/// Everything is told as it should be.
#[derive(Debug, Default)]
pub struct Right {
    /// Until the last wrong answer.
    pub lag: Duration,
    /// Those of the last round that had any.
    pub wrong: Vec<String>,
    /// Of the last round.
    pub questions: usize,
}

impl Step {
    fn of(what: String, right: Right) -> Self {
        Step { what, lag: right.lag, wrong: right.wrong, questions: right.questions }
    }
}

impl Churn {
    /// Puts networks and probes on a cluster whose first `managers` hosts are managers.
    pub fn begin(hosts: &Hosts, managers: usize, seed: u64) -> Result<Self> {
        let mut churn = Churn {
            dice: Dice::new(seed),
            managers,
            networks: BTreeMap::new(),
            services: BTreeMap::new(),
            boxes: BTreeMap::new(),
            away: None,
            probes: Vec::new(),
            made: 0,
            past: Past::default(),
        };
        for network in NETWORKS {
            let words = ["network", "create", "-d", "overlay", "--attachable", network];
            let id = churn.manager(hosts, &words)?.trim().to_owned();
            churn.networks.insert(network, id);
        }
        for (number, host) in hosts.iter().enumerate() {
            let name = format!("probe{number}");
            let run = ["run", "-d", "--name", &name, "--network", NETWORKS[0], "busybox"];
            let sleep = ["sh", "-c", "trap 'exit 0' TERM; sleep 86400 & wait"];
            let id = host.docker(&[&run[..], &sleep].concat()).checked()?;
            for network in &NETWORKS[1..] {
                host.docker(&["network", "connect", network, &name]).checked()?;
            }
            let netns = host.exec_root().join("netns").join(id.trim());
            churn.probes.push(Probe { host: number, address: host.address(), netns });
        }
        Ok(churn)
    }

    /// One step, and the wait until everything is told as it should be, `within` at most after managers have settled.
    pub fn step(&mut self, hosts: &Hosts, within: Duration) -> Result<Step> {
        let what = self.change(hosts)?;
        let right = self.right(hosts, within).with_context(|| what.clone())?;
        Ok(Step::of(what, right))
    }

    /// As [`Churn::step`] while one host is cut off: nobody is asked there, and nothing is done there but by managers.
    pub fn step_elsewhere(&mut self, hosts: &Hosts, away: usize, within: Duration) -> Result<Step> {
        let what = match self.any_service() {
            Some(name) if self.services.len() >= SERVICES => self.scale(hosts, &name)?,
            _ => self.create(hosts)?,
        };
        let others: Vec<usize> = (0..self.probes.len()).filter(|host| *host != away).collect();
        self.away = Some(away);
        let right = self.right_on(hosts, &others, within).with_context(|| what.clone());
        self.away = None;
        Ok(Step::of(what, right?))
    }

    /// Waits until managers have settled and everything is told as it should be; the lag counts from then on.
    pub fn right(&mut self, hosts: &Hosts, within: Duration) -> Result<Right> {
        let all: Vec<usize> = (0..self.probes.len()).collect();
        let expected = self.settled(hosts)?;
        self.told(hosts, &expected, &all, within)
    }

    /// As [`Churn::right`], asking only on these hosts.
    pub fn right_on(&mut self, hosts: &Hosts, places: &[usize], within: Duration) -> Result<Right> {
        let expected = self.settled(hosts)?;
        self.told(hosts, &expected, places, within)
    }

    fn told(
        &self,
        hosts: &Hosts,
        expected: &Expected,
        places: &[usize],
        within: Duration,
    ) -> Result<Right> {
        let (since, mut right) = (Instant::now(), Right::default());
        loop {
            let asked = self.probes.iter().filter(|probe| places.contains(&probe.host));
            let (wrong, questions) = model::ask_everywhere(expected, asked, hosts.hub())?;
            if wrong.is_empty() {
                return Ok(Right { questions, ..right });
            }
            right.lag = since.elapsed();
            if right.lag >= within {
                bail!("still wrong after {within:?}:\n{}", wrong.join("\n"));
            }
            right.wrong = wrong;
            thread::sleep(PAUSE);
        }
    }

    fn change(&mut self, hosts: &Hosts) -> Result<String> {
        loop {
            let service = self.any_service();
            let done = match (self.dice.below(10), service) {
                (0 | 1, _) if self.services.len() < SERVICES => self.create(hosts)?,
                (2, Some(name)) => {
                    self.manager(hosts, &["service", "rm", &name])?;
                    self.services.remove(&name);
                    // They answer until they have ended.
                    let label = format!("label=com.docker.swarm.service.name={name}");
                    self.wait("its tasks to end", || {
                        let runs = |host: &crate::Host| {
                            host.docker(&["ps", "-q", "--filter", &label]).checked()
                        };
                        let running: Result<Vec<String>> = hosts.iter().map(runs).collect();
                        Ok(running?.iter().all(|ids| ids.trim().is_empty()))
                    })?;
                    format!("remove {name}")
                }
                (3..=5, Some(name)) => self.scale(hosts, &name)?,
                (6, Some(name)) => self.renew(hosts, &name)?,
                (7, Some(name)) => match self.kill_a_task(hosts, &name)? {
                    Some(done) => done,
                    None => continue,
                },
                (8, _) if self.boxes.len() < BOXES => self.run_box(hosts)?,
                (9, _) => match self.boxes.pop_first() {
                    Some((name, (host, ..))) => {
                        hosts[host].docker(&["rm", "-f", &name]).checked()?;
                        format!("remove {name}")
                    }
                    None => continue,
                },
                _ => continue,
            };
            return Ok(done);
        }
    }

    fn any_service(&mut self) -> Option<String> {
        let place = self.dice.below(self.services.len());
        self.services.keys().nth(place).cloned()
    }

    fn create(&mut self, hosts: &Hosts) -> Result<String> {
        self.made += 1;
        let name = format!("s{}", self.made % 97);
        let wish = Wish {
            network: NETWORKS[self.dice.below(NETWORKS.len())],
            replicas: 1 + self.dice.below(4),
            has_vip: self.dice.below(4) > 0,
            port: None,
            alias: format!("a{}", self.made % 13),
        };
        let port = FIRST_PORT + self.made % 29;
        let is_free = self.services.values().all(|other| other.port != Some(port));
        let port = Some(port).filter(|_| wish.has_vip && is_free && self.dice.below(3) > 0);
        let wish = Wish { port, ..wish };
        let replicas = wish.replicas.to_string();
        let network = format!("name={},alias={}", wish.network, wish.alias);
        let mut words = vec!["service", "create", "--detach", "--name", &name];
        words.extend(["--label", "churn=1", "--hostname", "{{.Task.ID}}", "--replicas", &replicas]);
        words.extend(["--network", &network, "--restart-delay", "0s", "--no-resolve-image"]);
        let publish = wish.port.map(|port| format!("{port}:80"));
        if let Some(publish) = &publish {
            words.extend(["--publish", publish]);
        }
        if !wish.has_vip {
            words.extend(["--endpoint-mode", "dnsrr"]);
        }
        words.extend(["busybox", "sh", "-c", TASK]);
        self.manager(hosts, &words)?;
        let done = format!("create {name}: {wish:?}");
        self.services.insert(name, wish);
        Ok(done)
    }

    fn scale(&mut self, hosts: &Hosts, name: &str) -> Result<String> {
        let replicas = self.dice.below(6);
        self.manager(hosts, &["service", "scale", "--detach", &format!("{name}={replicas}")])?;
        if let Some(wish) = self.services.get_mut(name) {
            wish.replicas = replicas;
        }
        Ok(format!("scale {name} to {replicas}"))
    }

    fn renew(&mut self, hosts: &Hosts, name: &str) -> Result<String> {
        let order = ["start-first", "stop-first"][self.dice.below(2)];
        let words = ["service", "update", "--detach", "--force", "--no-resolve-image"];
        let how = ["--update-order", order, "--update-parallelism", "2", name];
        self.manager(hosts, &[&words[..], &how].concat())?;
        let replicas = self.services.get(name).map_or(0, |wish| wish.replicas);
        // Until the update has begun the tasks look as if they had settled.
        let path = format!("/services/{name}");
        self.wait("the update", || {
            let state = self.ask(hosts, &path)?["UpdateStatus"]["State"].clone();
            ensure!(state != "paused", "the update is paused");
            Ok(state == "completed" || replicas == 0)
        })?;
        Ok(format!("update {name} {order}"))
    }

    fn kill_a_task(&mut self, hosts: &Hosts, name: &str) -> Result<Option<String>> {
        let host = self.dice.below(self.probes.len());
        let label = format!("label=com.docker.swarm.service.name={name}");
        let ids = hosts[host].docker(&["ps", "-q", "--filter", &label]).checked()?;
        let Some(id) = ids.lines().next() else { return Ok(None) };
        // It may be ending already.
        let _ended = hosts[host].docker(&["kill", id]);
        self.wait("the end to be told", || {
            let known = hosts[host].docker(&["ps", "-q", "--filter", &format!("id={id}")]);
            let tasks = self.tasks(hosts)?;
            let told = tasks.iter().all(|task| {
                let status = &task["Status"];
                let of = status["ContainerStatus"]["ContainerID"].as_str().unwrap_or_default();
                !of.starts_with(id) || status["State"] != "running"
            });
            Ok(known.stdout.trim().is_empty() && told)
        })?;
        Ok(Some(format!("kill a task of {name} on host {host}")))
    }

    fn run_box(&mut self, hosts: &Hosts) -> Result<String> {
        self.made += 1;
        let name = format!("b{}", self.made % 97);
        let host = self.dice.below(self.probes.len());
        let network = NETWORKS[self.dice.below(NETWORKS.len())];
        let run = ["run", "-d", "--name", &name, "--hostname", &name, "--network", network];
        hosts[host].docker(&[&run[..], &["busybox", "sh", "-c", TASK]].concat()).checked()?;
        let format = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
        let address = hosts[host].docker(&["inspect", "--format", &format, &name]).checked()?;
        let done = format!("run {name} on host {host} in {network}");
        self.boxes.insert(name, (host, network, address.trim().parse()?));
        Ok(done)
    }

    /// What must be told, once the managers' tasks are what was asked for.
    fn settled(&mut self, hosts: &Hosts) -> Result<Expected> {
        let mut expected = None;
        self.wait("the cluster to settle", || {
            expected = Some(self.expect(hosts)?);
            Ok(true)
        })?;
        let mut expected = expected.context("it has settled")?;
        let here = self.boxes.iter().filter(|(_, (host, ..))| self.away != Some(*host));
        for (name, (_, network, address)) in here {
            expected.join(name, network, *address);
        }
        expected.forget(&mut self.past);
        Ok(expected)
    }

    /// An error while it has not settled.
    fn expect(&self, hosts: &Hosts) -> Result<Expected> {
        let (services, tasks) = (self.ask(hosts, "/services")?, self.tasks(hosts)?);
        let nodes = self.ask(hosts, "/nodes")?;
        let down: BTreeSet<&str> = nodes
            .as_array()
            .into_iter()
            .flatten()
            .filter(|node| node["Status"]["State"] == "down")
            .filter_map(|node| node["ID"].as_str())
            .collect();
        let known = services.as_array().context("no list of services")?.iter();
        let known: Vec<&Value> = known.filter(|it| it["Spec"]["Labels"][LABEL] == "1").collect();
        ensure!(known.len() == self.services.len(), "{} services", known.len());
        let mut expected = Expected::default();
        for service in known {
            let name = service["Spec"]["Name"].as_str().unwrap_or_default();
            let wish = self.services.get(name).with_context(|| format!("{name} is there"))?;
            let own = tasks.iter().filter(|task| task["ServiceID"] == service["ID"]);
            let own =
                own.filter(|task| !down.contains(task["NodeID"].as_str().unwrap_or_default()));
            let own: Vec<&Value> = own.filter(|task| !model::has_ended(task)).collect();
            let is_wanted = |task: &&Value| {
                task["DesiredState"] == "running" && task["Status"]["State"] == "running"
            };
            ensure!(
                own.len() == wish.replicas && own.iter().all(is_wanted),
                "{name} has {} tasks: {own:?}",
                own.len()
            );
            let id = self.networks.get(wish.network).map_or("", String::as_str);
            expected.serve(name, wish, id, service, &own)?;
        }
        Ok(expected)
    }

    fn tasks(&self, hosts: &Hosts) -> Result<Vec<Value>> {
        let tasks = self.ask(hosts, "/tasks")?;
        Ok(tasks.as_array().cloned().unwrap_or_default())
    }

    fn wait(&self, what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let held = holds();
            if matches!(held, Ok(true)) {
                return Ok(());
            }
            if Instant::now() >= until {
                held.with_context(|| format!("waited in vain for {what}"))?;
                bail!("waited in vain for {what}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Asks the managers in turn: one of them may be gone or cut off.
    fn ask(&self, hosts: &Hosts, path: &str) -> Result<Value> {
        let mut last = anyhow::anyhow!("no manager runs");
        for host in hosts.iter().take(self.managers).filter(|host| host.is_started()) {
            match host.request("GET", path, b"") {
                Ok(reply) if reply.status == 200 => return Ok(reply.json()),
                Ok(reply) => last = anyhow::anyhow!("{path}: {} {}", reply.status, reply.text()),
                Err(err) => last = err,
            }
        }
        Err(last)
    }

    fn manager(&self, hosts: &Hosts, words: &[&str]) -> Result<String> {
        let mut last = anyhow::anyhow!("no manager runs");
        for host in hosts.iter().take(self.managers).filter(|host| host.is_started()) {
            match host.docker(words).checked() {
                Ok(said) => return Ok(said),
                Err(err) => last = err,
            }
        }
        Err(last)
    }
}
