//! Replicated writes of three managers: configs of 256 bytes created by one and by 64 clients, each on a connection that
//! stays open. Beside them etcd's three members, which take key and value of that size over gRPC (`h2load`).
//!
//! The clients are threads of this program that read no more of an answer than they must, so that what is measured is
//! the managers.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testkit::{Engine, Hosts, Options};

use super::Bench;

const MANAGERS: u8 = 3;
const CLIENTS: usize = 64;
const SEQUENTIAL: u64 = 300;
const CONCURRENT: u64 = 4000;
/// 256 bytes in base64.
const DATA: &str = "dmFsdWU";
const ETCD_PORT: u16 = 23790;

/// What one load did.
#[derive(Debug, Clone, Copy)]
struct Load {
    per_second: f64,
    p50: f64,
    p99: f64,
}

/// One side's samples.
#[derive(Default)]
struct Side {
    one: Vec<Load>,
    many: Vec<Load>,
}

pub(crate) fn measure(bench: &Bench) -> Result<String> {
    let options = |engine| {
        let binary = (engine == Engine::Sampan).then(|| bench.binary.clone());
        Options { engine, binary, ..Options::default() }
    };
    let start = |engine| -> Result<Hosts> {
        let hosts = Hosts::try_start(MANAGERS, &options(engine))?;
        hosts.swarm(MANAGERS.into());
        Ok(hosts)
    };
    let (theirs, ours) = (start(Engine::Dockerd)?, start(Engine::Sampan)?);
    let etcd = Etcd::start(ours[0].dir())?;
    let (mut dockerd, mut sampan, mut members) =
        (Side::default(), Side::default(), Side::default());
    for round in 0..bench.rounds {
        eprintln!("==> writes: round {}, {}", round + 1, load_average());
        members.one.push(etcd.load(1, SEQUENTIAL)?);
        members.many.push(etcd.load(CLIENTS, CONCURRENT)?);
        for (side, hosts) in [(&mut dockerd, &theirs), (&mut sampan, &ours)] {
            side.one.push(load(hosts, round, 1, SEQUENTIAL)?);
            side.many.push(load(hosts, round, CLIENTS, CONCURRENT)?);
        }
    }
    let mut table = String::from(
        "| | dockerd | sampan | ratio | goal | etcd 3.4 |\n|---|---:|---:|---:|---|---:|\n",
    );
    for (name, goal, of) in [
        ("1 client", "", (|side: &Side| median(&side.one)) as fn(&Side) -> Load),
        ("64 clients", "≥ 3 ×", |side| median(&side.many)),
    ] {
        let (theirs, ours, etcd) = (of(&dockerd), of(&sampan), of(&members));
        writeln!(
            table,
            "| {name}: writes/s | {:.0} | {:.0} | {:.2} | {goal} | {:.0} |",
            theirs.per_second,
            ours.per_second,
            ours.per_second / theirs.per_second,
            etcd.per_second
        )?;
        for (word, at) in
            [("p50", (|load: &Load| load.p50) as fn(&Load) -> f64), ("p99", |load| load.p99)]
        {
            writeln!(
                table,
                "| {name}: {word} | {:.2} ms | {:.2} ms | {:.2} | | {:.2} ms |",
                at(&theirs),
                at(&ours),
                at(&ours) / at(&theirs),
                at(&etcd)
            )?;
        }
    }
    Ok(table)
}

pub(crate) fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load average {}", load.split(' ').next().unwrap_or("?"))
}

/// `total` configs by `clients`, spread over the managers.
fn load(hosts: &Hosts, round: usize, clients: usize, total: u64) -> Result<Load> {
    let sockets: Vec<PathBuf> = hosts.iter().map(|host| host.socket()).collect();
    let next = AtomicU64::new(0);
    let began = Instant::now();
    let times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                let (socket, next) = (&sockets[client % sockets.len()], &next);
                scope.spawn(move || write(socket, next, total, &format!("r{round}-c{clients}")))
            })
            .collect();
        let mut times = Vec::new();
        for thread in threads {
            times.extend(thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
        }
        anyhow::Ok(times)
    })?;
    Ok(summed(times, began.elapsed()))
}

fn write(socket: &Path, next: &AtomicU64, total: u64, tag: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut stream = UnixStream::connect(socket)?;
    let mut replies = BufReader::new(stream.try_clone()?);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok(times);
        }
        let data = DATA.repeat(48);
        let body = format!(r#"{{"Name":"{tag}-{number}","Data":"{data}"}}"#);
        let request = format!(
            "POST /v1.41/configs/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let began = Instant::now();
        stream.write_all(request.as_bytes())?;
        reply(&mut replies)?;
        times.push(began.elapsed());
    }
}

