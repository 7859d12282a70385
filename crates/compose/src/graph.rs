//! Orders of things that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

/// A circle as `a, b, …, a`, if there is one: the first by name.
pub(crate) fn cycle<'n>(edges: &BTreeMap<&'n str, Vec<&'n str>>) -> Option<Vec<&'n str>> {
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        // (node, index of the next edge to follow): a walk without recursion
        let mut walk: Vec<(&str, usize)> = vec![(start, 0)];
        let mut open = BTreeSet::from([*start]);
        while let Some((node, next)) = walk.last_mut() {
            let node = *node;
            let target = edges.get(node).and_then(|targets| targets.get(*next)).copied();
            *next += 1;
            match target {
                None => {
                    done.insert(node);
                    open.remove(node);
                    walk.pop();
                }
                Some(target) if open.contains(target) => {
                    let circle = walk.iter().map(|(name, _)| *name);
                    return Some(
                        circle.skip_while(|name| *name != target).chain([target]).collect(),
                    );
                }
                Some(target) if !done.contains(target) => {
                    open.insert(target);
                    walk.push((target, 0));
                }
                Some(_) => {}
            }
        }
    }
    None
}

/// Every name after those it waits for; ties by name. Edges to unknown names are ignored; no circles allowed.
pub(crate) fn order<'n>(edges: &BTreeMap<&'n str, Vec<&'n str>>) -> Vec<&'n str> {
    let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waiters: BTreeMap<&str, Vec<&'n str>> = BTreeMap::new();
    for (name, targets) in edges {
        let known: BTreeSet<&str> =
            targets.iter().copied().filter(|target| edges.contains_key(target)).collect();
        waiting.insert(name, known.len());
        for target in known {
            waiters.entry(target).or_default().push(name);
        }
    }
    let mut ready: BTreeSet<&'n str> =
        edges.keys().copied().filter(|name| waiting.get(name) == Some(&0)).collect();
    let mut out = Vec::with_capacity(edges.len());
    while !ready.is_empty() {
        // by rounds: all that are ready, by name, before those that they make ready
        for name in std::mem::take(&mut ready) {
            out.push(name);
            for waiter in waiters.get(name).into_iter().flatten() {
                if let Some(left) = waiting.get_mut(waiter) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(waiter);
                    }
                }
            }
        }
    }
    out
}

/// `a -> b -> a`, the middle of a very long circle left out.
pub(crate) fn shown(circle: &[&str]) -> String {
    const ENDS: usize = 10;
    if circle.len() <= 2 * ENDS {
        return circle.join(" -> ");
    }
    let left_out = circle.len() - 2 * ENDS;
    let (head, tail) = (&circle[..ENDS], &circle[circle.len() - ENDS..]);
    format!("{} -> … {left_out} more … -> {}", head.join(" -> "), tail.join(" -> "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges<'n>(pairs: &[(&'n str, &[&'n str])]) -> BTreeMap<&'n str, Vec<&'n str>> {
        pairs.iter().map(|(name, on)| (*name, on.to_vec())).collect()
    }

    #[test]
    fn a_circle_is_named_from_where_it_closes() {
        let graph = edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"]), ("d", &[])]);
        assert_eq!(cycle(&graph), Some(vec!["b", "c", "b"]));
        assert_eq!(cycle(&edges(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
        assert_eq!(cycle(&edges(&[("a", &["a"])])), Some(vec!["a", "a"]));
    }

    #[test]
    fn what_is_waited_for_comes_first() {
        let graph = edges(&[("a", &["c", "c", "gone"]), ("b", &[]), ("c", &["b"]), ("d", &["b"])]);
        assert_eq!(order(&graph), ["b", "c", "d", "a"]);
    }

    #[test]
    fn a_long_circle_shows_its_ends() {
        let names: Vec<String> = (0..50).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let text = shown(&names);
        assert!(text.starts_with("s0 -> s1") && text.ends_with("s49") && text.contains("30 more"));
    }
}
