//! A large cluster on one machine: real managers, and agents that speak the real protocol over TLS connections of their own
//! with certificates of their own, but run no containers.
//!
//! `fleet SOCKET ADDRESS,ADDRESS… [nodes] [tasks] [changes]`: a manager's API socket, where all managers are joined; 1,000 and
//! 30,000. With `changes` all tasks are on one network, and after the rest so many endpoints come and go: how long until every
//! agent has been told.
//! `cargo xtask bench fleet` starts the managers and runs this where they are reached.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program for people to run")]

#[allow(dead_code, reason = "tests use the rest of it")]
#[path = "../tests/support/hollow.rs"]
mod hollow;

use ca::{Credentials, Identity, JoinToken, NodeKey};
use futures_util::stream::{self, StreamExt};
use hollow::{Connect, Hollow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use types::swarm::endpoint::{EndpointRow, EndpointState};
use types::{NetworkId, TaskId};

type Rows = std::collections::BTreeMap<(TaskId, NetworkId), EndpointRow>;
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Joins under way at once.
const JOINING: usize = 32;
/// Services of one task that are created on the full cluster, one after the other.
const SINGLES: usize = 100;
/// A full cluster's list of tasks takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let socket = PathBuf::from(arguments.next().ok_or("which socket?")?);
    let addresses = arguments.next().ok_or("which addresses?")?;
    let addresses: Arc<[String]> = addresses.split(',').map(str::to_owned).collect();
    let nodes: usize = arguments.next().map_or(Ok(1_000), |word| word.parse())?;
    let tasks: usize = arguments.next().map_or(Ok(30_000), |word| word.parse())?;
    let changes: usize = arguments.next().map_or(Ok(0), |word| word.parse())?;
    let network = match changes {
        0 => None,
        _ => Some(post(&socket, "/networks/create", &network()).await?["Id"].clone()),
    };
    let service = |name: &str, replicas: usize| service(name, replicas, network.as_ref());
    let swarm = get(&socket, "/swarm").await?;
    let token = swarm["JoinTokens"]["Worker"].as_str().ok_or("no join token")?.to_owned();

    let began = Instant::now();
    let mut agents: Vec<Hollow> = stream::iter(0..nodes)
        .map(|number| join(number, Arc::clone(&addresses), token.clone()))
        .buffer_unordered(JOINING)
        .filter_map(|joined| async { joined.inspect_err(|err| println!("join: {err}")).ok() })
        .collect()
        .await;
    let joined = began.elapsed();
    agents.iter().for_each(|agent| agent.state().lean = Some(Rows::new()));
    agents.iter_mut().for_each(Hollow::start);
    until(&socket, "/nodes", |list| {
        count(list, |node| node["Status"]["State"] == "ready") >= agents.len()
    })
    .await?;
    println!(
        "{} agents joined after {:.1} s, ready after {:.1} s",
        agents.len(),
        joined.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );

    let began = Instant::now();
    post(&socket, "/services/create", &service("fleet", tasks)).await?;
    for share in [1, 50, 99, 100] {
        let wanted = (tasks * share).div_ceil(100);
        while running(&agents) < wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let took = began.elapsed().as_secs_f64();
        println!(
            "{share:>3} % of {tasks} tasks run after {took:.2} s ({:.0} /s)",
            wanted as f64 / took
        );
    }
    until(&socket, "/services?status=true", |list| {
        list[0]["ServiceStatus"]["RunningTasks"].as_u64() == Some(tasks as u64)
    })
    .await?;
    println!("the managers know it after {:.2} s", began.elapsed().as_secs_f64());

    let mut times = Vec::new();
    for number in 0..SINGLES {
        let (began, name) = (Instant::now(), format!("single-{number}"));
        post(&socket, "/services/create", &service(&name, 1)).await?;
        let path = format!("/tasks?filters=%7B%22service%22%3A%5B%22{name}%22%5D%7D");
        until(&socket, &path, |list| count(list, |task| task["Status"]["State"] == "running") == 1)
            .await?;
        times.push(began.elapsed());
    }
    times.sort();
    println!(
        "one more service on the full cluster: p50 {:.0} ms, p99 {:.0} ms from the request to its task seen running",
        times[SINGLES / 2].as_secs_f64() * 1e3,
        times[SINGLES * 99 / 100].as_secs_f64() * 1e3
    );
    if changes > 0 {
        converge(&socket, &agents, changes, service).await?;
    }
    // Whoever started this weighs the managers now, and says when to end.
    println!("full");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    for agent in &mut agents {
        agent.kill().await;
    }
    Ok(())
}

