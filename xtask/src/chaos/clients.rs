//! Clients that write all the time, through whichever manager, and remember what they were answered.
//!
//! | what | by whom | must hold |
//! |---|---|---|
//! | configs `w…` | one client each | created: there with its content; removed: gone |
//! | configs `r…` (registers) | all clients | reads and versioned updates have an order |
//! | services `s…` | one client each | the last acknowledged update, or a later one in doubt |
//!
//! What was not answered is in doubt: it may be there or not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};
use testkit::{Response, Unsent};

use super::history::{Call, Did, Value};

/// Registers: few, so that clients meet.
pub(crate) const REGISTERS: usize = 4;
/// Longer than the daemon itself tries.
const PATIENCE: Duration = Duration::from_secs(40);
/// A service runs at most so many tasks.
const REPLICAS: u64 = 2;

/// What all clients share.
pub(crate) struct Shared {
    sockets: Vec<PathBuf>,
    clock: Instant,
    over: AtomicBool,
    ledger: Mutex<Ledger>,
    registers: Vec<String>,
}

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counts: Counts,
    /// Configs that must be there, and what they hold.
    pub(crate) kept: BTreeMap<String, Value>,
    /// Configs whose removal was acknowledged.
    pub(crate) gone: BTreeSet<String>,
    /// By name: what the service's label may say.
    pub(crate) services: BTreeMap<String, Vec<Value>>,
    /// By register.
    pub(crate) calls: Vec<Vec<Call>>,
    /// Answers that no sound cluster gives.
    pub(crate) wrong: Vec<String>,
    /// When a write was last acknowledged, and the longest time without.
    last_write: Duration,
    pub(crate) longest_gap: Duration,
    next_value: Value,
}

/// How many calls ended how.
#[derive(Debug, Default, Clone, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    pub(crate) acknowledged: u64,
    /// Refused for their version: another write came first.
    pub(crate) refused: u64,
    /// No answer, or one that leaves it open.
    pub(crate) doubtful: u64,
    /// Nobody listened.
    pub(crate) unsent: u64,
    /// Calls of registers, as the checker sees them.
    pub(crate) calls: usize,
}

/// How a write ended.
enum Written {
    Yes(Json),
    OutOfSequence,
    Doubtful,
    Unsent,
}

impl Shared {
    /// Makes the registers; they hold 0.
    pub(crate) fn start(sockets: Vec<PathBuf>) -> Result<Self> {
        let mut shared = Shared {
            sockets,
            clock: Instant::now(),
            over: AtomicBool::new(false),
            ledger: Mutex::default(),
            registers: Vec::new(),
        };
        for register in 0..REGISTERS {
            let spec = config(&format!("r{register}"), 0);
            let reply = shared.send(0, "POST", "/configs/create", &spec)?;
            ensure!(reply.status == 201, "creating a register: {}", reply.text());
            shared.registers.push(reply.json()["ID"].as_str().context("no id")?.to_owned());
        }
        let mut ledger = shared.ledger();
        ledger.calls = vec![Vec::new(); REGISTERS];
        ledger.next_value = 1;
        ledger.last_write = shared.clock.elapsed();
        drop(ledger);
        Ok(shared)
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Through the manager with this number.
    pub(crate) fn send(
        &self,
        manager: usize,
        method: &str,
        path: &str,
        body: &Json,
    ) -> Result<Response> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let path = format!("/v1.41{path}");
        testkit::request(&self.sockets[manager], method, &path, body.as_bytes(), PATIENCE)
    }
}

fn config(name: &str, value: Value) -> Json {
    let text = value.to_string();
    json!({ "Name": name, "Labels": { "v": text }, "Data": BASE64.encode(text) })
}

/// What a config holds, said twice: a half written one shows.
fn value_of(config: &Json) -> Option<Value> {
    let spec = &config["Spec"];
    let label = spec["Labels"]["v"].as_str()?;
    let data = BASE64.decode(spec["Data"].as_str()?).ok()?;
    (label.as_bytes() == data).then(|| label.parse().ok()).flatten()
}

