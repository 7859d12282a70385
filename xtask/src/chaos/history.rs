//! Whether what clients saw of one register has an order: each call takes effect at one moment between its begin and its
//! end, and every answer fits the calls before it (linearizability). Pure.
//!
//! ```text
//! calls that may be next (nothing that is not placed ended before they began)
//!    ├ one that fits and changes nothing: placed, nothing else is tried here
//!    ├ writes that were answered, then writes in doubt: each tried
//!    └ none left to try: back
//! ```
//!
//! Wing and Gong's search with Lowe's memory: the same calls placed with the same value are looked at once.

use std::collections::{HashMap, HashSet};
use std::fmt;

/// What the register holds. Every write writes another value.
pub(crate) type Value = u64;

/// One call of a client. Moments are of one clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) begun: u64,
    /// [`None`]: no answer. It may have taken effect at any later time, or never.
    pub(crate) ended: Option<u64>,
    pub(crate) did: Did,
}

/// What the call did, by its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Did {
    Read(Value),
    /// Compare and set.
    Set {
        from: Value,
        to: Value,
    },
    /// Compare and set, refused: the register did not hold this.
    Refused(Value),
}

/// How far an order could be found, and what fits nowhere then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disorder {
    pub(crate) placed: usize,
    pub(crate) value: Value,
    pub(crate) next: Vec<Call>,
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {} calls the register holds {}, and none of these can be next: {:?}",
            self.placed, self.value, self.next
        )
    }
}

/// Looks for an order of calls on a register that holds `first`.
pub(crate) fn check(first: Value, mut calls: Vec<Call>) -> Result<(), Disorder> {
    calls.sort_by_key(|call| call.begun);
    Search::new(first, &calls).run()
}

struct Search<'a> {
    calls: &'a [Call],
    /// Answered calls that are not placed, and how many.
    left: Left,
    open: usize,
    /// Writes in doubt, by the value that they need.
    doubts: HashMap<Value, Vec<usize>>,
    taken: Vec<bool>,
    value: Value,
    /// Of the set of placed calls: the exclusive or of their numbers' hashes.
    placed: u128,
    seen: HashSet<(u128, Value)>,
    path: Vec<Step>,
    furthest: Disorder,
}

/// A placed call, and what else could have been placed instead.
struct Step {
    call: usize,
    before: Value,
    others: Vec<usize>,
}

impl<'a> Search<'a> {
    fn new(first: Value, calls: &'a [Call]) -> Self {
        let furthest = Disorder { placed: 0, value: first, next: Vec::new() };
        let mut left = Left::all(calls.len());
        let mut doubts: HashMap<Value, Vec<usize>> = HashMap::new();
        for (at, call) in calls.iter().enumerate().filter(|(_, call)| call.ended.is_none()) {
            left.remove(at);
            // A read without an answer says nothing.
            if let Did::Set { from, .. } = call.did {
                doubts.entry(from).or_default().push(at);
            }
        }
        Search {
            calls,
            left,
            doubts,
            taken: vec![false; calls.len()],
            open: calls.iter().filter(|call| call.ended.is_some()).count(),
            value: first,
            placed: 0,
            seen: HashSet::new(),
            path: Vec::new(),
            furthest,
        }
    }

    fn run(mut self) -> Result<(), Disorder> {
        let mut others = self.candidates();
        // Those in doubt need not have happened.
        while self.open > 0 {
            match others.pop() {
                Some(call) => {
                    if self.place(call, &mut others) {
                        others = self.candidates();
                    }
                }
                None => match self.path.pop() {
                    Some(step) => others = self.take_back(step),
                    None => return Err(self.furthest),
                },
            }
        }
        Ok(())
    }

