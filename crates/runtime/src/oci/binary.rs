//! A runtime driven by its command line: runc, crun, youki.

use super::{Operation, Streams, text};
use crate::bundle;
use crate::protocol::Failure;
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

const LOG: &str = "runtime.log";

/// Performs one operation; the pid of a new process, else 0.
pub(crate) fn perform(binary: &str, id: &str, operation: Operation) -> Result<i32, Failure> {
    let mut command = Command::new(binary);
    command.args(["--root", bundle::STATE, "--log", LOG, "--log-format", "json"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _fresh = std::fs::remove_file(LOG);
    match operation {
        Operation::Create { streams } => {
            command.args(["create", "--bundle", ".", "--pid-file", "init.pid"]);
            connect(&mut command, streams);
            run(command.arg(id), text::create_failed)?;
            pid("init.pid", text::create_failed)
        }
        Operation::Start => run(command.args(["start", id]), text::start_failed),
        Operation::Exec { exec_id, init: _, process, streams } => {
            let (file, pid_file) = (format!("exec-{exec_id}.json"), format!("exec-{exec_id}.pid"));
            std::fs::write(&file, process).map_err(|err| text::exec_failed(&err.to_string()))?;
            command.args(["exec", "--detach", "--process", &file, "--pid-file", &pid_file]);
            connect(&mut command, streams);
            let done = run(command.arg(id), text::exec_failed)
                .and_then(|_| pid(&pid_file, text::exec_failed));
            let _tidied = (std::fs::remove_file(&file), std::fs::remove_file(&pid_file));
            done
        }
        Operation::Update { resources } => {
            let fail = |cause: &str| text::failed("update", cause);
            let file = as_file(&resources).map_err(|err| fail(&err.to_string()))?;
            command.stdin(file);
            run(command.args(["update", "--resources", "-", id]), fail)
        }
        Operation::Delete => {
            run(command.args(["delete", "--force", id]), |cause| text::failed("delete", cause))
        }
    }
}

fn connect(command: &mut Command, streams: Streams) {
    match streams {
        Streams::Console(socket) => {
            command.args(["--console-socket", &socket]);
        }
        Streams::Pipes(stdio) => {
            command.stdin(stdio.stdin).stdout(stdio.stdout).stderr(stdio.stderr);
        }
    }
}

fn as_file(text: &str) -> std::io::Result<Stdio> {
    let fd = nix::sys::memfd::memfd_create(c"resources", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn run(command: &mut Command, fail: impl Fn(&str) -> Failure) -> Result<i32, Failure> {
    match command.status() {
        Ok(status) if status.success() => Ok(0),
        Ok(status) => Err(fail(&reason().unwrap_or_else(|| status.to_string()))),
        Err(err) => Err(fail(&err.to_string())),
    }
}

/// The last error of the runtime's own log: `{"level":"error","msg":"runc create failed: …"}`.
fn reason() -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(LOG).and_then(|mut log| log.read_to_string(&mut text)).ok()?;
    let entry = text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        (entry.get("level")?.as_str()? == "error").then_some(entry)
    })?;
    let message = entry.get("msg")?.as_str()?;
    // dockerd's form names the operation once: it is put there again around the cause.
    let cause = ["runc create failed: ", "exec failed: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(message);
    Some(cause.to_owned())
}

fn pid(file: &str, fail: impl Fn(&str) -> Failure) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(file).map_err(|err| fail(&err.to_string()))?;
    text.trim().parse().map_err(|_| fail("no pid was written"))
}
