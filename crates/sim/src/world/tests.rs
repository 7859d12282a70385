use super::*;
use crate::{Fault, Real};

#[test]
fn a_seed_replays_exactly() {
    let play = || {
        let report = run(2, Box::new(Real::default()), false);
        (report.virtual_ms, report.entries, report.events, report.most_tasks, report.notes)
    };
    assert_eq!(play(), play());
}

#[test]
fn a_healthy_cluster_converges_and_is_never_noted() {
    for seed in 20..26 {
        let report = run(seed, Box::new(Real::default()), false);
        assert_eq!(report.notes, vec![], "seed {seed}");
        assert!(report.entries > 0 && report.virtual_ms > TROUBLED, "seed {seed}");
    }
}

#[test]
fn a_decision_that_stops_tasks_at_whim_is_caught() {
    let report = run(0, Box::new(Real::with(Some(Fault::StopsAtWhim))), false);
    assert_eq!(report.notes.first().map(|note| note.rule), Some(Rule::StoppedForAReason));
}
