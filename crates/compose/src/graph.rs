//! Orders of things that wait for each other.

use std::collections::{BTreeMap, BTreeSet};

/// A circle as `a, b, …, a`, if there is one: the first by name.
pub(crate) fn cycle<'n>(edges: &BTreeMap<&'n str, Vec<&'n str>>) -> Option<Vec<&'n str>> {
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        // (node, index of the next edge to follow): a walk without recursion
        let mut walk: Vec<(&str, usize)> = vec![(start, 0)];
        while let Some((node, next)) = walk.last_mut() {
            let node = *node;
            let target = edges.get(node).and_then(|targets| targets.get(*next)).copied();
            *next += 1;
            match target {
                None => {
                    done.insert(node);
                    walk.pop();
                }
                Some(target) => {
                    if let Some(at) = walk.iter().position(|(open, _)| *open == target) {
                        let circle = walk[at..].iter().map(|(open, _)| *open);
                        return Some(circle.chain([target]).collect());
                    }
                    if !done.contains(target) {
                        walk.push((target, 0));
                    }
                }
            }
        }
    }
    None
}

/// Every name after those it waits for; ties by name. Edges to unknown names are ignored; no circles allowed.
pub(crate) fn order<'n>(edges: &BTreeMap<&'n str, Vec<&'n str>>) -> Vec<&'n str> {
    let mut out: Vec<&str> = Vec::with_capacity(edges.len());
    let mut placed = BTreeSet::new();
    while out.len() < edges.len() {
        let before = out.len();
        for (name, targets) in edges {
            let ready = targets.iter().all(|t| placed.contains(t) || !edges.contains_key(t));
            if !placed.contains(name) && ready {
                placed.insert(*name);
                out.push(name);
            }
        }
        if out.len() == before {
            break;
        }
    }
    out
}
