//! Short forms rewritten to long ones. Each takes the value as written and gives the long form;
//! a value that is already long passes through.

mod mount;
mod port;

pub(crate) use mount::volume;
pub(crate) use port::port;

use crate::canon::Canon;
use crate::node::{Node, Value};
use crate::source::Span;

fn boolean(value: bool, span: Span) -> Node {
    Node::new(Value::Bool(value), span)
}

/// Gives a long form its default for a key that is not there.
fn default(node: &mut Node, key: &str, value: Node) {
    if let Some(map) = node.as_map_mut()
        && map.get(key).is_none_or(Node::is_null)
    {
        map.insert(key.to_owned(), value);
    }
}

/// `build: .`
pub(crate) fn build(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut node = match node.value {
        Value::Str(context) => Node::map([("context", Node::text(context, span))], span),
        _ => node,
    };
    let inline = node.get("dockerfile_inline").is_some();
    default(&mut node, "context", Node::text(".", span));
    if !inline {
        default(&mut node, "dockerfile", Node::text("Dockerfile", span));
    }
    let context = node.as_map_mut().and_then(|map| map.get_mut("context"));
    if let Some(Node { value: Value::Str(text), .. }) = context
        && !crate::paths::is_remote(text)
        && !text.starts_with("service:")
    {
        *text = canon.absolute(text).to_string_lossy().into_owned();
    }
    vec![node]
}

/// `depends_on: [db]`
pub(crate) fn depends_on(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let Value::Seq(names) = &node.value else {
        let mut node = node;
        if let Some(map) = node.as_map_mut() {
            for dependency in map.values_mut() {
                let place = dependency.span;
                default(dependency, "required", boolean(true, place));
            }
        }
        return vec![node];
    };
    let long = |name: &Node| {
        let place = name.span;
        let condition = Node::text("service_started", place);
        Node::map([("condition", condition), ("required", boolean(true, place))], place)
    };
    keyed(canon, names, span, long)
}

/// `networks: [front, back]`
pub(crate) fn names_to_map(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match &node.value {
        Value::Seq(names) => keyed(canon, names, span, |name| Node::new(Value::Null, name.span)),
        _ => vec![node],
    }
}

fn keyed(
    canon: &mut Canon<'_>,
    names: &[Node],
    span: Span,
    value: impl Fn(&Node) -> Node,
) -> Vec<Node> {
    let mut map = crate::node::Map::new();
    for name in names {
        match &name.value {
            Value::Str(text) => {
                map.insert(text.clone(), Node { key: name.span, ..value(name) });
            }
            _ => canon.mismatch(name, "a name"),
        }
    }
    vec![Node::new(Value::Map(map), span)]
}

/// `devices: ["/dev/sda:/dev/xvda:rwm"]`; a CDI name stays whole.
pub(crate) fn device(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut node = match &node.value {
        Value::Str(text) => {
            let mut parts = text.splitn(3, ':');
            let source = parts.next().unwrap_or_default();
            let text = |part: &str| Node::text(part, span);
            let mut entries = vec![("source", text(source))];
            entries.extend(parts.next().map(|target| ("target", text(target))));
            entries.extend(parts.next().map(|permissions| ("permissions", text(permissions))));
            Node::map(entries, span)
        }
        _ => node,
    };
    if let Some(source) = node.get("source").cloned() {
        default(&mut node, "target", source);
    }
    default(&mut node, "permissions", Node::text("rwm", span));
    vec![node]
}

/// `env_file: a.env` or a list of paths
pub(crate) fn env_file(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let long = |item: Node| {
        let place = item.span;
        let mut item = match item.value {
            Value::Str(path) => Node::map([("path", Node::text(path, place))], place),
            _ => item,
        };
        default(&mut item, "required", boolean(true, place));
        item
    };
    let items = match node.value {
        Value::Seq(items) => items.into_iter().map(long).collect(),
        Value::Str(_) => vec![long(Node { key: Span::NONE, ..node })],
        _ => return vec![node],
    };
    vec![Node::new(Value::Seq(items), span)]
}

/// One value or a list of it
pub(crate) fn list_of_one(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match node.value {
        Value::Str(_) => vec![Node::new(Value::Seq(vec![Node { key: Span::NONE, ..node }]), span)],
        _ => vec![node],
    }
}

