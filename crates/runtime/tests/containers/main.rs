//! Real containers, on both OCI runtimes with the same tests: needs root, cgroups, busybox and runc.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as the tests do")]

mod defaults;
mod program;
mod world;

use runtime::{Adopted, Attach};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use world::{Which, World, both, in_time};

/// Everything until the end of a framed stream, by stream number.
async fn demultiplex(mut stream: UnixStream) -> (String, String) {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let (mut out, mut err, mut rest) = (Vec::new(), Vec::new(), &all[..]);
    while let Some((head, tail)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes(head[4..].try_into().unwrap()) as usize;
        let into = if head[0] == 1 { &mut out } else { &mut err };
        into.extend_from_slice(&tail[..length]);
        rest = &tail[length..];
    }
    assert!(rest.is_empty(), "a torn frame");
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const ALL: Attach = Attach { stdin: true, stdout: true, stderr: true };

both! {
async fn the_exit_code_is_the_programs_own(world in World) {
    let shim = world.run(&["sh", "-c", "exit 7"]).await;
    let status = shim.wait().await;
    assert_eq!((status.exit_code, status.oom_killed), (7, false));
    assert_eq!(status.error, None);
}

async fn output_is_logged_in_dockers_format(world in World) {
    let shim = world.run(&["sh", "-c", "echo out; echo err >&2"]).await;
    shim.wait().await;
    let log = world.log();
    assert!(log.contains(r#"{"log":"out\n","stream":"stdout","time":""#), "{log}");
    assert!(log.contains(r#"{"log":"err\n","stream":"stderr","time":""#), "{log}");
}

async fn a_signal_gives_128_and_its_number(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    shim.signal(libc::SIGKILL).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 137);
}

async fn a_real_time_signal_reaches_the_command(world in World) {
    let shim = world.run(&["sh", "-c", "trap 'exit 9' 37; echo up; while :; do sleep 0.01; done"]).await;
    world.logs("up").await;
    shim.signal(37).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 9);
}

async fn nothing_is_left_after_the_end(world in World) {
    let shim = world.run(&["sh", "-c", "sleep 1000 & exit 0"]).await;
    shim.wait().await;
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
    let mut left: Vec<_> = world.run_dir().read_dir().unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".sock") || name == "state")
        .collect();
    left.retain(|name| name != "state" || world.run_dir().join("state").read_dir().unwrap().next().is_some());
    assert_eq!(left, Vec::<String>::new());
    world.is_deserted().await;
}

async fn a_missing_command_is_127_with_dockers_text(world in World) {
    let err = world.create(&["nope"]).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "failed to create task for container: failed to create shim task: OCI runtime create failed: \
         runc create failed: unable to start container process: exec: \"nope\": executable file not \
         found in $PATH: unknown"
    );
    assert_eq!(err.exit_code(), 127);
    let err = world.create(&["/nope"]).await.unwrap_err();
    assert!(err.to_string().contains(r#"exec: "/nope": stat /nope: no such file or directory"#), "{err}");
    assert_eq!(err.exit_code(), 127);
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
}

async fn a_file_that_may_not_be_executed_is_126(world in World) {
    let err = world.create(&["/plain"]).await.unwrap_err();
    assert!(err.to_string().contains(r#"exec: "/plain": permission denied"#), "{err}");
    assert_eq!(err.exit_code(), 126);
}

async fn a_script_without_interpreter_is_not_given_to_a_shell(world in World) {
    world.write_executable("/noexec", "echo ran anyway\n");
    let shim = world.run(&["/noexec"]).await;
    let status = shim.wait().await;
    assert_ne!(status.exit_code, 0);
    assert!(world.logged().contains("exec format error"), "{}", world.logged());
    assert!(!world.logged().contains("ran anyway"));
}

async fn a_created_container_waits_and_can_be_deleted(world in World) {
    let shim = world.create(&["sh", "-c", "echo ran"]).await.unwrap();
    assert_eq!(shim.state().await.unwrap(), (false, false));
    assert!(!world.cgroups().is_empty());
    shim.delete().await.unwrap();
    assert_eq!(world.log(), "");
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
    world.is_deserted().await;
}

async fn attached_streams_carry_everything(mut world in World) {
    (world.io.open_stdin, world.io.stdin_once) = (true, true);
    let shim = world.create(&["sh", "-c", "cat; echo bye >&2"]).await.unwrap();
    let mut stream = shim.attach(ALL).await.unwrap();
    shim.start().await.unwrap();
    stream.write_all(b"hello\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(demultiplex(stream).await, ("hello\n".to_owned(), "bye\n".to_owned()));
    assert_eq!(shim.wait().await.exit_code, 0);
    assert_eq!(world.logged(), "hello\nbye\n");
}

async fn ten_megabytes_arrive_whole_at_log_and_slow_client(world in World) {
    let script = "i=0; while [ $i -lt 10240 ]; do head -c 1023 /dev/zero; echo; i=$((i+1)); done";
    let shim = world.create(&["sh", "-c", script]).await.unwrap();
    let stream = shim.attach(Attach { stdout: true, ..Attach::default() }).await.unwrap();
    shim.start().await.unwrap();
    // Nothing is read until the shim holds a megabyte and the container has stopped writing.
    world.log_is_larger_than(500_000).await;
    let (out, _) = demultiplex(stream).await;
    assert_eq!(out.len(), 10 << 20);
    shim.wait().await;
    assert_eq!(world.logged().len(), 10 << 20);
}

async fn a_client_that_leaves_does_not_stop_the_container(world in World) {
    let shim = world.create(&["sh", "-c", "head -c 5000000 /dev/zero; echo end"]).await.unwrap();
    drop(shim.attach(Attach { stdout: true, ..Attach::default() }).await.unwrap());
    shim.start().await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 0);
    assert!(world.logged().ends_with("end\n"));
}

async fn a_terminal_is_raw_and_has_its_size(mut world in World) {
    (world.io.tty, world.io.open_stdin, world.io.console_size) = (true, true, [33, 77]);
    let shim = world.create(&["sh", "-c", "read go; stty size; read go; stty size"]).await.unwrap();
    let mut stream = shim.attach(ALL).await.unwrap();
    shim.start().await.unwrap();
    stream.write_all(b"x\n").await.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "33 77\r\n").await;
    shim.resize(44, 88).await.unwrap();
    stream.write_all(b"x\n").await.unwrap();
    read_until(&mut stream, &mut seen, "44 88\r\n").await;
    assert_eq!(shim.wait().await.exit_code, 0);
}

async fn the_user_and_its_groups_are_set(mut world in World) {
    world.spec["process"]["user"] = serde_json::json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] });
    let (code, out) = world.output_of(&["sh", "-c", "id -u; id -g; id -G; echo again > /dev/stdout"]).await;
    assert_eq!((code, out.as_str()), (0, "1000\n1001\n1001 7\nagain\n"));
}

async fn privileges_are_those_of_the_specification(world in World) {
    let status = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
    let (_, root) = world.output_of(&["sh", "-c", status]).await;
    let expected = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    assert_eq!(root, expected);
    let mut world = world.again();
    world.spec["process"]["user"]["uid"] = 1000.into();
    world.spec["process"]["noNewPrivileges"] = true.into();
    let (_, user) = world.output_of(&["sh", "-c", status]).await;
    let expected = "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n";
    assert_eq!(user, expected);
}

async fn the_seccomp_filter_binds_container_and_exec(world in World) {
    let shim = world.run(&["sh", "-c", "mkdir /tmp/a; echo $?; sleep 1000"]).await;
    world.logs("1\n").await;
    let exec = shim.exec(world.exec_request("e", &["mkdir", "/tmp/b"])).await.unwrap();
    let (_, err) = demultiplex(exec.stream.unwrap()).await;
    assert!(err.contains("Function not implemented"), "{err}");
    assert_eq!(exec.end.wait().await.unwrap(), 1);
    shim.delete().await.unwrap();
}

async fn exec_has_its_own_user_environment_and_directory(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let mut request = world.exec_request("e", &["sh", "-c",
        "id -u; pwd; echo $WHO; grep -E '^(CapEff|Seccomp|NoNewPrivs):' /proc/self/status"]);
    let mut process = serde_json::to_value(&request.process).unwrap();
    process["user"]["uid"] = 1000.into();
    process["cwd"] = "/home/me".into();
    process["env"] = serde_json::json!(["PATH=/bin", "WHO=me", "HOME=/"]);
    request.process = serde_json::from_value(process).unwrap();
    let exec = shim.exec(request).await.unwrap();
    let (out, err) = demultiplex(exec.stream.unwrap()).await;
    let expected = "1000\n/home/me\nme\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n";
    assert_eq!((out.as_str(), err.as_str()), (expected, ""));
    shim.delete().await.unwrap();
}

async fn exec_streams_stdin_and_reports_its_exit_code(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let mut request = world.exec_request("e", &["sh", "-c", "cat; exit 3"]);
    request.stdin = true;
    let exec = shim.exec(request).await.unwrap();
    let mut stream = exec.stream.unwrap();
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(demultiplex(stream).await, ("abc".to_owned(), String::new()));
    assert_eq!(exec.end.wait().await.unwrap(), 3);
    shim.delete().await.unwrap();
}

async fn exec_in_a_terminal_is_raw(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let mut request = world.exec_request("e", &["sh", "-c", "stty size; read line; echo got $line"]);
    (request.tty, request.stdin, request.console_size) = (true, true, Some((20, 60)));
    let exec = shim.exec(request).await.unwrap();
    let mut stream = exec.stream.unwrap();
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "20 60\r\n").await;
    shim.exec_resize("e", 21, 61).await.unwrap();
    stream.write_all(b"it\n").await.unwrap();
    read_until(&mut stream, &mut seen, "got it\r\n").await;
    assert_eq!(exec.end.wait().await.unwrap(), 0);
    shim.delete().await.unwrap();
}