    /// What may be next and fits, the best last.
    fn candidates(&mut self) -> Vec<usize> {
        let (window, first_end) = self.window();
        let fits = |at: &&usize| match self.calls[**at].did {
            Did::Read(seen) => seen == self.value,
            Did::Refused(wanted) => wanted != self.value,
            Did::Set { from, .. } => from == self.value,
        };
        let mut answered: Vec<usize> = window.iter().filter(fits).copied().collect();
        let changes_nothing = |at: &&usize| !matches!(self.calls[**at].did, Did::Set { .. });
        if let Some(&at) = answered.iter().find(changes_nothing) {
            return vec![at];
        }
        if self.path.len() >= self.furthest.placed {
            let next = window.into_iter().map(|at| self.calls[at].clone()).collect();
            self.furthest = Disorder { placed: self.path.len(), value: self.value, next };
        }
        let doubts = self.doubts.get(&self.value).into_iter().flatten().copied();
        let mut candidates: Vec<usize> =
            doubts.filter(|at| self.calls[*at].begun <= first_end && !self.taken[*at]).collect();
        candidates.append(&mut answered);
        candidates
    }

    /// Answered calls that are not placed and before which no other of them ended; when the first of them ends.
    fn window(&self) -> (Vec<usize>, u64) {
        let (mut window, mut first_end) = (Vec::new(), u64::MAX);
        let mut at = self.left.first();
        while let Some(call) = self.calls.get(at).filter(|call| call.begun <= first_end) {
            first_end = first_end.min(call.ended.unwrap_or(u64::MAX));
            window.push(at);
            at = self.left.after(at);
        }
        (window, first_end)
    }

    fn place(&mut self, call: usize, others: &mut Vec<usize>) -> bool {
        let next = match self.calls[call].did {
            Did::Set { to, .. } => to,
            Did::Read(_) | Did::Refused(_) => self.value,
        };
        let placed = self.placed ^ hash(call);
        if !self.seen.insert((placed, next)) {
            return false;
        }
        let others = std::mem::take(others);
        self.path.push(Step { call, before: self.value, others });
        self.take(call, true);
        (self.value, self.placed) = (next, placed);
        true
    }

    fn take(&mut self, call: usize, taken: bool) {
        self.taken[call] = taken;
        if self.calls[call].ended.is_some() && taken {
            self.left.remove(call);
            self.open -= 1;
        } else if self.calls[call].ended.is_some() {
            self.left.put_back(call);
            self.open += 1;
        }
    }

    fn take_back(&mut self, step: Step) -> Vec<usize> {
        self.take(step.call, false);
        self.value = step.before;
        self.placed ^= hash(step.call);
        step.others
    }
}

