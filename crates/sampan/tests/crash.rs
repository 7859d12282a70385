//! Containers outlive the daemon: killed at any moment and started again, it finds them running, their logs whole, their
//! exit codes right, and leaves nothing lying about.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Daemon, Options, eventually};

/// A shell's way to wait that ends on SIGTERM.
const WAIT: &str = "trap 'exit 0' TERM; sleep 86400 & wait";

fn started() -> Daemon {
    Daemon::start(Options::with_images(&["busybox"]))
}

#[track_caller]
fn inspect(daemon: &Daemon, container: &str, field: &str) -> String {
    daemon.docker(&["inspect", "--format", &format!("{{{{{field}}}}}"), container]).ok()
}

/// Waits until these processes have ended. A zombie has no environment left to read.
fn ended(pids: &[String]) {
    for pid in pids {
        let environ = format!("/proc/{pid}/environ");
        eventually("it ends", || {
            std::fs::read(&environ).map_or(true, |bytes| bytes.is_empty()).then_some(())
        });
    }
}

/// Waits for a container's end to be known: its shim may still be at it when the new daemon asks.
#[track_caller]
fn exited(daemon: &Daemon, container: &str) -> String {
    eventually("its end is known", || {
        (inspect(daemon, container, ".State.Status") == "exited").then_some(())
    });
    inspect(daemon, container, ".State.ExitCode")
}

/// A file in a directory that containers see as `/s`: how a test tells a container to go on.
fn signals(daemon: &Daemon) -> (std::path::PathBuf, String) {
    let dir = daemon.dir().join("signals");
    std::fs::create_dir_all(&dir).unwrap();
    let bind = format!("{}:/s", dir.display());
    (dir, bind)
}

#[test]
fn a_container_runs_on_through_kill_9_and_is_served_again_afterwards() {
    let mut daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sh", "-c", WAIT]).ok();
    let (pid, started_at) =
        (inspect(&daemon, "alpha", ".State.Pid"), inspect(&daemon, "alpha", ".State.StartedAt"));

    daemon.kill9();
    assert!(
        std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "the container ended with the daemon"
    );
    daemon.again();

    assert_eq!(inspect(&daemon, "alpha", ".State.Pid"), pid);
    assert_eq!(inspect(&daemon, "alpha", ".State.StartedAt"), started_at);
    assert_eq!(inspect(&daemon, "alpha", ".State.Status"), "running");
    assert_eq!(daemon.docker(&["exec", "alpha", "echo", "still here"]).ok(), "still here");
    daemon.docker(&["stop", "alpha"]).ok();
    assert_eq!(inspect(&daemon, "alpha", ".State.ExitCode"), "0");
}

#[test]
fn a_graceful_stop_leaves_containers_running_too() {
    let mut daemon = started();
    daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sh", "-c", WAIT]).ok();
    let pid = inspect(&daemon, "alpha", ".State.Pid");

    assert_eq!(daemon.stop(), 0);
    daemon.again();

    assert_eq!(inspect(&daemon, "alpha", ".State.Pid"), pid);
    daemon.docker(&["rm", "-f", "alpha"]).ok();
}

#[test]
fn no_line_of_a_log_is_lost_while_the_daemon_is_dead() {
    const LINES: usize = 30_000;
    let mut daemon = started();
    let (dir, bind) = signals(&daemon);
    let script = format!(
        "i=1; while [ $i -le {LINES} ]; do echo line $i; [ $i = 10000 ] && touch /s/third; \
         [ $i = 20000 ] && while [ ! -e /s/on ]; do usleep 1000; done; i=$((i+1)); done; exit 7"
    );
    daemon
        .docker(&["run", "-d", "--name", "alpha", "-v", &bind, "busybox", "sh", "-c", &script])
        .ok();
    eventually("a third of the lines is out", || dir.join("third").exists().then_some(()));

    daemon.kill9();
    std::fs::write(dir.join("on"), "").unwrap();
    daemon.again();

    assert_eq!(daemon.docker(&["wait", "alpha"]).ok(), "7");
    let expected: Vec<String> = (1..=LINES).map(|number| format!("line {number}")).collect();
    let logged = daemon.docker(&["logs", "alpha"]).ok();
    assert!(logged.lines().eq(expected.iter()), "{} lines of {LINES}", logged.lines().count());
}

