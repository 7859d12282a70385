//! The `sampan` client: Docker's grammar and output over the Docker Engine HTTP API.
//!
//! ```text
//! words ─usage/app─▶ container, image, network, volume, system, registry, compose   (one module per object)
//!                        │ ask                         │ show
//!                        ▼                             ▼
//!                   client (bollard + raw)    format (tables, templates), progress, session
//! ```
//! Holds no state and decides nothing about containers: what it prints is what the daemon said.

mod app;
mod blob;
mod client;
mod clock;
mod cluster;
mod compose;
mod config;
mod container;
mod ctx;
mod format;
mod image;
mod insight;
mod inspect;
mod network;
mod node;
mod opts;
mod progress;
mod registry;
mod report;
mod service;
mod session;
mod sink;
mod stack;
mod start;
mod swarm;
mod system;
mod tarball;
mod task;
mod terminal;
mod usage;
mod volume;
mod whole_file;

use std::process::ExitCode;

/// Runs the client with the process's arguments and returns its exit code.
pub fn run() -> ExitCode {
    match usage::parse(std::env::args_os().collect()) {
        Ok(cli) => ExitCode::from(report::finish(cli.run())),
        Err(code) => ExitCode::from(code),
    }
}
