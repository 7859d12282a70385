//! How commands end: exit codes, and the error lines docker users know.

use std::io::Write;

use anyhow::Result;

use crate::client::ClientError;

/// A command's exit code; the text is already printed.
pub(crate) type Exit = u8;

/// Success.
pub(crate) const OK: Exit = 0;
/// The command failed.
pub(crate) const FAILED: Exit = 1;
/// `run`, `create`: the container could not be made or started.
pub(crate) const NOT_STARTED: Exit = 125;

/// A failure of a run-like command: prefix, hint and its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct RunFailure {
    /// `run` or `create`.
    pub(crate) command: &'static str,
    pub(crate) message: String,
    pub(crate) code: Exit,
}

/// A message with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    pub(crate) message: String,
    pub(crate) code: Exit,
}

/// Prints `err` and returns the exit code it asks for.
pub(crate) fn failure(err: &anyhow::Error) -> Exit {
    let mut out = std::io::stderr().lock();
    // a closed stderr leaves only the exit code
    if let Some(run) = err.downcast_ref::<RunFailure>() {
        let _ = writeln!(
            out,
            "sampan: {}\n\nRun 'sampan {} --help' for more information",
            run.message, run.command
        );
        return run.code;
    }
    if let Some(coded) = err.downcast_ref::<Coded>() {
        let _ = writeln!(out, "{}", coded.message);
        return coded.code;
    }
    if is_broken_pipe(err) {
        return FAILED;
    }
    let _ = writeln!(out, "{}", text(err));
    FAILED
}

/// The chain of an error in one line, the daemon's own sentence alone.
pub(crate) fn text(err: &anyhow::Error) -> String {
    match err.downcast_ref::<ClientError>() {
        Some(client) => client.to_string(),
        // Go's wording of what Rust's standard library says about a missing file
        None => format!("{err:#}")
            .replace("No such file or directory (os error 2)", "no such file or directory")
            .replace("Permission denied (os error 13)", "permission denied"),
    }
}

/// Does `action` for each name: prints what it returns, or its error, and goes on.
pub(crate) async fn each(
    names: &[String],
    action: impl AsyncFn(String) -> Result<Option<String>>,
) -> Result<Exit> {
    let mut exit = OK;
    for name in names {
        match action(name.clone()).await {
            Ok(Some(line)) => say(&line)?,
            Ok(None) => {}
            Err(err) if stops_everything(&err) => return Err(err),
            Err(err) => {
                eprintln!("{}", text(&err));
                exit = FAILED;
            }
        }
    }
    Ok(exit)
}

/// Prints one line to standard output.
pub(crate) fn say(line: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{line}")
}

/// Prints text that brings its own newlines.
pub(crate) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// No daemon, no point in trying the next name.
fn stops_everything(err: &anyhow::Error) -> bool {
    let unreachable = |err: &ClientError| {
        matches!(
            err,
            ClientError::Unreachable { .. }
                | ClientError::Denied { .. }
                | ClientError::Address { .. }
        )
    };
    is_broken_pipe(err) || err.downcast_ref::<ClientError>().is_some_and(unreachable)
}

fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Runs a command on a runtime of its own and prints its failure, if any.
pub(crate) fn finish(command: impl Future<Output = Result<Exit>>) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(err) => {
            eprintln!("sampan: failed to start the runtime: {err}");
            return FAILED;
        }
    };
    let outcome = runtime.block_on(command);
    // a blocked read of standard input must not keep the process
    runtime.shutdown_background();
    outcome.unwrap_or_else(|err| failure(&err))
}
