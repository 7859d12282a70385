//! Short forms rewritten to long ones. Each takes the value as written and gives the long form;
//! a value that is already long passes through.

mod mount;
mod port;

pub(crate) use mount::volume;
pub(crate) use port::port;

use crate::canon::Canon;
use crate::node::{Node, Tag, Value};
use crate::source::Span;

fn boolean(value: bool, span: Span) -> Node {
    Node::new(Value::Bool(value), span)
}

/// Gives a long form its default for a key that is not there, or that is taken away.
fn default(node: &mut Node, key: &str, value: Node) {
    if let Some(map) = node.as_map_mut()
        && map.get(key).is_none_or(|node| node.tag == Tag::Reset)
    {
        map.insert(key.to_owned(), value);
    }
}

/// As [`default`], and in place of what an unset variable leaves.
fn default_of_blank(node: &mut Node, key: &str, value: Node) {
    if let Some(map) = node.as_map_mut()
        && map.get(key).is_none_or(|node| node.tag == Tag::Reset || node.as_str() == Some(""))
    {
        map.insert(key.to_owned(), value);
    }
}

/// A list, or a string in its place, that names nothing twice
pub(crate) fn distinct(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut seen = std::collections::BTreeSet::new();
    for item in node.as_seq().unwrap_or_default() {
        if let Some(text) = item.as_str()
            && item.tag != Tag::Reset
            && !seen.insert(text)
        {
            canon.error(format!("`{text}` is listed twice"), item.span, "listed before");
        }
    }
    vec![node]
}

/// `build: .`
pub(crate) fn build(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut node = match node.value {
        Value::Str(context) => Node::map([("context", Node::text(context, span))], span),
        _ => node,
    };
    if let Some(context) = node.as_map_mut().and_then(|map| map.get_mut("context")) {
        local(canon, context);
    }
    vec![node]
}

/// Makes the folder of a context absolute; other kinds of contexts stay.
fn local(canon: &Canon<'_>, context: &mut Node) {
    if let Value::Str(text) = &mut context.value
        && !text.is_empty()
        && !crate::paths::is_remote(text)
        && !text.starts_with("service:")
    {
        *text = canon.absolute(text).to_string_lossy().into_owned();
    }
}

/// `additional_contexts: {base: ../base}` or `[base=../base]`
pub(crate) fn contexts(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = node;
    match &mut node.value {
        Value::Map(map) => {
            for context in map.values_mut() {
                match context.value {
                    Value::Str(_) => local(canon, context),
                    _ => canon.mismatch(context, "a folder, an image or a service"),
                }
            }
        }
        Value::Seq(items) => {
            for item in items {
                let Some((name, context)) = item.as_str().and_then(|text| text.split_once('='))
                else {
                    canon.error("is not a context", item.span, "expected name=context");
                    continue;
                };
                let (name, mut context) = (name.to_owned(), Node::text(context, item.span));
                local(canon, &mut context);
                item.value = Value::Str(format!("{name}={}", context.as_str().unwrap_or_default()));
            }
        }
        _ => {}
    }
    vec![node]
}

/// `ssh: [default, key=~/.ssh/key]` or a mapping; kept as a list of `key: path`, as Compose v2 prints it.
pub(crate) fn ssh(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut words = Vec::new();
    match node.value {
        Value::Map(map) => {
            for (id, path) in map {
                if matches!(path.value, Value::Seq(_) | Value::Map(_)) {
                    canon.mismatch(&path, "a key's path");
                    continue;
                }
                let word = match &path.value {
                    Value::Str(path) => format!("{id}: {}", canon.absolute(path).display()),
                    _ => path.as_str().map_or_else(|| id.clone(), |path| format!("{id}: {path}")),
                };
                words.push(Node::text(word, path.span));
            }
        }
        Value::Seq(items) => {
            for item in items {
                match item.as_str().map(key_and_path) {
                    Some(("default", "")) => words.push(Node::text("default", item.span)),
                    Some((id, path)) if !path.is_empty() => {
                        let word = format!("{id}: {}", canon.absolute(path).display());
                        words.push(Node::text(word, item.span));
                    }
                    _ => canon.error("is not an SSH key", item.span, "expected default or id=path"),
                }
            }
        }
        _ => return vec![node],
    }
    vec![Node::new(Value::Seq(words), span)]
}

