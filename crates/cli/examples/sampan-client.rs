//! The client alone, without the engine: for trying it against any daemon.

fn main() -> std::process::ExitCode {
    cli::run()
}
