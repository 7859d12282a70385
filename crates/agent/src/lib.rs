//! Runs on every node: what managers assign becomes containers, what they do becomes statuses.
//!
//! ```text
//!            Connect ◄──────── session ───────────► outbox ◄─ statuses ─┐
//!                              │ assignments, written                   │
//!                              ▼                                        │
//!  journal on disk ◄──────── worker: one taskfsm::Machine per task ─────┘
//!                              │ effects ▼     ▲ what came of them
//!                            executor ──► engine
//! ```
//!
//! | module | owns |
//! |---|---|
//! | `agent` | start, stop, leave |
//! | `session` | the stream to a manager: hello, heartbeats, statuses; connects again |
//! | `follower` | the endpoint table, as far as the kernel is to follow it |
//! | `worker` | the machines, and what is done next |
//! | `assigned`, `asked`, `outbox`, `template`, `spec`, `content` | decisions: what is assigned, what images are asked about, what is unsaid, what a container is made of |
//! | `journal` | what outlives the agent |
//! | `executor`, `files`, `pulls` | effects: containers, secrets and configs, images |
//!
//! Spawned tasks: the session, the follower, the worker, one watcher for each container, one job at a time for each task.
//! A lost manager ends only the session: containers go on, their ends are reported later.

mod agent;
mod asked;
mod assigned;
mod connect;
mod content;
mod description;
mod executor;
mod files;
mod follower;
mod journal;
mod local;
mod outbox;
mod protect;
mod pulls;
mod session;
mod spec;
mod template;
mod worker;

pub use agent::{Agent, Options};
pub use connect::Connect;
