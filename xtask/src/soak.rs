//! `cargo xtask soak --minutes N`: what a busy node goes through in a day, packed closely, and then a search for what it
//! left behind.
//!
//! Each round: containers created and removed, `run --rm` from many clients at once, followers of one log, execs, builds,
//! networks and volumes; in the first quarter the daemon is killed after each. After the rounds everything is removed, and compared with the
//! beginning: descriptors, mounts, namespaces, cgroups, links, rules, processes, files, memory.

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use testkit::{Daemon, Options};

use crate::{chores, debian};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[arg(long, default_value_t = 20.0)]
    minutes: f64,
    /// Containers created and removed in one round
    #[arg(long, default_value_t = 200)]
    cycles: usize,
    /// `run --rm` at a time
    #[arg(long, default_value_t = 200)]
    at_once: usize,
    /// Containers created and removed in all, by more rounds' worth at the end if need be
    #[arg(long, default_value_t = 2000)]
    cycles_in_all: usize,
    /// Containers that run all the while
    #[arg(long, default_value_t = 500)]
    standing: usize,
    /// Followers of one container's log
    #[arg(long, default_value_t = 100)]
    followers: usize,
    /// The daemon's program; a release build when absent
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
    /// Write the figures to docs/soak.md
    #[arg(long)]
    write: bool,
}

/// What is counted at one moment.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    descriptors: usize,
    threads: usize,
    rss_bytes: u64,
    private_bytes: u64,
    files: usize,
}

#[derive(Default)]
struct Done {
    rounds: usize,
    cycles: usize,
    runs: usize,
    execs: usize,
    followed_bytes: usize,
    kills: usize,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    debian::ensure_installed(&[debian::RUN, debian::TEST])?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => chores::release_binary()?,
    };
    let options = Options { binary: Some(binary), ..Options::with_images(&["busybox"]) };
    let mut daemon = Daemon::try_start(options)?;
    let begun = Instant::now();
    let quarter = Duration::from_secs_f64(args.minutes * 15.0);
    let mut done = Done::default();
    // What a first use brings in is no leak. The kills come first: later the one daemon lives through all.
    while done.rounds == 0 || begun.elapsed() < quarter {
        round(&daemon, args, &mut done, 20)?;
        kill(&mut daemon, args.standing, &mut done)?;
    }
    clear(&daemon)?;
    daemon.rebase();
    let before = footprint(&daemon)?;
    println!(
        "{:>6} {:>5} {:>8} {:>9} {:>9} {:>6}",
        "min", "fds", "threads", "rss MB", "priv MB", "files"
    );
    let until = Duration::from_secs_f64(args.minutes * 60.0);
    let mut most = before.rss_bytes;
    while most == before.rss_bytes || begun.elapsed() < until {
        round(&daemon, args, &mut done, args.cycles)?;
        let now = footprint(&daemon)?;
        most = most.max(now.rss_bytes);
        print_line(begun.elapsed(), now);
    }
    let missing = args.cycles_in_all.saturating_sub(done.cycles);
    done.cycles += create_and_remove(&daemon, missing)?;
    clear(&daemon)?;
    let leaks = daemon.leaks();
    let after = settled(&daemon, before)?;
    print_line(begun.elapsed(), after);
    leaks.iter().for_each(|leak| println!("LEAK {leak}"));
    let page = page(args, &done, before, after, most, &leaks, begun.elapsed());
    println!("{page}");
    if args.write {
        fs::write(testkit::workspace().join("docs/soak.md"), &page)?;
    }
    ensure!(leaks.is_empty(), "{} leaks", leaks.len());
    ensure!(after.files <= before.files + 4, "files stay: {} → {}", before.files, after.files);
    let panics = daemon.log().lines().filter(|line| line.contains("panicked")).count();
    ensure!(panics == 0, "{panics} panics");
    Ok(())
}

