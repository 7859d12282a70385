//! Generated requests against a private daemon: it must not panic, not answer with a 5xx that dockerd would not give, and
//! leave nothing behind once what was made is removed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testkit::fuzz::Dice;
use testkit::{Daemon, Options};

use super::made::{NAMES, Request, request};
use super::spec::{self, Spec};

/// Requests at a time: enough to meet each other, few enough for two processors.
const CLIENTS: u64 = 4;
/// A stream that is not over by then is left.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Where dockerd answers with a 5xx, too: parts of messages, and why.
const ALLOWED: &[(&str, &str)] = &[
    ("connection refused", "a registry that is not there"),
    ("no such host", "a registry that is not there"),
    ("network is unreachable", "a registry that is not there"),
    ("OCI runtime", "the kernel or the runtime refused the container's settings"),
    ("failed to create", "the kernel refused the container's settings"),
    ("error while creating mount source path", "the host's file system refused"),
    ("error mounting", "the host's file system refused"),
    ("failed to mount", "the host's file system refused"),
    ("failed to set up container networking", "addresses and ports are settled at the start"),
    ("cannot join network of", "settled at the start"),
    ("failed to join PID namespace", "settled at the start"),
    ("not a directory", "a path through a file, as dockerd's"),
    ("No such image", "as dockerd's own"),
    ("error processing tar file", "an import that is no tar, as dockerd's"),
    ("BuildKit", "501: clients fall back"),
    ("plugins are not supported", "501: there are none"),
    ("does not support reading", "501, as dockerd's"),
    ("--storage-opt is supported", "as dockerd's on any file system but xfs"),
    ("http: no Host in request URL", "an import from nowhere, as dockerd's"),
    ("This node is not a swarm manager", "503, as dockerd's"),
];

struct Tally {
    requests: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
    wrong: Mutex<BTreeMap<String, String>>,
}

pub(super) fn run(minutes: u64, seed: Option<u64>) -> Result<()> {
    let mut daemon = Daemon::try_start(Options::with_images(&["busybox"]))?;
    let spec = spec::read()?;
    let first = seed.unwrap_or_else(|| {
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()) << 24
    });
    warm_up(&daemon)?;
    daemon.rebase();
    let tally =
        Tally { requests: AtomicU64::new(0), statuses: Mutex::default(), wrong: Mutex::default() };
    let until = Instant::now() + Duration::from_secs(minutes * 60);
    println!("{} operations, seed {first}", spec.operations.len());
    let pid = daemon.pid();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (daemon, spec, tally) = (&daemon, &spec, &tally);
            scope.spawn(move || attack(daemon, spec, tally, first + client * (1 << 20), until));
        }
    });
    ensure!(
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ")),
        "the daemon ended:\n{}",
        daemon.log()
    );
    clear(&daemon)?;
    report(&daemon, &tally)
}

/// What a first container leaves for good (kernel modules, rules of the default network) is no leak.
fn warm_up(daemon: &Daemon) -> Result<()> {
    daemon.docker(&["run", "--rm", "busybox", "true"]).checked()?;
    Ok(())
}

fn attack(daemon: &Daemon, spec: &Spec, tally: &Tally, first: u64, until: Instant) {
    let tar = small_tar();
    let mut seed = first;
    while Instant::now() < until {
        let request = request(spec, &mut Dice::new(seed), &tar);
        let outcome = exchange(daemon, &request);
        tally.requests.fetch_add(1, Ordering::Relaxed);
        let lock = |wrong: String| {
            let mut all = tally.wrong.lock().unwrap_or_else(PoisonError::into_inner);
            all.entry(wrong).or_insert_with(|| {
                let body = String::from_utf8_lossy(&request.body);
                let body: String = body.chars().take(1000).collect();
                format!("seed {seed}: {} {} {body}", request.method, request.target)
            });
        };
        match outcome {
            Ok((status, text)) => {
                let mut statuses = tally.statuses.lock().unwrap_or_else(PoisonError::into_inner);
                *statuses.entry(status).or_default() += 1;
                drop(statuses);
                let allowed = ALLOWED.iter().any(|(part, _)| text.contains(part));
                if status >= 500 && !allowed {
                    lock(format!("{status} {}", shortened(&text)));
                }
            }
            Err(err) => lock(format!("no answer: {err:#}")),
        }
        seed += 1;
    }
}