/// `extends: base`
pub(crate) fn extends(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match node.value {
        Value::Str(service) => vec![Node::map([("service", Node::text(service, span))], span)],
        _ => vec![node],
    }
}

/// A mapping of host to address (or addresses), or `host=address` and `host:address` in a list
pub(crate) fn extra_hosts(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut out = Vec::new();
    match node.value {
        Value::Map(map) => {
            for (host, value) in map {
                let addresses = match value.value {
                    Value::Seq(items) => items,
                    _ => vec![value],
                };
                for address in addresses {
                    let text = address.as_str().unwrap_or_default();
                    out.push(Node::text(format!("{host}={}", bare(text)), address.span));
                }
            }
        }
        Value::Seq(items) => {
            for item in items {
                let parts = item
                    .as_str()
                    .and_then(|text| text.split_once('=').or_else(|| text.split_once(':')));
                match parts {
                    Some((host, address)) => {
                        out.push(Node::text(format!("{host}={}", bare(address)), item.span));
                    }
                    None => canon.error("is not a host entry", item.span, "expected host=address"),
                }
            }
        }
        _ => return vec![node],
    }
    vec![Node::new(Value::Seq(out), span)]
}

/// An address without the brackets of IPv6.
fn bare(address: &str) -> &str {
    address.trim().trim_start_matches('[').trim_end_matches(']')
}

/// `gpus: all`
pub(crate) fn gpus(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match &node.value {
        Value::Str(word) if word == "all" => {
            let all = Node::map([("count", Node::text("-1", span))], span);
            vec![Node::new(Value::Seq(vec![all]), span)]
        }
        _ => vec![node],
    }
}

/// `test: curl localhost`
pub(crate) fn health_test(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let words = |words: &[&str]| {
        Node::new(Value::Seq(words.iter().map(|word| Node::text(*word, span)).collect()), span)
    };
    match &node.value {
        Value::Str(text) if text == "NONE" => vec![words(&["NONE"])],
        Value::Str(text) => vec![words(&["CMD-SHELL", text])],
        Value::Seq(items) => {
            let first = items.first().and_then(Node::as_str);
            if !matches!(first, None | Some("NONE" | "CMD" | "CMD-SHELL")) {
                canon.error(
                    "the test begins with an unknown word",
                    span,
                    "expected CMD, CMD-SHELL or NONE first",
                );
                return Vec::new();
            }
            vec![node]
        }
        _ => vec![node],
    }
}

/// `nofile: 1024`: one number for both limits
pub(crate) fn ulimit(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match &node.value {
        Value::Map(_) => vec![node],
        _ => {
            let limit = Node { key: Span::NONE, ..node };
            vec![Node::map([("hard", limit.clone()), ("soft", limit)], span)]
        }
    }
}

/// `configs: [name]`
pub(crate) fn config(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    vec![grant(node)]
}

/// `secrets: [name]`; a relative target is below `/run/secrets`
pub(crate) fn secret(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = grant(node);
    let source = node.get("source").and_then(Node::as_str).unwrap_or_default().to_owned();
    let span = node.span;
    default(&mut node, "target", Node::text(source, span));
    if let Some(Node { value: Value::Str(target), .. }) =
        node.as_map_mut().and_then(|map| map.get_mut("target"))
        && !target.starts_with('/')
    {
        *target = format!("/run/secrets/{target}");
    }
    vec![node]
}

fn grant(node: Node) -> Node {
    let span = node.span;
    match node.value {
        Value::Str(source) => Node::map([("source", Node::text(source, span))], span),
        _ => node,
    }
}

/// `external: {name: x}` of the old dialects
pub(crate) fn external(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = node;
    let Some(map) = node.as_map_mut() else { return vec![node] };
    if let Some(external) = map.get("external")
        && let Some(inner) = external.as_map()
    {
        let place = external.clone();
        if let Some(name) = inner.get("name").cloned() {
            map.entry("name".to_owned()).or_insert(name);
        }
        map.insert("external".to_owned(), boolean(true, place.span).like(&place));
    }
    vec![node]
}

/// `include: [other.yaml]`
pub(crate) fn include(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match node.value {
        Value::Str(path) => vec![Node::map([("path", Node::text(path, span))], span)],
        _ => vec![node],
    }
}