/// Reads one reply to its end; the connection stays.
fn reply(from: &mut impl BufRead) -> Result<()> {
    let (mut line, mut length, mut status) = (String::new(), 0, String::new());
    while from.read_line(&mut line)? > 2 {
        if status.is_empty() {
            status = line.trim_end().to_owned();
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    ensure!(status.contains(" 201 "), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

fn summed(mut times: Vec<Duration>, took: Duration) -> Load {
    times.sort();
    let at = |share: f64| {
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Load { per_second: times.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
}

fn median(loads: &[Load]) -> Load {
    let of = |field: fn(&Load) -> f64| {
        let mut values: Vec<f64> = loads.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    Load {
        per_second: of(|load| load.per_second),
        p50: of(|load| load.p50),
        p99: of(|load| load.p99),
    }
}

/// Three members on loopback, without TLS.
struct Etcd {
    members: Vec<Child>,
    dir: PathBuf,
    /// The leader's, so that nothing is passed on.
    port: u16,
}

impl Etcd {
    fn start(dir: &Path) -> Result<Self> {
        let dir = dir.join("etcd");
        fs::create_dir_all(&dir)?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let peers: Vec<String> =
            (0..3).map(|member| format!("e{member}={}", url(ETCD_PORT + 10 + member))).collect();
        let mut etcd = Etcd { members: Vec::new(), dir: dir.clone(), port: ETCD_PORT };
        for member in 0..3 {
            let (client, peer) = (url(ETCD_PORT + member), url(ETCD_PORT + 10 + member));
            let log = fs::File::create(dir.join(format!("e{member}.log")))?;
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("e{member}"), "--log-level", "error"]);
            command.arg("--data-dir").arg(dir.join(format!("e{member}")));
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &peers.join(",")]);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            etcd.members.push(command.spawn().context("starting etcd (Debian: etcd-server)")?);
        }
        etcd.port = etcd.leader()?;
        Ok(etcd)
    }

    fn leader(&self) -> Result<u16> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            for port in ETCD_PORT..ETCD_PORT + 3 {
                let output = Command::new("etcdctl")
                    .env("ETCDCTL_API", "3")
                    .args(["--endpoints", &format!("127.0.0.1:{port}")])
                    .args(["endpoint", "status", "-w", "json"])
                    .output()
                    .context("running etcdctl (Debian: etcd-client)")?;
                let json: serde_json::Value =
                    serde_json::from_slice(&output.stdout).unwrap_or_default();
                let status = &json[0]["Status"];
                let leader = status["leader"].as_u64().filter(|leader| *leader != 0);
                if leader.is_some() && leader == status["header"]["member_id"].as_u64() {
                    return Ok(port);
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        anyhow::bail!("etcd has no leader")
    }

    fn load(&self, clients: usize, total: u64) -> Result<Load> {
        let (body, log) = (self.dir.join("body"), self.dir.join("times"));
        fs::write(&body, put())?;
        let _ = fs::remove_file(&log);
        let output = Command::new("h2load")
            .args(["-n", &total.to_string(), "-c", &clients.to_string(), "-m", "1", "-t", "1"])
            .arg("-d")
            .arg(&body)
            .args(["-H", "content-type: application/grpc", "-H", "te: trailers", "--log-file"])
            .arg(&log)
            .arg(format!("http://127.0.0.1:{}/etcdserverpb.KV/Put", self.port))
            .output()
            .context("running h2load (Debian: nghttp2-client)")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains(&format!("{total} succeeded")), "h2load: {text}");
        let rate = text.split("finished in ").nth(1).and_then(|rest| rest.split(", ").nth(1));
        let per_second =
            rate.and_then(|rate| rate.split(' ').next()).context("no rate")?.parse()?;
        let micros = |line: &str| line.split('\t').nth(2)?.parse().ok().map(Duration::from_micros);
        let times = fs::read_to_string(&log)?.lines().filter_map(micros).collect();
        Ok(Load { per_second, ..summed(times, Duration::from_secs(1)) })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Ended already is as good.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}

/// `PutRequest { key, value }` in gRPC's frame: a short key, 256 bytes.
fn put() -> Vec<u8> {
    let (key, value) = (b"foo/bar", [b'v'; 256]);
    let mut message = vec![0x0a, key.len() as u8];
    message.extend_from_slice(key);
    message.extend_from_slice(&[0x12, 0x80, 0x02]);
    message.extend_from_slice(&value);
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}
