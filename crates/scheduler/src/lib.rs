//! Which task runs on which node, and why it runs on none.
//!
//! Pure: fed with changes, asked with `now`, answers with decisions. The work grows with what changed since the
//! last question, not with the cluster; equal inputs give equal answers whatever the order they came in.

mod board;
mod census;
mod check;
mod contest;
mod decision;
mod error;
mod filter;
mod ground;
mod log;
mod node;
mod nodeset;
mod preempt;
mod rule;
mod scheduler;
mod shelf;
mod tree;
mod wish;

pub use decision::{Decision, Refusal, Verdict};
pub use error::PlacementError;
pub use filter::{Filter, Reason, Tally};
pub use scheduler::Scheduler;
pub use wish::{suits, validate};