/// `id=path` as people write it, or `id: path` as it is printed.
fn key_and_path(text: &str) -> (&str, &str) {
    text.split_once('=').or_else(|| text.split_once(": ")).unwrap_or((text, ""))
}

/// A volume of the old or new dialect; the device of a bound folder becomes absolute.
pub(crate) fn volume_object(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut done = external(canon, node);
    for node in &mut done {
        let word = |path: &[&str]| node.at(path).and_then(Node::as_str);
        let bound =
            word(&["driver"]) == Some("local") && word(&["driver_opts", "o"]) == Some("bind");
        let opts = node.as_map_mut().and_then(|map| map.get_mut("driver_opts")).filter(|_| bound);
        if let Some(device) = opts.and_then(Node::as_map_mut).and_then(|map| map.get_mut("device"))
            && let Value::Str(text) = &mut device.value
        {
            *text = canon.absolute(text).to_string_lossy().into_owned();
        }
    }
    done
}

/// `95000` or `400ms`
pub(crate) fn microseconds(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let nanos = match &node.value {
        Value::Str(text) => crate::units::parse_duration(text),
        _ => None,
    };
    vec![match nanos {
        Some(nanos) => Node { value: Value::Plain((nanos / 1000).to_string()), ..node },
        None => node,
    }]
}

/// A size of whole bytes; with a unit it may have a fraction
pub(crate) fn whole(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    match &node.value {
        Value::Plain(text) if crate::canon::integer(text).is_none() => {
            canon.mismatch(&node, "an integer");
            Vec::new()
        }
        _ => vec![node],
    }
}

/// `count: all`
pub(crate) fn count(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let all = node.as_str().is_some_and(|text| text.eq_ignore_ascii_case("all"));
    vec![if all { Node { value: Value::Plain("-1".to_owned()), ..node } } else { node }]
}

