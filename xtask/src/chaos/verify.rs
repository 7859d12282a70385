//! What must hold when the faults are over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use raft::Archive;
use serde_json::{Value as Json, json};
use store::Snapshot;
use testkit::Hosts;
use types::Timestamp;

use super::clients::{Ledger, Shared};
use super::history;

/// How long a cluster without faults may need for anything, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Asks until `ask` succeeds.
///
/// # Errors
/// The last one, after [`PATIENCE`].
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(value) => return Ok(value),
            Err(err) if Instant::now() > deadline => {
                return Err(err.context(format!("not within {PATIENCE:?}: {what}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Every manager takes writes, and the leader hears all of them; returns how long it took.
pub(crate) fn settled(shared: &Shared, nodes: usize, round: u64) -> Result<Duration> {
    let began = Instant::now();
    for node in 0..nodes {
        let mut turn = 0;
        eventually(&format!("node{} takes a write", node + 1), || {
            turn += 1;
            let spec = json!({ "Name": format!("calm-{round}-{node}-{turn}"), "Data": "eA==" });
            let reply = shared.send(node, "POST", "/configs/create", &spec)?;
            ensure!(reply.status == 201, "{} {}", reply.status, reply.text());
            let id = reply.json()["ID"].as_str().unwrap_or_default().to_owned();
            // One that stays is found by nobody and does no harm.
            let _ = shared.send(node, "DELETE", &format!("/configs/{id}"), &Json::Null);
            Ok(())
        })?;
    }
    eventually("all nodes are ready and reachable", || {
        let reply = shared.send(0, "GET", "/nodes", &Json::Null)?;
        let json = reply.json();
        let rows = json.as_array().context("no list of nodes")?;
        let is_well = |row: &&Json| {
            row["Status"]["State"] == "ready" && row["ManagerStatus"]["Reachability"] == "reachable"
        };
        let well = rows.iter().filter(is_well).count();
        ensure!(well == nodes && rows.len() == nodes, "{well} of {nodes}: {}", reply.text());
        Ok(())
    })?;
    Ok(began.elapsed())
}

/// The state of every manager, at the same place of the log and the same bytes.
pub(crate) fn equal_states(shared: &Shared, nodes: usize) -> Result<(Archive, Snapshot)> {
    eventually("all managers hold the same state", || {
        let mut first: Option<(Archive, Snapshot)> = None;
        for node in 0..nodes {
            let reply = shared.send(node, "GET", "/sampan/cluster/snapshot", &Json::Null)?;
            ensure!(reply.status == 200, "{} {}", reply.status, reply.text());
            let (about, state) = raft::open_archive(reply.body.as_slice())?;
            match &first {
                None => first = Some((about, state)),
                Some((of, before)) => {
                    let (one, here) = (of.index, about.index);
                    ensure!(one == here, "node1 is at entry {one}, node{} at {here}", node + 1);
                    ensure!(
                        store::encode(before) == store::encode(&state),
                        "node1 and node{} differ at entry {here}",
                        node + 1
                    );
                }
            }
        }
        first.context("no managers")
    })
}

/// Sentences on what was lost, came back, or has no order. Empty is good.
pub(crate) fn ledger(ledger: &Ledger, state: &Snapshot) -> Vec<String> {
    let mut wrong = ledger.wrong.clone();
    let held: BTreeMap<&str, &str> = state
        .configs()
        .iter()
        .map(|config| {
            let value = config.spec.labels.get("v").map(String::as_str);
            (config.spec.name.as_str(), value.unwrap_or_default())
        })
        .collect();
    for (name, value) in &ledger.kept {
        match held.get(name.as_str()) {
            None => wrong.push(format!("{name} was acknowledged and is lost")),
            Some(found) if **found != value.to_string() => {
                wrong.push(format!("{name} holds {found}, not {value}"));
            }
            Some(_) => {}
        }
    }
    let back = ledger.gone.iter().filter(|name| held.contains_key(name.as_str()));
    wrong.extend(back.map(|name| format!("{name} was removed and is back")));
    for (name, values) in &ledger.services {
        let service = state.services().iter().find(|service| service.spec.name == *name);
        let found = service.and_then(|service| service.spec.labels.get("v")).map(String::as_str);
        if !values.iter().any(|value| Some(value.to_string().as_str()) == found) {
            wrong.push(format!("service {name} says {found:?}, not one of {values:?}"));
        }
    }
    for (register, calls) in ledger.calls.iter().enumerate() {
        if let Err(disorder) = history::check(0, calls.clone()) {
            wrong.push(format!("register {register} has no order: {disorder}"));
        }
    }
    wrong
}

/// The store's own sentences.
pub(crate) fn invariants(state: &Snapshot) -> Vec<String> {
    let now = Timestamp::from(std::time::SystemTime::now());
    store::invariants::check(state, now).iter().map(ToString::to_string).collect()
}

/// Every service runs what it should, by the managers' word and by the hosts'.
pub(crate) fn converged(shared: &Shared, hosts: &Hosts) -> Result<usize> {
    eventually("the services run what they should", || {
        let services = shared.send(0, "GET", "/services?status=true", &Json::Null)?.json();
        let mut wanted = 0;
        for service in services.as_array().context("no list of services")? {
            let status = &service["ServiceStatus"];
            let (desired, running) = (&status["DesiredTasks"], &status["RunningTasks"]);
            ensure!(desired == running, "{}: {running} of {desired}", service["Spec"]["Name"]);
            wanted += desired.as_u64().unwrap_or_default() as usize;
        }
        let containers = count_containers(hosts)?;
        ensure!(containers == wanted, "{containers} containers run for {wanted} tasks");
        Ok(wanted)
    })
}

fn count_containers(hosts: &Hosts) -> Result<usize> {
    let mut count = 0;
    for host in hosts.iter() {
        let reply = host.request("GET", "/v1.41/containers/json", b"")?;
        count += reply.json().as_array().context("no list of containers")?.len();
    }
    Ok(count)
}

/// Takes the cluster apart; what is left behind on any host, as sentences.
pub(crate) fn leaks(shared: &Shared, hosts: &Hosts) -> Result<Vec<String>> {
    let services = shared.send(0, "GET", "/services", &Json::Null)?.json();
    for service in services.as_array().into_iter().flatten() {
        let id = service["ID"].as_str().unwrap_or_default();
        let reply = shared.send(0, "DELETE", &format!("/services/{id}"), &Json::Null)?;
        ensure!(reply.status == 200, "removing a service: {}", reply.text());
    }
    eventually("no container is left", || {
        let count = count_containers(hosts)?;
        ensure!(count == 0, "{count} containers run");
        Ok(())
    })?;
    for host in hosts.iter().rev() {
        let reply = host.request("POST", "/v1.41/swarm/leave?force=1", b"")?;
        if reply.status != 200 {
            bail!("leaving the swarm: {}", reply.text());
        }
    }
    let left = hosts.iter().enumerate().flat_map(|(at, host)| {
        let sentences = host.leaks();
        sentences.into_iter().map(move |leak| format!("node{}: {leak}", at + 1))
    });
    Ok(left.collect())
}