/// Endpoints that come: from the request to when the last agent has a table in which they are healthy. Endpoints that go: to
/// when no agent's has them any more.
async fn converge(
    socket: &Path,
    agents: &[Hollow],
    changes: usize,
    service: impl Fn(&str, usize) -> Value,
) -> Result<(), Failure> {
    let (mut came, mut went) = (Vec::new(), Vec::new());
    for number in 0..changes {
        let began = Instant::now();
        let made =
            post(socket, "/services/create", &service(&format!("point-{number}"), 1)).await?;
        let id = made["ID"].as_str().ok_or("no id")?.to_owned();
        let is = |row: &EndpointRow| row.service.as_ref().is_some_and(|own| own.as_str() == id);
        told(agents, |rows| {
            rows.values().any(|row| row.state == EndpointState::Healthy && is(row))
        })
        .await;
        came.push(began.elapsed());
        let began = Instant::now();
        call(socket, "DELETE", &format!("/services/{id}"), String::new()).await?;
        told(agents, |rows| !rows.values().any(is)).await;
        went.push(began.elapsed());
    }
    for (what, mut times) in [("comes", came), ("goes", went)] {
        times.sort();
        let at = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1e3;
        println!(
            "an endpoint {what}, {} agents are told: p50 {:.0} ms, p99 {:.0} ms from the request",
            agents.len(),
            at(50),
            at(99)
        );
    }
    Ok(())
}

async fn told(agents: &[Hollow], holds: impl Fn(&Rows) -> bool) {
    for agent in agents {
        while !agent.state().lean.as_ref().is_some_and(&holds) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// What `docker swarm join` does, but for the daemon.
async fn join(number: usize, addresses: Arc<[String]>, token: String) -> Result<Hollow, Failure> {
    let address = &addresses[number % addresses.len()];
    let secret = JoinToken::parse(&token)?;
    let roots = rpc::fetch_root(address, Credentials::stranger().unverified_config()).await?;
    let roots = secret.check_root(&roots)?;
    let stranger = rpc::Client::new(tls(&Credentials::joining(&roots)?));
    let key = NodeKey::generate()?;
    let request = rpc::IssueRequest {
        csr: key.request()?,
        token: Some(token),
        ..rpc::IssueRequest::default()
    };
    let issued = stranger.issue(address, None, request).await?;
    stranger.stop().await;
    let credentials = Credentials::new(&Identity::new(&issued.chain, key, &issued.roots)?)?;
    let client = rpc::Client::new(tls(&credentials));
    // The managers, the leader first, as the last session named them, are not followed: the next one is tried.
    let turn = Arc::new(AtomicUsize::new(0));
    let connect: Connect = Arc::new(move || {
        let client = client.clone();
        let at = addresses[turn.fetch_add(1, Ordering::Relaxed) % addresses.len()].clone();
        Box::pin(async move { client.session(&at, None).await.ok() })
    });
    Ok(Hollow::new(&format!("hollow{number}"), connect))
}

fn tls(credentials: &Credentials) -> rpc::Tls {
    let who = credentials.clone();
    rpc::Tls {
        server: credentials.server_config(),
        client: credentials.client_config(),
        identify: Arc::new(move |chain| {
            let standing = who.identify(chain).map_err(std::io::Error::other)?;
            Ok(rpc::Peer { identity: standing.identity, lapsed: standing.lapsed })
        }),
    }
}

fn network() -> Value {
    json!({
        "Name": "fleet",
        "Driver": "overlay",
        "IPAM": { "Config": [{ "Subnet": "10.128.0.0/12" }] },
    })
}

fn service(name: &str, replicas: usize, network: Option<&Value>) -> Value {
    let networks: Vec<Value> = network.iter().map(|id| json!({ "Target": id })).collect();
    json!({
        "Name": name,
        "TaskTemplate": { "ContainerSpec": { "Image": "good" }, "Networks": networks },
        "Mode": { "Replicated": { "Replicas": replicas } },
    })
}

fn running(agents: &[Hollow]) -> usize {
    agents.iter().map(|agent| agent.running().len()).sum()
}

fn count(list: &Value, is_one: impl Fn(&Value) -> bool) -> usize {
    list.as_array().into_iter().flatten().filter(|row| is_one(row)).count()
}

async fn until(socket: &Path, path: &str, holds: impl Fn(&Value) -> bool) -> Result<(), Failure> {
    while !holds(&get(socket, path).await?) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

async fn get(socket: &Path, path: &str) -> Result<Value, Failure> {
    call(socket, "GET", path, String::new()).await
}

async fn post(socket: &Path, path: &str, body: &Value) -> Result<Value, Failure> {
    call(socket, "POST", path, body.to_string()).await
}

async fn call(
    socket: &Path,
    method: &'static str,
    path: &str,
    body: String,
) -> Result<Value, Failure> {
    let (socket, path) = (socket.to_owned(), format!("/v1.41{path}"));
    let asked = tokio::task::spawn_blocking(move || {
        testkit::request(&socket, method, &path, body.as_bytes(), PATIENCE)
    });
    let reply = asked.await?.map_err(|err| err.to_string())?;
    match reply.status {
        200..300 => Ok(reply.json()),
        status => Err(format!("{status} {}", reply.text()).into()),
    }
}
