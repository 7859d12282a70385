//! The texts in which dockerd passes on an OCI runtime's refusal, and the exit codes it reads in them.

use crate::protocol::Failure;

/// A container that could not be created. `cause` is runc's own text after its "unable to start
/// container process: " or whatever else went wrong.
pub(crate) fn create_failed(cause: &str) -> Failure {
    Failure {
        message: format!(
            "failed to create task for container: failed to create shim task: OCI runtime create \
             failed: runc create failed: {cause}: unknown"
        ),
        exit_code: exit_code(cause),
    }
}

/// A container that was created and could not be started.
pub(crate) fn start_failed(cause: &str) -> Failure {
    Failure {
        message: format!(
            "failed to start task for container: OCI runtime start failed: {cause}: unknown"
        ),
        exit_code: exit_code(cause),
    }
}

/// An exec that could not be started.
pub(crate) fn exec_failed(cause: &str) -> Failure {
    Failure {
        message: format!("OCI runtime exec failed: exec failed: {cause}: unknown"),
        exit_code: match exit_code(cause) {
            128 => 126,
            code => code,
        },
    }
}

/// Any other operation.
pub(crate) fn failed(operation: &str, cause: &str) -> Failure {
    Failure { message: format!("OCI runtime {operation} failed: {cause}: unknown"), exit_code: 128 }
}

/// dockerd reads these classes out of the text, and so do its clients.
fn exit_code(cause: &str) -> i64 {
    let missing = ["executable file not found", "no such file or directory", "system cannot find"];
    let forbidden = ["permission denied", "not a directory", "is a directory", "exec format error"];
    if missing.iter().any(|text| cause.contains(text)) {
        127
    } else if forbidden.iter().any(|text| cause.contains(text)) {
        126
    } else {
        128
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_command_reads_as_from_dockerd() {
        let cause =
            "unable to start container process: exec: \"foo\": executable file not found in $PATH";
        let failure = create_failed(cause);
        assert_eq!(
            failure.message,
            "failed to create task for container: failed to create shim task: OCI runtime create \
             failed: runc create failed: unable to start container process: exec: \"foo\": executable \
             file not found in $PATH: unknown"
        );
        assert_eq!(failure.exit_code, 127);
        assert_eq!(exec_failed("x: permission denied").exit_code, 126);
        assert_eq!(exec_failed("something else").exit_code, 126);
        assert_eq!(create_failed("something else").exit_code, 128);
    }
}