async fn a_failing_exec_reads_as_dockers(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let err = shim.exec(world.exec_request("e", &["nope"])).await.unwrap_err();
    assert_eq!(
        err.to_string(),
        "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": \
         executable file not found in $PATH: unknown"
    );
    assert_eq!(err.exit_code(), 127);
    assert_eq!(shim.exec_wait("e").await.unwrap_err().to_string(), "exec e not found");
    shim.delete().await.unwrap();
}

async fn an_exec_ends_with_its_container(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let exec = shim.exec(world.exec_request("e", &["sh", "-c", "echo up; sleep 1000"])).await.unwrap();
    let mut stream = exec.stream.unwrap();
    let mut head = [0; 11];
    stream.read_exact(&mut head).await.unwrap();
    shim.signal(libc::SIGKILL).await.unwrap();
    // Asked only now: the shim may be gone already, and has told all the same.
    shim.wait().await;
    assert_eq!(exec.end.wait().await.unwrap(), 137);
    assert_eq!(demultiplex(stream).await, (String::new(), String::new()));
}

async fn an_exec_is_in_the_containers_cgroup_namespaces_and_limits(world in World) {
    // runc's start may return before its init has become the command, which `ps` is to find.
    let shim = world.run(&["sh", "-c", "echo up; exec sleep 1000"]).await;
    world.logs("up").await;
    let mut request = world.exec_request("e", &["sh", "-c",
        "cat /proc/self/cgroup; for n in ipc mnt net pid uts; do readlink /proc/self/ns/$n; done; \
         ulimit -n; grep ^Groups: /proc/self/status; ps | grep -c [s]leep; pwd"]);
    let mut process = serde_json::to_value(&request.process).unwrap();
    process["rlimits"] = serde_json::json!([{ "type": "RLIMIT_NOFILE", "soft": 77, "hard": 99 }]);
    process["user"]["additionalGids"] = serde_json::json!([7, 8]);
    request.process = serde_json::from_value(process).unwrap();
    let exec = shim.exec(request).await.unwrap();
    let (out, err) = demultiplex(exec.stream.unwrap()).await;
    assert_eq!((err.as_str(), exec.end.wait().await.unwrap()), ("", 0));
    let of_init = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", shim.pid())).unwrap();
    let mut expected = of_init("cgroup");
    for name in ["ipc", "mnt", "net", "pid", "uts"] {
        let link = std::fs::read_link(format!("/proc/{}/ns/{name}", shim.pid())).unwrap();
        expected.push_str(&format!("{}\n", link.display()));
    }
    expected.push_str("77\nGroups:\t7 8 \n1\n/\n");
    assert_eq!(out, expected);
    shim.delete().await.unwrap();
}

