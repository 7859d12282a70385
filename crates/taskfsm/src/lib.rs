//! One task on one node, as a machine without IO.
//!
//! The agent feeds it what managers want and what the engine observed, and performs the effects it returns.
//! It never restarts anything: a task is one run, its successor is the orchestrator's.

mod machine;
mod report;

pub use machine::{Effect, Event, Machine, Phase, Rules, step};
pub use report::Report;