/// A device request without a number and without ids asks for all.
pub(crate) fn device_request(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = node;
    let span = node.span;
    if node.get("device_ids").is_none() {
        default(&mut node, "count", Node::text("all", span));
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
pub(crate) fn device(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let Value::Str(text) = &node.value else { return vec![node] };
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (*source, *source, "rwm"),
        [source, target] => (*source, *target, "rwm"),
        [source, target, permissions] => (*source, *target, *permissions),
        _ => ("", "", ""),
    };
    if source.is_empty() {
        let message = format!("`{text}` is not a device");
        canon.error(message, span, "expected source[:target[:permissions]]");
        return Vec::new();
    }
    let text = |part: &str| Node::text(part, span);
    let target = if target.is_empty() { source } else { target };
    vec![Node::map(
        [("source", text(source)), ("target", text(target)), ("permissions", text(permissions))],
        span,
    )]
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

/// `if_not_present` is an older word
pub(crate) fn pull_policy(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let old = node.as_str() == Some("if_not_present");
    vec![if old { Node { value: Value::Str("missing".to_owned()), ..node } } else { node }]
}

/// What an unset variable leaves says nothing
pub(crate) fn or_nothing(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if node.as_str() == Some("") { Vec::new() } else { vec![node] }
}

/// Options without a value have an empty one
pub(crate) fn options(_: &mut Canon<'_>, mut node: Node) -> Vec<Node> {
    for option in node.as_map_mut().into_iter().flat_map(|map| map.values_mut()) {
        if option.is_null() && option.tag == Tag::None {
            option.value = Value::Str(String::new());
        }
    }
    vec![node]
}

/// A value that must not be blank
pub(crate) fn given(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if node.as_str() == Some("") {
        canon.error("must not be blank", node.span, "expected a value");
        return Vec::new();
    }
    vec![node]
}

/// A value that must be written without quotes
pub(crate) fn unquoted(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if matches!(node.value, Value::Str(_)) {
        canon.mismatch(&node, "a bare number or boolean");
        return Vec::new();
    }
    vec![node]
}

/// A value that must be text: a number is given in quotes
pub(crate) fn text_only(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if matches!(node.value, Value::Plain(_)) {
        canon.quote_it(&node);
        return Vec::new();
    }
    vec![node]
}

/// A boolean or text
pub(crate) fn no_number(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if node.kind() == "a number" {
        canon.quote_it(&node);
        return Vec::new();
    }
    vec![node]
}

/// A count that is 0 or more
pub(crate) fn natural(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    if node.as_str().is_some_and(|text| text.trim_start().starts_with('-')) {
        canon.error("must be greater than or equal to 0", node.span, "expected 0 or more");
        return Vec::new();
    }
    vec![node]
}

/// A share of the kernel's choice of whom to kill
pub(crate) fn score(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let number = node.as_str().and_then(crate::canon::integer);
    if number.is_some_and(|number| !(-1000..=1000).contains(&number)) {
        canon.error("must be from -1000 to 1000", node.span, "out of range");
        return Vec::new();
    }
    vec![node]
}

/// `dns: ""`: what an unset variable leaves is none
pub(crate) fn without_empty(_: &mut Canon<'_>, mut node: Node) -> Vec<Node> {
    let empty = |node: &Node| node.as_str() == Some("");
    match &mut node.value {
        Value::Seq(items) => items.retain(|item| !empty(item)),
        Value::Str(text) if text.is_empty() => return Vec::new(),
        _ => {}
    }
    vec![node]
}

/// One value or a list of it
pub(crate) fn list_of_one(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    match node.value {
        Value::Str(_) | Value::Plain(_) => {
            vec![Node::new(Value::Seq(vec![Node { key: Span::NONE, ..node }]), span)]
        }
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
                    let Value::Str(text) = &address.value else {
                        canon.mismatch(&address, "an address");
                        continue;
                    };
                    push_host(canon, &mut out, &host, text, address.span);
                }
            }
        }
        Value::Seq(items) => {
            for item in items {
                let parts = item
                    .as_str()
                    .and_then(|text| text.split_once('=').or_else(|| text.split_once(':')));
                match parts {
                    Some((host, addresses)) => {
                        for address in addresses.split(',') {
                            push_host(canon, &mut out, host, address, item.span);
                        }
                    }
                    None => canon.error("is not a host entry", item.span, "expected host=address"),
                }
            }
        }
        _ => return vec![node],
    }
    out.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    vec![Node::new(Value::Seq(out), span)]
}

fn push_host(canon: &mut Canon<'_>, out: &mut Vec<Node>, host: &str, address: &str, span: Span) {
    if host.is_empty() || host.contains([':', '=']) {
        canon.error(format!("`{host}` is not a host name"), span, "expected host=address");
    }
    out.push(Node::text(format!("{host}={}", bare(address)), span));
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
            let all = Node::map([("count", Node::text("all", span))], span);
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

/// `configs: [name]`
pub(crate) fn config(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    vec![grant(node)]
}

/// `secrets: [name]`; the target is below `/run/secrets` unless given
pub(crate) fn secret(_: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = grant(node);
    let source = node.get("source").and_then(Node::as_str).unwrap_or_default().to_owned();
    let span = node.span;
    default_of_blank(&mut node, "target", Node::text(format!("/run/secrets/{source}"), span));
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
pub(crate) fn external(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let mut node = node;
    let Some(map) = node.as_map_mut() else { return vec![node] };
    if let Some(external) = map.get("external")
        && let Some(inner) = external.as_map()
    {
        let place = external.clone();
        if let Some((key, node)) = inner.iter().find(|(key, _)| *key != "name") {
            let message = format!("unknown key `{key}` of `external`");
            canon.error(message, node.place(), "expected `name` alone, or `external: true`");
        }
        if let Some(name) = inner.get("name").cloned() {
            if map.get("name").is_some_and(|own| own.as_str() != name.as_str()) {
                canon.error(
                    "`name` and `external.name` conflict",
                    name.place(),
                    "use `name` alone",
                );
            }
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