/// The calls that are not placed, in the order of their begins: a list that gives back what was taken last.
struct Left {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl Left {
    /// Place `n` stands for both ends.
    fn all(n: usize) -> Self {
        let next = (1..=n).chain([0]).collect();
        let previous = [n].into_iter().chain(0..n).collect();
        Left { next, previous }
    }
    fn first(&self) -> usize {
        self.next[self.next.len() - 1]
    }
    fn after(&self, at: usize) -> usize {
        self.next[at]
    }
    fn remove(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }
    fn put_back(&mut self, at: usize) {
        let (previous, next) = (self.previous[at], self.next[at]);
        self.next[previous] = at;
        self.previous[next] = at;
    }
}

/// Splitmix64, twice: sets of calls are told apart by the exclusive or of these.
fn hash(call: usize) -> u128 {
    let half = |seed: u64| {
        let mut mixed = (call as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    u128::from(half(0x5bd1)) << 64 | u128::from(half(0x1_0000_9e37))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(begun: u64, ended: impl Into<Option<u64>>, did: Did) -> Call {
        Call { begun, ended: ended.into(), did }
    }
    fn set(from: Value, to: Value) -> Did {
        Did::Set { from, to }
    }
    fn has_order(calls: &[Call]) -> bool {
        check(0, calls.to_vec()).is_ok()
    }

    /// Every order, tried: what the search must agree with.
    fn by_brute_force(value: Value, calls: &[Call], placed: &mut Vec<bool>) -> bool {
        let left = || (0..calls.len()).filter(|at| !placed[*at]);
        if left().all(|at| calls[at].ended.is_none()) {
            return true;
        }
        let first_end = left().filter_map(|at| calls[at].ended).min().unwrap_or(u64::MAX);
        for at in left().collect::<Vec<_>>() {
            let next = match calls[at].did {
                Did::Read(seen) if seen == value => value,
                Did::Refused(wanted) if wanted != value => value,
                Did::Set { from, to } if from == value => to,
                _ => continue,
            };
            if calls[at].begun <= first_end {
                placed[at] = true;
                if by_brute_force(next, calls, placed) {
                    return true;
                }
                placed[at] = false;
            }
        }
        false
    }

    #[test]
    fn calls_at_the_same_time_may_be_ordered_either_way() {
        assert!(has_order(&[
            call(0, 10, set(0, 1)),
            call(5, 6, Did::Read(0)),
            call(7, 8, Did::Read(1)),
        ]));
    }

    #[test]
    fn a_write_without_an_answer_may_take_effect_late_or_never() {
        let doubtful = call(0, None, set(0, 1));
        assert!(has_order(&[doubtful.clone(), call(5, 6, Did::Read(0))]));
        assert!(has_order(&[
            doubtful.clone(),
            call(5, 6, Did::Read(0)),
            call(20, 21, Did::Read(1))
        ]));
        let back = [doubtful, call(5, 6, Did::Read(1)), call(7, 8, Did::Read(0))];
        assert!(!has_order(&back), "it took effect and was gone again");
    }

    #[test]
    fn a_read_that_misses_an_answered_write_has_no_place() {
        let stale = [call(0, 1, set(0, 1)), call(2, 3, Did::Read(0))];
        let disorder = check(0, stale.to_vec()).unwrap_err();
        assert_eq!((disorder.placed, disorder.value), (1, 1));
        assert_eq!(disorder.next, [call(2, 3, Did::Read(0))]);
    }

    #[test]
    fn two_writes_of_one_value_cannot_both_be_taken() {
        assert!(!has_order(&[call(0, 9, set(0, 1)), call(0, 9, set(0, 2))]));
        assert!(has_order(&[call(0, 9, set(0, 1)), call(0, 9, Did::Refused(0))]));
    }

    #[test]
    fn a_refusal_needs_somebody_who_wrote_before() {
        assert!(!has_order(&[call(0, 1, Did::Refused(0)), call(2, 3, set(0, 1))]));
        assert!(has_order(&[call(0, None, set(0, 1)), call(2, 3, Did::Refused(0))]));
    }

    #[test]
    fn the_search_agrees_with_trying_every_order() {
        let (mut orders, mut disorders) = (0, 0);
        for seed in 0..6_000u64 {
            let draw = |turn: usize, below: u64| hash(seed as usize * 64 + turn) as u64 % below;
            let calls: Vec<Call> = (0..5)
                .map(|turn| {
                    let begun = draw(turn * 5, 12);
                    let ended = begun + draw(turn * 5 + 1, 6);
                    let did = match draw(turn * 5 + 2, 4) {
                        0 => Did::Read(draw(turn * 5 + 3, 3)),
                        1 => Did::Refused(draw(turn * 5 + 3, 3)),
                        _ => set(draw(turn * 5 + 3, 3), draw(turn * 5 + 3, 3) + 1),
                    };
                    let ended = (draw(turn * 5 + 4, 4) > 0).then_some(ended);
                    call(begun, ended, did)
                })
                .collect();
            let expected = by_brute_force(0, &calls, &mut vec![false; calls.len()]);
            assert_eq!(has_order(&calls), expected, "seed {seed}: {calls:?}");
            *(if expected { &mut orders } else { &mut disorders }) += 1;
        }
        assert!(orders > 300 && disorders > 300, "{orders} orders, {disorders} disorders");
    }

    #[test]
    fn a_long_history_with_many_doubts_is_searched_in_no_time() {
        let mut calls = Vec::new();
        for turn in 0..5_000 {
            let at = turn * 10;
            calls.push(call(at, at + 9, set(turn, turn + 1)));
            calls.push(call(at + 1, at + 25, Did::Read(turn + 1)));
            calls.push(call(at + 2, at + 15, Did::Refused(turn)));
            if turn % 20 == 0 {
                calls.push(call(at + 3, None, set(turn, 1_000_000 + turn)));
            }
        }
        assert!(has_order(&calls));
        calls.push(call(50_100, 50_101, Did::Read(77)));
        assert!(!has_order(&calls));
    }
}