async fn a_directory_of_the_host_is_no_place_to_start_in(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    for fd in 3..20 {
        let mut request = world.exec_request("e", &["pwd"]);
        let mut process = serde_json::to_value(&request.process).unwrap();
        process["cwd"] = format!("/proc/self/fd/{fd}").into();
        request.process = serde_json::from_value(process).unwrap();
        let err = shim.exec(request).await.unwrap_err().to_string();
        assert!(err.contains("chdir to cwd") || err.contains("breakout"), "{fd}: {err}");
    }
    shim.delete().await.unwrap();
}

async fn death_for_want_of_memory_is_told(world in World) {
    let shim = world.run(&["sh", "-c", "x=a; while :; do x=$x$x$x$x; done"]).await;
    let status = shim.wait().await;
    assert_eq!((status.exit_code, status.oom_killed), (137, true));
}

async fn a_paused_container_stands_still_and_dies_when_killed(world in World) {
    let shim = world.run(&["sh", "-c", "while :; do echo tick; sleep 0.01; done"]).await;
    world.logs("tick").await;
    shim.pause().await.unwrap();
    assert_eq!(shim.state().await.unwrap(), (true, true));
    let err = shim.exec(world.exec_request("e", &["true"])).await.unwrap_err();
    assert!(err.to_string().contains("paused"), "{err}");
    shim.resume().await.unwrap();
    let ticks = world.log().len();
    world.log_is_larger_than(ticks).await;
    shim.pause().await.unwrap();
    shim.signal(libc::SIGKILL).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 137);
}

