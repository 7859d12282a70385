//! Keys without a value in a merged tree: `ports:` and nothing behind it.
//!
//! Over another file's value nothing means "leave it"; where no file gives a value, it is a mistake.

use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::schema::Shape;

/// Reports every key of a known mapping that is left without a value, and takes it out.
pub(crate) fn report(tree: &mut Node, shape: &'static Shape, diagnostics: &mut Vec<Diagnostic>) {
    walk(tree, shape, &mut Vec::new(), diagnostics);
}

fn walk(
    node: &mut Node,
    shape: &'static Shape,
    path: &mut Vec<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match (&mut node.value, shape) {
        (_, Shape::Form(_, inner) | Shape::Replace(inner)) => walk(node, inner, path, diagnostics),
        (Value::Map(_), Shape::Or(_, inner)) => walk(node, inner, path, diagnostics),
        (Value::Map(map), Shape::Object(object)) => {
            for (key, child) in map.iter_mut() {
                let Some(field) = object.field(key) else { continue };
                path.push(key.clone());
                if child.is_null() && !field.nullable {
                    let help = format!("give it a value or take it out of {}", object.what);
                    diagnostics.push(missing(child, field.shape, path, help));
                }
                walk(child, field.shape, path, diagnostics);
                path.pop();
            }
            map.retain(|key, child| object.field(key).is_none() || !child.is_null());
        }
        (Value::Map(map), Shape::Map(inner)) => {
            for (key, child) in map.iter_mut() {
                path.push(key.clone());
                if child.is_null() && is_word(inner) {
                    let help = "give it a value or take it out".to_owned();
                    diagnostics.push(missing(child, inner, path, help));
                }
                walk(child, inner, path, diagnostics);
                path.pop();
            }
        }
        (Value::Seq(items), Shape::List(inner, _)) => {
            for (index, child) in items.iter_mut().enumerate() {
                path.push(format!("[{index}]"));
                walk(child, inner, path, diagnostics);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Whether a mapping's entries are words, not things that may say nothing of themselves.
fn is_word(shape: &Shape) -> bool {
    match shape {
        Shape::Form(_, inner) => is_word(inner),
        shape => matches!(shape, Shape::Str | Shape::Word | Shape::Scalar | Shape::List(..)),
    }
}

fn missing(node: &Node, shape: &'static Shape, path: &[String], help: String) -> Diagnostic {
    let expected = shape.expected();
    let at = path.join(".").replace(".[", "[");
    let message = format!("must be {expected}, not nothing");
    Diagnostic::error(at, message, node.place()).label(format!("expected {expected}")).help(help)
}