/// The status and what came of the body within [`PATIENCE`].
fn exchange(daemon: &Daemon, request: &Request) -> Result<(u16, String)> {
    let mut stream = daemon.connect()?;
    let head = format!(
        "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        request.method,
        request.target,
        request.kind,
        request.body.len()
    );
    // A server that refuses early closes its side: its answer says more.
    let _refused = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&request.body));
    let (begun, mut reply, mut chunk) = (Instant::now(), Vec::new(), [0; 16 * 1024]);
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) if reply.len() < 1 << 20 => reply.extend_from_slice(&chunk[..read]),
            Ok(_) => {}
            Err(err) if err.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(err) if reply.is_empty() => return Err(err).context("reading"),
            Err(_) => break,
        }
        // The head may take as long as a stop or a pull does; a body that goes on is a stream.
        let limit = if reply.is_empty() { Duration::from_secs(120) } else { PATIENCE };
        if begun.elapsed() > limit {
            break;
        }
    }
    let text = String::from_utf8_lossy(&reply).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not HTTP: {:?}", shortened(&text)))?;
    Ok((status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()))
}

fn shortened(text: &str) -> String {
    text.trim().chars().take(300).collect()
}

fn small_tar() -> Vec<u8> {
    // One file `Dockerfile`, as a build context and as an archive to put.
    let text = b"FROM busybox\nCMD true\n";
    let mut header = [0_u8; 512];
    header[..10].copy_from_slice(b"Dockerfile");
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", text.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = b'0';
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    header[154] = 0;
    let mut tar = header.to_vec();
    tar.extend_from_slice(text);
    tar.resize(512 * 4, 0);
    tar
}

/// Removes all that the requests made.
fn clear(daemon: &Daemon) -> Result<()> {
    let ids = |path: &str, key: &str| -> Vec<String> {
        let all = daemon.get(path).json();
        let all = all.get("Volumes").cloned().unwrap_or(all);
        let id = |item: &Value| item[key].as_str().map(str::to_owned);
        all.as_array().into_iter().flatten().filter_map(id).collect()
    };
    for id in ids("/v1.41/containers/json?all=1", "Id") {
        let reply = daemon.delete(&format!("/v1.41/containers/{id}?force=1&v=1"));
        ensure!(reply.status == 204, "a container stays: {}", reply.text());
    }
    for name in ids("/v1.41/volumes", "Name") {
        let reply = daemon.delete(&format!("/v1.41/volumes/{name}?force=1"));
        ensure!(reply.status == 204, "a volume stays: {}", reply.text());
    }
    for name in ids("/v1.41/networks", "Name") {
        let kept = ["bridge", "host", "none"].contains(&name.as_str());
        let reply = daemon.delete(&format!("/v1.41/networks/{name}"));
        ensure!(kept || reply.status == 204, "a network stays: {}", reply.text());
    }
    ensure!(
        NAMES.len() > 1 && ids("/v1.41/containers/json?all=1", "Id").is_empty(),
        "a container stays"
    );
    Ok(())
}

fn report(daemon: &Daemon, tally: &Tally) -> Result<()> {
    let statuses = tally.statuses.lock().unwrap_or_else(PoisonError::into_inner);
    let wrong = tally.wrong.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{} requests", tally.requests.load(Ordering::Relaxed));
    for (status, count) in statuses.iter() {
        println!("  {status}: {count}");
    }
    for (what, example) in wrong.iter() {
        println!("WRONG {what}\n  {example}");
    }
    let panics = daemon.log().lines().filter(|line| line.contains("panicked")).count();
    let leaks = daemon.leaks();
    println!(
        "{panics} panics, {} leaks, {} answers that dockerd would not give",
        leaks.len(),
        wrong.len()
    );
    leaks.iter().for_each(|leak| println!("LEAK {leak}"));
    ensure!(panics == 0 && leaks.is_empty() && wrong.is_empty(), "see above");
    Ok(())
}
