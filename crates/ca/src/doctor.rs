//! What is wrong with a node's certificate or clock, in one sentence.

use crate::{Identity, renewal};
use types::Timestamp;

/// Clocks may differ by this before anybody is told: certificates bear an hour, Raft and leases do not mind, but logs
/// and schedules do.
const TOLERABLE_SKEW_SECONDS: u64 = 5;

/// None when nothing is wrong.
pub fn examine(identity: &Identity, now: Timestamp) -> Option<String> {
    let (from, until) = (identity.not_before(), identity.not_after());
    if now < from {
        return Some(format!(
            "this node's certificate is valid from {from} on, but its clock says {now}: set the clock"
        ));
    }
    if identity.signers().is_ok_and(|signers| signers.is_empty()) {
        return Some(
            "this node's certificate was signed by none of the roots that it trusts: it missed a change of the \
             cluster's root, so let it leave and join again"
                .to_owned(),
        );
    }
    if now > until {
        return Some(format!(
            "this node's certificate expired at {until} (its clock says {now}): join again with a token, or set the \
             clock if it is wrong"
        ));
    }
    let latest = renewal::due(from, until, 1.0);
    (now > latest).then(|| {
        format!(
            "this node's certificate expires at {until} and should have been renewed by {latest}: no manager renews it"
        )
    })
}

/// How far this node's clock is from another's, if that is too far. `here` is when the answer with `there` came.
pub fn skew(here: Timestamp, there: Timestamp, whose: &str) -> Option<String> {
    let (ahead, behind) = (here.since(there).as_secs(), there.since(here).as_secs());
    let (by, direction) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    (by > TOLERABLE_SKEW_SECONDS).then(|| {
        format!("this node's clock is {by} s {direction} {whose}'s: set one of the clocks")
    })
}
