//! When a node renews its certificate: between half and four fifths of its life, so that nodes which joined together
//! do not all come back together.

use crate::authority::BACKDATE;
use types::Timestamp;

/// `jitter` is random in `0.0..1.0`, drawn once per certificate.
pub fn due(not_before: Timestamp, not_after: Timestamp, jitter: f64) -> Timestamp {
    // Life counts from when the certificate was made: it says an hour earlier, and short ones would be due at once.
    let made = not_before.after(BACKDATE).min(not_after);
    let share = 0.5 + 0.3 * jitter.clamp(0.0, 1.0);
    made.after(not_after.since(made).mul_f64(share))
}