async fn limits_change_while_it_runs(world in World) {
    let shim = world.run(&["sleep", "1000"]).await;
    let limits = serde_json::json!({ "memory": { "limit": 32 << 20, "swap": 32 << 20 } });
    shim.update(&serde_json::from_value(limits).unwrap()).await.unwrap();
    let dirs = world.cgroups();
    let read = |name: &str| dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
    let limit = read("memory.limit_in_bytes").or_else(|| read("memory.max")).unwrap();
    assert_eq!(limit.trim(), (32 << 20).to_string());
    shim.delete().await.unwrap();
}

async fn kept_descriptors_are_handed_out_until_the_end(world in World) {
    let (near, far) = StdStream::pair().unwrap();
    let keep = vec![("dns".to_owned(), OwnedFd::from(far))];
    let shim = world.create_keeping(&["sleep", "1000"], keep).await.unwrap();
    let taken = StdStream::from(shim.take_fd("dns").await.unwrap());
    std::io::Write::write_all(&mut &taken, b"x").unwrap();
    let mut got = [0; 1];
    std::io::Read::read_exact(&mut &near, &mut got).unwrap();
    assert_eq!(&got, b"x");
    assert_eq!(shim.take_fd("none").await.unwrap_err().to_string(), "descriptor none not found");
    shim.start().await.unwrap();
    drop(taken);
    shim.delete().await.unwrap();
    // The last copy went with the shim.
    assert_eq!(std::io::Read::read(&mut &near, &mut got).unwrap(), 0);
}

