//! Composition root: one binary, four faces. `shim`, `wire` and `daemon` are words of the command line; anything
//! else is the client's.

mod daemon;
mod flags;
mod logging;
mod notify;
mod pidfile;
mod settings;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    // Called as dockerd (a symlink), it is the daemon.
    if Path::new(&program).file_name() == Some(OsStr::new("dockerd")) {
        return daemon::main(args);
    }
    match args.next().as_deref().and_then(OsStr::to_str) {
        // Before anything else: a shim has one thread and counts every page.
        Some("shim") => runtime::shim::main(args),
        Some("wire") => wire::main(args),
        Some("daemon") => daemon::main(args),
        _ => cli::run(),
    }
}