#[test]
fn a_follower_of_a_log_can_come_back_after_a_crash_and_see_what_is_new() {
    let mut daemon = started();
    let (dir, bind) = signals(&daemon);
    let script = "echo before; while [ ! -e /s/on ]; do usleep 1000; done; echo after";
    daemon
        .docker(&["run", "-d", "--name", "alpha", "-v", &bind, "busybox", "sh", "-c", script])
        .ok();
    daemon.kill9();
    daemon.again();

    let follower = daemon
        .docker_command()
        .args(["logs", "-f", "alpha"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::fs::write(dir.join("on"), "").unwrap();
    let output = follower.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "before\nafter\n");
}

#[test]
fn what_ended_while_the_daemon_was_dead_has_its_own_exit_code_and_time() {
    let mut daemon = started();
    let (dir, bind) = signals(&daemon);
    let script = "while [ ! -e /s/on ]; do usleep 1000; done; exit 3";
    daemon
        .docker(&["run", "-d", "--name", "alpha", "-v", &bind, "busybox", "sh", "-c", script])
        .ok();
    daemon.docker(&["run", "-d", "--name", "beta", "-v", &bind, "busybox", "sh", "-c", WAIT]).ok();
    let pids = [inspect(&daemon, "alpha", ".State.Pid"), inspect(&daemon, "beta", ".State.Pid")];

    daemon.kill9();
    std::fs::write(dir.join("on"), "").unwrap();
    let killed = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pids[1].parse().unwrap()),
        nix::sys::signal::SIGKILL,
    );
    assert_eq!(killed, Ok(()));
    ended(&pids);
    daemon.again();

    assert_eq!(exited(&daemon, "alpha"), "3");
    assert_eq!(exited(&daemon, "beta"), "137");
    assert!(!inspect(&daemon, "alpha", ".State.FinishedAt").starts_with("0001"));
}

