//! One file over another: mappings merge, lists append without doubles, scalars and commands replace.
//!
//! Both sides are canonical. `!reset` takes a key away, `!override` replaces without merging.

use crate::node::{Map, Node, Tag, Value};
use crate::schema::{Identity, Object, Shape};
use crate::source::Span;

/// `over` on top of `base`.
pub(crate) fn merge(base: Node, over: Node, shape: &'static Shape) -> Node {
    if over.tag == Tag::Override {
        return Node { tag: Tag::None, ..over };
    }
    let shape = inner(shape);
    match (base.value, over.value) {
        (value, Value::Null) => Node { value, ..base },
        (Value::Map(below), Value::Map(above)) => match shape {
            Shape::Replace(_) => Node { value: Value::Map(above), ..over },
            Shape::Object(object) if replaced(object, &below, &above) => {
                Node { value: Value::Map(above), ..over }
            }
            _ => {
                let value = Value::Map(maps(below, above, shape));
                Node { value, ..over }
            }
        },
        (Value::Seq(below), Value::Seq(above))
            if !matches!(shape, Shape::Command | Shape::Replace(_)) =>
        {
            let items = below.into_iter().chain(above).collect();
            Node { value: Value::Seq(items), ..over }
        }
        (_, value) => Node { value, ..over },
    }
}

fn inner(shape: &'static Shape) -> &'static Shape {
    match shape {
        Shape::Form(_, inner_shape) | Shape::Or(_, inner_shape) => inner(inner_shape),
        shape => shape,
    }
}

fn replaced(object: &Object, below: &Map, above: &Map) -> bool {
    object.identity.is_some_and(|key| match (below.get(key), above.get(key)) {
        (Some(old), Some(new)) => old.as_str() != new.as_str(),
        _ => false,
    })
}

fn maps(mut below: Map, above: Map, shape: &'static Shape) -> Map {
    for (key, over) in above {
        if over.tag == Tag::Reset {
            below.shift_remove(&key);
            continue;
        }
        let child = match shape {
            Shape::Object(object) => object.field(&key).map_or(&Shape::Any, |field| field.shape),
            Shape::Map(child) => child,
            Shape::Any => &Shape::Any,
            _ => &Shape::Scalar,
        };
        match below.get_mut(&key) {
            Some(slot) => {
                let base = std::mem::replace(slot, Node::new(Value::Null, Span::NONE));
                *slot = merge(base, over, child);
            }
            None => {
                below.insert(key, Node { tag: Tag::None, ..over });
            }
        }
    }
    below
}

/// Removes what is still marked `!reset` and keeps, of list entries that are the same thing, the last
/// one's value in the first one's place.
pub(crate) fn settle(node: &mut Node, shape: &'static Shape) {
    node.tag = Tag::None;
    let mut shape = inner(shape);
    while let Shape::Replace(below) = shape {
        shape = inner(below);
    }
    match (&mut node.value, shape) {
        (Value::Map(map), Shape::Object(object)) => {
            map.retain(|_, child| child.tag != Tag::Reset);
            for (key, child) in map.iter_mut() {
                settle(child, object.field(key).map_or(&Shape::Any, |field| field.shape));
            }
        }
        (Value::Map(map), shape) => {
            map.retain(|_, child| child.tag != Tag::Reset);
            let below = if let Shape::Map(below) = shape { below } else { &Shape::Any };
            map.values_mut().for_each(|child| settle(child, below));
        }
        (Value::Seq(items), Shape::List(item, identity)) => {
            items.retain(|child| child.tag != Tag::Reset);
            items.iter_mut().for_each(|child| settle(child, item));
            if let Some(identity) = identity {
                unique(items, *identity);
            }
        }
        (Value::Seq(items), Shape::Any) => {
            items.retain(|child| child.tag != Tag::Reset);
            items.iter_mut().for_each(|child| settle(child, &Shape::Any));
        }
        (Value::Seq(items), Shape::Strings) => {
            items.retain(|child| child.tag != Tag::Reset);
            unique(items, |node| node.as_str().map(str::to_owned));
        }
        _ => {}
    }
}

fn unique(items: &mut Vec<Node>, identity: Identity) {
    let mut seen = indexmap::IndexMap::<String, Node>::new();
    let mut anonymous = 0;
    for item in items.drain(..) {
        let key = identity(&item).map_or_else(
            || {
                anonymous += 1;
                format!("\0{anonymous}")
            },
            |key| format!("={key}"),
        );
        seen.insert(key, item);
    }
    items.extend(seen.into_values());
}
