//! The last pass over a canonical tree: keys in the order in which Compose v2 prints them, and nothing that
//! says nothing: false, zero, empty text, empty lists and mappings, unless the table says that they mean something.

use crate::node::{Map, Node, Value};
use crate::schema::{Object, Shape};
use std::cmp::Ordering;

/// Arranges `node` in place.
pub(crate) fn arrange(node: &mut Node, shape: &'static Shape) {
    match (&mut node.value, shape) {
        (_, Shape::Form(_, inner) | Shape::Replace(inner)) => arrange(node, inner),
        (Value::Map(_), Shape::Or(_, inner)) => arrange(node, inner),
        (Value::Map(map), Shape::Object(object)) => fields(map, object),
        (Value::Map(map), shape) => {
            let inner = if let Shape::Map(inner) = shape { inner } else { &Shape::Any };
            map.values_mut().for_each(|child| arrange(child, inner));
            map.sort_by(|a, _, b, _| natural(a, b));
        }
        (Value::Seq(items), shape) => {
            let inner = if let Shape::List(inner, _) = shape { inner } else { &Shape::Any };
            items.iter_mut().for_each(|child| arrange(child, inner));
        }
        _ => {}
    }
}

fn fields(map: &mut Map, object: &'static Object) {
    for (key, child) in map.iter_mut() {
        arrange(child, object.field(key).map_or(&Shape::Any, |field| field.shape));
    }
    map.retain(|key, child| match object.field(key) {
        Some(field) if field.opt_out => child.value == Value::Bool(false),
        Some(field) if !field.kept && is_size(field.shape) => child.as_str() != Some("0"),
        Some(field) => field.kept || !says_nothing(child),
        None => true,
    });
    let rank = |key: &str| {
        let known = object.fields.iter().position(|field| field.name == key);
        known.unwrap_or(object.fields.len())
    };
    map.sort_by(|a, _, b, _| rank(a).cmp(&rank(b)).then_with(|| natural(a, b)));
}

fn is_size(shape: &Shape) -> bool {
    match shape {
        Shape::Form(_, inner) => is_size(inner),
        shape => matches!(shape, Shape::Bytes),
    }
}

fn says_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null | Value::Bool(false) | Value::Int(0) => true,
        Value::Float(number) => *number == 0.0,
        Value::Str(text) => text.is_empty(),
        Value::Seq(items) => items.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Bool(true) | Value::Int(_) | Value::Plain(_) => false,
    }
}

/// The order of Go's YAML writer: numbers within words by their value, letters after other signs.
fn natural(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut digits = false;
    for (index, (x, y)) in a.iter().zip(&b).enumerate() {
        if x == y {
            digits = x.is_ascii_digit();
            continue;
        }
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => x.cmp(y),
            (false, false) => number(&a, index).cmp(&number(&b, index)).then(x.cmp(y)),
            // a word that goes on with letters comes before one whose number goes on
            (letter, _) if digits => {
                if letter {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (letter, _) => {
                if letter {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        };
    }
    a.len().cmp(&b.len())
}

/// The value of the digits from `from` on, and how many they are.
fn number(word: &[char], from: usize) -> (u64, usize) {
    let digits = word[from..].iter().take_while(|c| c.is_ascii_digit());
    let value = digits.clone().filter_map(|c| c.to_digit(10));
    (
        value.fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(digit.into())),
        digits.count(),
    )
}

#[cfg(test)]
mod tests {
    use super::natural;

    #[test]
    fn keys_with_numbers_stand_in_the_order_of_their_numbers() {
        let mut keys = ["web10", "web2", "web-1", "web", "Web", "a_b", "ab", "1", "10", "9"];
        keys.sort_by(|a, b| natural(a, b));
        assert_eq!(keys, ["1", "9", "10", "Web", "a_b", "ab", "web", "web-1", "web2", "web10"]);
    }
}