/// Each ends while the next daemon finds what runs: whatever it saw first, it learns the code.
#[test]
fn what_ends_while_the_daemon_comes_up_has_its_own_exit_code() {
    let mut daemon = started();
    let (dir, bind) = signals(&daemon);
    let names: Vec<String> = (0..12).map(|n| format!("c{n}")).collect();
    for (n, name) in names.iter().enumerate() {
        let script = format!("while [ ! -e /s/{n} ]; do usleep 1000; done; exit 7");
        daemon
            .docker(&["run", "-d", "--name", name, "-v", &bind, "busybox", "sh", "-c", &script])
            .ok();
    }
    daemon.kill9();
    let one_by_one = std::thread::spawn(move || {
        for n in 0..12 {
            std::fs::write(dir.join(n.to_string()), "").unwrap();
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    daemon.again();
    one_by_one.join().unwrap();
    for name in &names {
        assert_eq!(exited(&daemon, name), "7", "{name}");
    }
}

#[test]
fn restart_policies_resume_with_the_next_daemon() {
    let mut daemon = started();
    let (dir, bind) = signals(&daemon);
    let ends_on_signal =
        "while [ ! -e /s/on ]; do usleep 1000; done; [ -e /s/stay ] && sleep 86400; exit 5";
    for (name, policy) in [
        ("always", "always"),
        ("failing", "on-failure:3"),
        ("never", "no"),
        ("stopped", "unless-stopped"),
    ] {
        let args = [
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "-v",
            &bind,
            "busybox",
            "sh",
            "-c",
            ends_on_signal,
        ];
        daemon.docker(&args).ok();
    }
    daemon.docker(&["stop", "-t", "0", "stopped"]).ok();
    let pids = ["always", "failing", "never"].map(|name| inspect(&daemon, name, ".State.Pid"));

    daemon.kill9();
    std::fs::write(dir.join("on"), "").unwrap();
    ended(&pids);
    std::fs::write(dir.join("stay"), "").unwrap();
    daemon.again();

    for name in ["always", "failing"] {
        eventually("it runs again", || {
            (inspect(&daemon, name, ".State.Status") == "running").then_some(())
        });
    }
    assert_eq!(exited(&daemon, "never"), "5");
    assert_eq!(inspect(&daemon, "stopped", ".State.Status"), "exited");
}

#[test]
fn a_published_port_is_served_while_the_daemon_is_dead_and_a_name_asked_for_then_is_answered() {
    let mut daemon = Daemon::start(Options { outside: true, ..Options::with_images(&["busybox"]) });
    daemon.docker(&["network", "create", "net1"]).ok();
    let serve = "mkdir /w; echo hello > /w/index.html; exec httpd -f -p 80 -h /w";
    daemon
        .docker(&[
            "run",
            "-d",
            "--network",
            "net1",
            "--name",
            "web",
            "-p",
            "8080:80",
            "busybox",
            "sh",
            "-c",
            serve,
        ])
        .ok();
    let (dir, bind) = signals(&daemon);
    let ask = "while [ ! -e /s/on ]; do usleep 1000; done; touch /s/asking; wget -qO /s/answer http://web/ || echo failed > /s/answer";
    daemon
        .docker(&[
            "run",
            "-d",
            "--network",
            "net1",
            "--name",
            "asker",
            // However long the next daemon takes to come up.
            "--dns-opt",
            "timeout:30",
            "--dns-opt",
            "attempts:5",
            "-v",
            &bind,
            "busybox",
            "sh",
            "-c",
            ask,
        ])
        .ok();
    eventually("the page is served", || daemon.fetch_from_outside(8080, "/").ok());

    daemon.kill9();
    assert_eq!(daemon.fetch_from_outside(8080, "/").unwrap().text(), "hello\n");
    // The question waits in the socket, which the shim holds, for the next daemon.
    std::fs::write(dir.join("on"), "").unwrap();
    eventually("the question is asked", || dir.join("asking").exists().then_some(()));
    daemon.again();
    let answer = eventually("an answer by name", || {
        std::fs::read_to_string(dir.join("answer")).ok().filter(|text| !text.is_empty())
    });
    assert_eq!(answer, "hello\n");

    assert_eq!(daemon.fetch_from_outside(8080, "/").unwrap().text(), "hello\n");
    daemon.docker(&["rm", "-f", "web", "asker"]).ok();
    assert!(daemon.fetch_from_outside(8080, "/").is_err(), "the port is closed with its container");
}

/// What a run and a removal leave on the disk and in the mount table, in the order in which it appears.
/// Each stays until the daemon is killed, so that a look that comes late finds it all the same.
struct Traces {
    data: std::path::PathBuf,
    exec: std::path::PathBuf,
}

impl Traces {
    fn of(daemon: &Daemon) -> Self {
        Traces { data: daemon.data_root(), exec: daemon.exec_root() }
    }

    /// The one container's record: what it says, or nothing while it is not there.
    fn record(&self) -> String {
        let dirs = std::fs::read_dir(self.data.join("containers")).into_iter().flatten().flatten();
        dirs.filter_map(|dir| std::fs::read_to_string(dir.path().join("container.json")).ok())
            .collect()
    }

    fn has_dir(&self) -> bool {
        std::fs::read_dir(self.data.join("containers")).is_ok_and(|mut dirs| dirs.next().is_some())
    }

    /// Whether the one container's run directory has this file.
    fn has_run_file(&self, name: &str) -> bool {
        let dirs = std::fs::read_dir(self.exec.join("c")).into_iter().flatten().flatten();
        dirs.into_iter().any(|dir| dir.path().join(name).exists())
    }

    fn is_mounted(&self) -> bool {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let data = self.data.to_str().unwrap();
        table.lines().any(|line| line.contains(" overlay ") && line.contains(data))
    }

    /// Looks without a pause, so as not to miss the moment.
    fn until(&self, has: impl Fn(&Traces) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(120);
        while !has(self) {
            assert!(Instant::now() < give_up, "the moment never came");
            std::thread::yield_now();
        }
    }
}

type Moment = (&'static str, fn(&Traces) -> bool);

/// Kills the daemon at this moment of `docker …`, starts the next one, removes all containers and returns
/// what is left.
fn killed_at(daemon: &mut Daemon, (_, moment): Moment, words: &[&str]) -> Vec<String> {
    let traces = Traces::of(daemon);
    let mut client = daemon
        .docker_command()
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    traces.until(moment);
    daemon.kill9();
    client.wait().unwrap();
    daemon.again();
    for name in daemon.docker(&["ps", "-aq"]).ok().lines() {
        daemon.docker(&["rm", "-f", "-v", name]).ok();
    }
    // The descriptors of a new process are not those of the one before.
    daemon.leaks().into_iter().filter(|leak| !leak.starts_with("descriptor")).collect()
}

#[test]
fn killed_at_any_moment_of_a_run_the_next_daemon_can_remove_everything() {
    const MOMENTS: [Moment; 9] = [
        ("at once", |_| true),
        ("a directory", Traces::has_dir),
        ("a record", |traces| !traces.record().is_empty()),
        ("a file system", Traces::is_mounted),
        ("a specification", |traces| traces.has_run_file("spec.json")),
        ("a shim", |traces| traces.has_run_file("shim.sock")),
        ("an OCI state", |traces| traces.has_run_file("state")),
        ("a first process", |traces| traces.has_run_file("init.json")),
        ("a running container", |traces| traces.record().contains("\"Running\":true")),
    ];
    let mut daemon = started();
    daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
    daemon.rebase();
    let run =
        ["run", "--name", "alpha", "-p", "8080:80", "-v", "/data", "busybox", "sh", "-c", WAIT];
    for moment in MOMENTS {
        let leaks = killed_at(&mut daemon, moment, &run);
        assert_eq!(leaks, Vec::<String>::new(), "killed when there was {}", moment.0);
    }
    daemon.docker(&["run", "--rm", "--name", "alpha", "-p", "8080:80", "busybox", "true"]).ok();
}

#[test]
fn killed_while_removing_the_next_daemon_finishes_or_forgets_nothing() {
    const MOMENTS: [Moment; 6] = [
        ("everything", |_| true),
        ("no shim any more", |traces| !traces.has_run_file("shim.sock")),
        ("no file system any more", |traces| !traces.is_mounted()),
        ("no run directory any more", |traces| !traces.has_run_file("spec.json")),
        ("no record any more", |traces| traces.record().is_empty()),
        ("no directory any more", |traces| !traces.has_dir()),
    ];
    let mut daemon = started();
    daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
    daemon.rebase();
    for moment in MOMENTS {
        daemon.docker(&["run", "-d", "--name", "alpha", "busybox", "sh", "-c", WAIT]).ok();
        let leaks = killed_at(&mut daemon, moment, &["rm", "-f", "alpha"]);
        assert_eq!(leaks, Vec::<String>::new(), "killed when there was {}", moment.0);
    }
}

#[test]
fn a_day_of_containers_leaves_the_daemon_as_it_was() {
    let mut daemon = started();
    let day = |daemon: &Daemon| {
        daemon.docker(&["network", "create", "net1"]).ok();
        daemon.docker(&["volume", "create", "vol1"]).ok();
        daemon
            .docker(&[
                "run",
                "--rm",
                "--network",
                "net1",
                "-v",
                "vol1:/v",
                "-p",
                "8081:80",
                "busybox",
                "true",
            ])
            .ok();
        daemon
            .docker(&[
                "run",
                "-d",
                "--name",
                "alpha",
                "--network",
                "net1",
                "busybox",
                "sh",
                "-c",
                WAIT,
            ])
            .ok();
        daemon.docker(&["exec", "alpha", "true"]).ok();
        daemon.docker(&["logs", "alpha"]).ok();
        daemon.docker(&["restart", "-t", "1", "alpha"]).ok();
        daemon.docker(&["rm", "-f", "alpha"]).ok();
        daemon.docker(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "exit 4"]).err();
        daemon.docker(&["network", "rm", "net1"]).ok();
        daemon.docker(&["volume", "rm", "vol1"]).ok();
    };
    day(&daemon);
    daemon.rebase();
    for _ in 0..3 {
        day(&daemon);
    }
    assert_eq!(daemon.leaks(), Vec::<String>::new());
}

#[test]
fn a_stopped_daemon_with_no_containers_leaves_no_process_and_no_mount() {
    let mut daemon = started();
    daemon.docker(&["run", "--rm", "busybox", "true"]).ok();
    daemon.stop();
    let left: Vec<String> = daemon
        .leaks()
        .into_iter()
        .filter(|leak| leak.starts_with("process") || leak.starts_with("mount"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