async fn a_second_daemon_finds_what_runs(world in World) {
    let shim = world.run(&["sh", "-c", "echo up; sleep 1000"]).await;
    let pid = shim.pid();
    let script = "while [ ! -e /go ]; do sleep 0.01; done; exit 5";
    drop(shim.exec(world.exec_request("detached", &["sh", "-c", script])).await.unwrap());
    drop(shim);
    let Adopted::Running { shim, .. } = world::runtime().adopt(&world.run_dir()).await.unwrap() else {
        panic!("not found")
    };
    assert_eq!(shim.pid(), pid);
    std::fs::write(world.rootfs().join("go"), "").unwrap();
    assert_eq!(shim.exec_wait("detached").await.unwrap(), 5);
    shim.signal(libc::SIGTERM).await.unwrap();
    shim.signal(libc::SIGKILL).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 137);
}

async fn a_container_still_being_made_is_waited_for_and_found(mut world in World) {
    // A stand-in that starts the real one when it is told to.
    let (here, go) = (world.rootfs().join("slow"), world.rootfs().join("go"));
    let script = format!("#!/bin/sh\nwhile [ ! -e {} ]; do sleep 0.01; done\nexec /usr/sbin/runc \"$@\"\n", go.display());
    world.write_executable("/slow", &script);
    world.runc = here;
    world.which = Which::Runc;
    let creating = world.create(&["sleep", "1000"]);
    let listens = world.listens();
    tokio::select! {
        made = creating => panic!("made before its time: {made:?}"),
        () = listens => {} // and with this the first daemon is gone
    }
    let second = world::runtime();
    let run_dir = world.run_dir();
    let (adopted, ()) = tokio::join!(second.adopt(&run_dir), async {
        tokio::task::yield_now().await;
        std::fs::write(&go, "").unwrap();
    });
    let Adopted::Running { shim, started, paused } = adopted.unwrap() else { panic!("not found") };
    assert_eq!((started, paused), (false, false));
    shim.delete().await.unwrap();
    world.is_deserted().await;
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
}

async fn a_run_directory_serves_again_after_the_end(world in World) {
    assert_eq!(world.run(&["sh", "-c", "exit 1"]).await.wait().await.exit_code, 1);
    let shim = world.run(&["sleep", "1000"]).await;
    assert!(matches!(world.runtime.adopt(&world.run_dir()).await.unwrap(), Adopted::Running { .. }));
    shim.signal(libc::SIGKILL).await.unwrap();
    assert_eq!(shim.wait().await.exit_code, 137);
}

async fn an_end_nobody_saw_is_read_back(world in World) {
    let shim = world.run(&["sh", "-c", "exit 6"]).await;
    shim.wait().await;
    drop(shim);
    match world::runtime().adopt(&world.run_dir()).await.unwrap() {
        Adopted::Exited(status) => assert_eq!(status.exit_code, 6),
        other => panic!("{other:?}"),
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(world::runtime().adopt(empty.path()).await.unwrap(), Adopted::Absent));
}

async fn a_lost_shim_takes_its_container_along(world in World) {
    let shim = world.run(&["sh", "-c", "sleep 1000 & echo up; sleep 1000"]).await;
    world.logs("up").await;
    let pid = shim.pid();
    world.kill_shim().await;
    let status = shim.wait().await;
    assert_eq!((status.exit_code, status.error.as_deref()), (255, Some("shim lost")));
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root/bin")).exists());
}

async fn a_shim_lost_while_no_daemon_ran_is_cleaned_up_after(world in World) {
    let shim = world.create(&["sleep", "1000"]).await.unwrap();
    shim.start().await.unwrap();
    drop(shim);
    world.kill_shim().await;
    assert!(matches!(world::runtime().adopt(&world.run_dir()).await.unwrap(), Adopted::Lost));
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
    assert!(matches!(world::runtime().adopt(&world.run_dir()).await.unwrap(), Adopted::Exited(_)));
}

async fn a_shim_lost_before_the_start_is_noticed(world in World) {
    let shim = world.create(&["sleep", "1000"]).await.unwrap();
    world.kill_shim().await;
    assert_eq!(shim.wait().await.exit_code, 255);
    assert_eq!(world.cgroups(), Vec::<std::path::PathBuf>::new());
}
}

async fn read_until(stream: &mut UnixStream, seen: &mut String, text: &str) {
    let mut chunk = [0; 256];
    while !seen.contains(text) {
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "ended after {seen:?}");
        seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
}