fn print_line(at: Duration, now: Footprint) {
    println!(
        "{:>6.1} {:>5} {:>8} {:>9.1} {:>9.1} {:>6}",
        at.as_secs_f64() / 60.0,
        now.descriptors,
        now.threads,
        megabytes(now.rss_bytes),
        megabytes(now.private_bytes),
        now.files
    );
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn round(daemon: &Daemon, args: &Args, done: &mut Done, cycles: usize) -> Result<()> {
    standing(daemon, args.standing)?;
    done.cycles += create_and_remove(daemon, cycles)?;
    done.runs += run_at_once(daemon, args.at_once)?;
    done.followed_bytes += follow(daemon, args.followers)?;
    done.execs += execs(daemon, 50)?;
    objects(daemon)?;
    done.rounds += 1;
    Ok(())
}

/// Kills the daemon and starts it again; the standing containers must not notice.
fn kill(daemon: &mut Daemon, standing: usize, done: &mut Done) -> Result<()> {
    daemon.kill9();
    daemon.again();
    done.kills += 1;
    let running = daemon.docker(&["ps", "-q", "--filter", "label=standing"]).checked()?;
    ensure!(
        running.lines().count() == standing,
        "{} of {standing} run on",
        running.lines().count()
    );
    Ok(())
}

/// Containers that run through every kill; made once.
fn standing(daemon: &Daemon, count: usize) -> Result<()> {
    let there =
        daemon.docker(&["ps", "-q", "--filter", "label=standing"]).checked()?.lines().count();
    for _ in there..count {
        let words =
            ["run", "-d", "--label", "standing", "--network", "none", "busybox", "sleep", "86400"];
        daemon.docker(&words).checked()?;
    }
    Ok(())
}

fn create_and_remove(daemon: &Daemon, cycles: usize) -> Result<usize> {
    for number in 0..cycles {
        let host = json!({"NetworkMode": if number % 4 == 0 { "bridge" } else { "none" }});
        let body = json!({"Image": "busybox", "Cmd": ["true"], "HostConfig": host, "Volumes": {"/data": {}}});
        let made = daemon.post("/v1.41/containers/create", &body);
        let id = made.json()["Id"].as_str().map(str::to_owned);
        let id = id.with_context(|| made.text())?;
        if number % 2 == 0 {
            let started = daemon.post(&format!("/v1.41/containers/{id}/start"), &json!(null));
            ensure!(started.status == 204, "start: {}", started.text());
        }
        let removed = daemon.delete(&format!("/v1.41/containers/{id}?force=1&v=1"));
        ensure!(removed.status == 204, "remove: {}", removed.text());
    }
    Ok(cycles)
}

fn run_at_once(daemon: &Daemon, count: usize) -> Result<usize> {
    let failed = AtomicUsize::new(0);
    let why = std::sync::Mutex::new(String::new());
    std::thread::scope(|scope| {
        for number in 0..count {
            let (failed, why) = (&failed, &why);
            scope.spawn(move || {
                let said = format!("says {number}");
                let out = daemon.docker(&["run", "--rm", "busybox", "echo", &said]);
                if out.status != 0 || out.stdout.trim() != said {
                    failed.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut why) = why.lock() {
                        *why = format!("{} {:?} {:?}", out.status, out.stdout, out.stderr);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    ensure!(
        failed == 0,
        "{failed} of {count} runs failed: {}",
        why.into_inner().unwrap_or_default()
    );
    Ok(count)
}

/// Everybody gets every line.
fn follow(daemon: &Daemon, followers: usize) -> Result<usize> {
    const LINES: usize = 2000;
    let script =
        format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; done; sleep 3");
    let words =
        ["run", "-d", "--name", "talker", "--network", "none", "busybox", "sh", "-c", &script];
    daemon.docker(&words).checked()?;
    let bytes = Arc::new(AtomicUsize::new(0));
    let short = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..followers {
            let (bytes, short) = (bytes.clone(), &short);
            scope.spawn(move || {
                let reply = daemon.get("/v1.41/containers/talker/logs?stdout=1&follow=1");
                bytes.fetch_add(reply.body.len(), Ordering::Relaxed);
                if reply.text().matches("line ").count() != LINES {
                    short.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    daemon.docker(&["rm", "-f", "talker"]).checked()?;
    let short = short.into_inner();
    ensure!(short == 0, "{short} of {followers} followers missed lines");
    Ok(bytes.load(Ordering::Relaxed))
}

fn execs(daemon: &Daemon, count: usize) -> Result<usize> {
    let words = ["ps", "-q", "--filter", "label=standing", "--last", "1"];
    let id = daemon.docker(&words).checked()?;
    let Some(id) = id.lines().next() else { return Ok(0) };
    for _ in 0..count {
        let said = daemon.docker(&["exec", id, "echo", "hello"]).checked()?;
        ensure!(said == "hello\n", "an exec said {said:?}");
    }
    Ok(count)
}

/// Networks, volumes, an image: made, used, removed.
fn objects(daemon: &Daemon) -> Result<()> {
    let dir = daemon.dir().join("context");
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("Dockerfile"), "FROM busybox\nRUN echo a > /a\nCMD cat /a\n")?;
    let dir = dir.display().to_string();
    for words in [
        &["network", "create", "soak"][..],
        &["volume", "create", "soak"],
        &["build", "-q", "-t", "soak", &dir],
        &["run", "--rm", "--network", "soak", "-v", "soak:/data", "soak"],
        &["rmi", "soak"],
        &["volume", "rm", "soak"],
        &["network", "rm", "soak"],
    ] {
        daemon.docker(words).checked()?;
    }
    Ok(())
}

fn clear(daemon: &Daemon) -> Result<()> {
    let ids = daemon.docker(&["ps", "-aq"]).checked()?;
    let mut words = vec!["rm", "-fv"];
    words.extend(ids.lines());
    if words.len() > 2 {
        daemon.docker(&words).checked()?;
    }
    Ok(())
}

fn footprint(daemon: &Daemon) -> Result<Footprint> {
    let proc = format!("/proc/{}", daemon.pid());
    let weight = daemon.weigh().into_iter().find(|(name, _)| name == "daemon");
    let (_, weight) = weight.context("the daemon weighs nothing")?;
    Ok(Footprint {
        descriptors: fs::read_dir(format!("{proc}/fd"))?.count(),
        threads: fs::read_dir(format!("{proc}/task"))?.count(),
        rss_bytes: weight.rss_bytes,
        private_bytes: weight.private_bytes,
        files: files(&daemon.data_root()) + files(&daemon.exec_root()),
    })
}

/// Entries of a directory and all below it, but for what images hold.
fn files(dir: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        count += 1;
        let inside = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if inside && entry.file_name() != "diff" {
            count += files(&entry.path());
        }
    }
    count
}

/// The footprint once the last connections and caches have gone; at most two minutes.
fn settled(daemon: &Daemon, before: Footprint) -> Result<Footprint> {
    let late = Instant::now() + Duration::from_secs(120);
    loop {
        let now = footprint(daemon)?;
        let calm = now.rss_bytes <= before.rss_bytes + before.rss_bytes / 10
            && now.descriptors <= before.descriptors + 2
            && now.files <= before.files;
        if calm || Instant::now() > late {
            return Ok(now);
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn page(
    args: &Args,
    done: &Done,
    before: Footprint,
    after: Footprint,
    most: u64,
    leaks: &[String],
    took: Duration,
) -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut page = format!(
        "# Soak\n\nMade by `cargo xtask soak --minutes {} --write`: {:.0} minutes, {} rounds; load average {} at the end.\n\n",
        args.minutes,
        took.as_secs_f64() / 60.0,
        done.rounds,
        load.split(' ').next().unwrap_or("?"),
    );
    let _ = writeln!(
        page,
        "{} containers stood through {} kills of the daemon. Beside them: {} created and removed (half of them started), {} `run \
         --rm` in bursts of {}, {} execs, {} followers of one log in each round ({:.0} MB read, every line by each), a build, a \
         network and a volume in each round.\n",
        args.standing,
        done.kills,
        done.cycles,
        done.runs,
        args.at_once,
        done.execs,
        args.followers,
        megabytes(done.followed_bytes as u64),
    );
    page.push_str("| of the daemon | before | after | most |\n|---|---|---|---|\n");
    let _ = writeln!(
        page,
        "| resident memory, MB | {:.1} | {:.1} | {:.1} |\n| private memory, MB | {:.1} | {:.1} | |\n| descriptors | {} | {} | |\n\
         | threads | {} | {} | |\n| files of its own | {} | {} | |",
        megabytes(before.rss_bytes),
        megabytes(after.rss_bytes),
        megabytes(most),
        megabytes(before.private_bytes),
        megabytes(after.private_bytes),
        before.descriptors,
        after.descriptors,
        before.threads,
        after.threads,
        before.files,
        after.files,
    );
    let _ = writeln!(
        page,
        "\nProcesses, mounts, cgroups, links, rules and descriptors that stayed: {}.",
        if leaks.is_empty() { "none".to_owned() } else { leaks.join("; ") }
    );
    page
}