/// One client, on a thread of its own.
pub(crate) struct Client<'a> {
    shared: &'a Shared,
    number: usize,
    random: StdRng,
    /// The configs it made and did not remove.
    own: Vec<(String, String)>,
    turn: u64,
    service: Option<String>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(shared: &'a Shared, number: usize, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ (number as u64 + 1) << 32);
        Client { shared, number, random, own: Vec::new(), turn: 0, service: None }
    }

    /// Until the clients are told to end.
    pub(crate) fn run(mut self) {
        while !self.shared.over.load(Ordering::SeqCst) {
            match self.random.random_range(0..100) {
                0..40 => self.move_register(),
                40..60 => drop(self.read_register()),
                60..72 => self.create(),
                72..80 => self.remove(),
                80..88 => self.look(),
                _ => self.change_service(),
            }
            // Few enough for a machine that also runs the cluster.
            std::thread::sleep(Duration::from_millis(self.random.random_range(5..60)));
        }
    }

    fn any(&mut self) -> usize {
        self.random.random_range(0..self.shared.sockets.len())
    }

    fn fresh_value(&self) -> Value {
        let mut ledger = self.shared.ledger();
        ledger.next_value += 1;
        ledger.next_value
    }

    fn wrong(&self, what: String) {
        self.shared.ledger().wrong.push(what);
    }

    fn get(&mut self, path: &str) -> Option<Response> {
        let manager = self.any();
        let reply = self.shared.send(manager, "GET", path, &Json::Null).ok()?;
        self.shared.ledger().counts.reads += 1;
        // Others say that no answer can be given now.
        matches!(reply.status, 200 | 404).then_some(reply)
    }

    fn write(&mut self, method: &str, path: &str, body: &Json) -> Written {
        let manager = self.any();
        let reply = self.shared.send(manager, method, path, body);
        let mut ledger = self.shared.ledger();
        match reply {
            Ok(reply) if (200..300).contains(&reply.status) => {
                ledger.counts.acknowledged += 1;
                let now = self.shared.clock.elapsed();
                ledger.longest_gap = ledger.longest_gap.max(now.saturating_sub(ledger.last_write));
                ledger.last_write = now;
                Written::Yes(reply.json())
            }
            Ok(reply) if reply.text().contains("update out of sequence") => {
                ledger.counts.refused += 1;
                Written::OutOfSequence
            }
            Err(err) if err.is::<Unsent>() => {
                ledger.counts.unsent += 1;
                Written::Unsent
            }
            Ok(reply) => {
                ledger.counts.doubtful += 1;
                // A sound cluster knows these objects and takes these requests, or says that it cannot answer.
                if matches!(reply.status, 400..500) {
                    ledger.wrong.push(format!(
                        "{method} {path}: {} {}",
                        reply.status,
                        reply.text()
                    ));
                }
                Written::Doubtful
            }
            Err(_) => {
                ledger.counts.doubtful += 1;
                Written::Doubtful
            }
        }
    }

    /// A register's number, value and version.
    fn read_register(&mut self) -> Option<(usize, Value, u64)> {
        let register = self.random.random_range(0..REGISTERS);
        let begun = self.shared.now();
        let reply = self.get(&format!("/configs/{}", self.shared.registers[register]))?;
        let ended = Some(self.shared.now());
        let json = reply.json();
        let seen = value_of(&json).zip(json["Version"]["Index"].as_u64());
        let Some((value, version)) = seen.filter(|_| reply.status == 200) else {
            self.wrong(format!("register {register}: {} {}", reply.status, reply.text()));
            return None;
        };
        self.note(register, Call { begun, ended, did: Did::Read(value) });
        Some((register, value, version))
    }

    fn move_register(&mut self) {
        let Some((register, from, version)) = self.read_register() else { return };
        let to = self.fresh_value();
        let path = format!("/configs/{}/update?version={version}", self.shared.registers[register]);
        let begun = self.shared.now();
        let written = self.write("POST", &path, &config(&format!("r{register}"), to));
        let ended = self.shared.now();
        let (ended, did) = match written {
            Written::Yes(_) => (Some(ended), Did::Set { from, to }),
            Written::OutOfSequence => (Some(ended), Did::Refused(from)),
            Written::Doubtful => (None, Did::Set { from, to }),
            Written::Unsent => return,
        };
        self.note(register, Call { begun, ended, did });
    }

    fn note(&self, register: usize, call: Call) {
        let mut ledger = self.shared.ledger();
        ledger.counts.calls += 1;
        ledger.calls[register].push(call);
    }

    fn create(&mut self) {
        self.turn += 1;
        let (name, value) = (format!("w{}-{}", self.number, self.turn), self.fresh_value());
        if let Written::Yes(reply) = self.write("POST", "/configs/create", &config(&name, value)) {
            let id = reply["ID"].as_str().unwrap_or_default().to_owned();
            self.shared.ledger().kept.insert(name.clone(), value);
            self.own.push((name, id));
        }
    }

    fn remove(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let at = self.random.random_range(0..self.own.len());
        let (name, id) = self.own.swap_remove(at);
        let value = self.shared.ledger().kept.remove(&name);
        match self.write("DELETE", &format!("/configs/{id}"), &Json::Null) {
            Written::Yes(_) => {
                self.shared.ledger().gone.insert(name);
            }
            Written::Unsent => {
                self.shared.ledger().kept.extend(value.map(|value| (name.clone(), value)));
                self.own.push((name, id));
            }
            Written::OutOfSequence | Written::Doubtful => {}
        }
    }

    /// What this client itself was told is there must be seen by any manager at once.
    fn look(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let (name, id) = self.own[self.random.random_range(0..self.own.len())].clone();
        let wanted = self.shared.ledger().kept.get(&name).copied();
        let Some(reply) = self.get(&format!("/configs/{id}")) else { return };
        if reply.status != 200 || value_of(&reply.json()) != wanted {
            self.wrong(format!("{name} holds {wanted:?}: {} {}", reply.status, reply.text()));
        }
    }

    fn change_service(&mut self) {
        let name = format!("s{}", self.number);
        let value = self.fresh_value();
        let replicas = self.random.random_range(0..=REPLICAS);
        let Some(id) = self.service.clone() else {
            let spec = service(&name, value, replicas);
            match self.write("POST", "/services/create", &spec) {
                Written::Yes(reply) => {
                    self.service = reply["ID"].as_str().map(str::to_owned);
                    self.shared.ledger().services.insert(name, vec![value]);
                }
                // It may be there: the name is taken, and this client goes on without.
                Written::Doubtful => self.service = Some(String::new()),
                Written::OutOfSequence | Written::Unsent => {}
            }
            return;
        };
        if id.is_empty() {
            return;
        }
        let Some(reply) = self.get(&format!("/services/{id}")) else { return };
        let found = reply.json();
        let Some(version) = found["Version"]["Index"].as_u64() else {
            return self.wrong(format!("service {name}: {} {}", reply.status, reply.text()));
        };
        let mut spec = found["Spec"].clone();
        spec["Labels"]["v"] = json!(value.to_string());
        spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
        let written =
            self.write("POST", &format!("/services/{id}/update?version={version}"), &spec);
        let mut ledger = self.shared.ledger();
        match written {
            Written::Yes(_) => {
                ledger.services.insert(name, vec![value]);
            }
            Written::Doubtful => ledger.services.entry(name).or_default().push(value),
            Written::OutOfSequence | Written::Unsent => {}
        }
    }
}

fn service(name: &str, value: Value, replicas: u64) -> Json {
    let wait = "trap 'exit 0' TERM; sleep 86400 & wait";
    json!({
        "Name": name,
        "Labels": { "v": value.to_string() },
        "TaskTemplate": {
            "ContainerSpec": { "Image": "busybox:latest", "Command": ["sh", "-c", wait] },
            "RestartPolicy": { "Condition": "any", "Delay": 500_000_000 },
        },
        "Mode": { "Replicated": { "Replicas": replicas } },
    })
}
