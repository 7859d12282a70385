//! Running a program to its end, and what it said.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// No client's command takes this long.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);

/// How a program ended and what it wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; 128 + n after signal n.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Standard output without its last newline.
    ///
    /// # Panics
    /// When the program failed: its command line and both its outputs are in the message.
    #[track_caller]
    pub fn ok(self) -> String {
        assert!(
            self.status == 0,
            "`{}` ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.command,
            self.status,
            self.stdout,
            self.stderr
        );
        self.stdout.strip_suffix('\n').map(str::to_owned).unwrap_or(self.stdout)
    }

    /// Standard error of a program that had to fail.
    ///
    /// # Panics
    /// When it succeeded.
    #[track_caller]
    pub fn err(self) -> String {
        assert!(
            self.status != 0,
            "`{}` succeeded, and should not have\n{}",
            self.command,
            self.stdout
        );
        self.stderr.trim_end().to_owned()
    }

    /// The output as [`Result`], for programs that are not tests.
    pub fn checked(self) -> Result<String> {
        anyhow::ensure!(
            self.status == 0,
            "`{}` ended with {}: {}",
            self.command,
            self.status,
            self.stderr.trim()
        );
        Ok(self.stdout)
    }
}

/// Runs `command` to its end with `input` on its standard input.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Result<Output> {
    let line = describe(command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // A program may end without reading its input: that failure is its own affair.
    let writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input)));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let (ended, waiting) = std::sync::mpsc::channel::<()>();
    // One client that hangs must not hang every test after it.
    let watchdog = std::thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().with_context(|| format!("waiting for `{line}`"))?;
    drop(ended);
    let _ = watchdog.join();
    let _ = writer.join();
    Ok(Output {
        command: line,
        status: code(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

fn describe(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
