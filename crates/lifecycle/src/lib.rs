//! Decisions on a container's life: whether it starts again after an exit, and what its probes make of
//! its health. Pure: all time comes in as an argument; the engine's monitor waits and acts.

mod health;
mod restart;

pub use health::{HealthStatus, Probe, ProbeOutcome, Vitals};
pub use restart::{Backoff, Exit, Restart, Verdict};
