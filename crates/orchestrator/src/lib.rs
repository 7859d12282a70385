//! What to do about one service: pure decisions over a snapshot.
//!
//! `reconcile(&State, now) -> Decision` reads one service, its tasks, the nodes and the defaults, and returns
//! the actions that bring the tasks closer to the spec, the time at which to look again, and a reason for
//! everything it waits for. It is level-triggered: correct from any state, without memory of events. What
//! must be remembered lies in the objects themselves (`types::swarm::extension`).
//!
//! It never picks nodes (the scheduler does), never reads a clock, never mints an id, never writes: the
//! shell turns `Action`s into transactions, with `apply` for the objects they make.
//!
//! ```text
//!                    ┌ replicated ┐                    ┌ update    which slots change, in what order
//! reconcile ─ mode ──┤ global     ├─ targets ─ roles ──┤ rebalance which slots move
//!                    └ job ─ schedule                  └ slot      evict, promote, replace, fill ─ restart
//!           └ lost nodes, reaper
//! ```

mod action;
pub mod apply;
mod depend;
mod deployment;
mod global;
mod job;
mod lost;
mod plan;
mod policy;
mod progress;
mod reaper;
mod rebalance;
mod reconcile;
mod replicated;
mod restart;
mod schedule;
mod slot;
mod state;
mod task;
mod update;
mod wait;

pub use action::{Action, Because, Decision, NewTask, SpecSource};
pub use depend::{Readiness, find_cycle, readiness};
pub use deployment::note_deployment;
pub use plan::SlotKey;
pub use policy::{DEFAULT_HISTORY_LIMIT, Defaults};
pub use progress::{Progress, progress};
pub use reconcile::{reconcile, reconcile_removed};
pub use schedule::{ScheduleError, check as check_schedule, next_run};
pub use state::{Nodes, State};
pub use task::{host_ports, is_dead, is_dirty};
pub use update::{NoPreviousSpec, UpdateState, accept_spec, roll_back};
pub use wait::{Wait, Waiting};
