//! `volumes` of a service: `/data`, `name:/data:ro`, `./src:/app:ro,z`, and the long form.

use super::{boolean, default};
use crate::canon::Canon;
use crate::node::{Node, Value};
use crate::paths;
use crate::source::Span;

/// One entry as written to its long form; paths of binds become absolute.
pub(crate) fn volume(canon: &mut Canon<'_>, node: Node) -> Vec<Node> {
    let span = node.span;
    let mut node = match &node.value {
        Value::Str(text) => match short(canon, text, span) {
            Some(long) => long,
            None => return Vec::new(),
        },
        Value::Map(_) => node,
        _ => {
            canon.mismatch(&node, "a volume");
            return Vec::new();
        }
    };
    finish(canon, &mut node);
    vec![node]
}

fn finish(canon: &mut Canon<'_>, node: &mut Node) {
    let bind = node.get("type").and_then(Node::as_str) == Some("bind");
    let Some(map) = node.as_map_mut() else { return };
    if let Some(Node { value: Value::Str(target), .. }) = map.get_mut("target")
        && !target.is_empty()
    {
        let clean = paths::clean(std::path::Path::new(target)).to_string_lossy().into_owned();
        // what is left of `.` and `a/..`, as Go's path.Clean has it
        *target = if clean.is_empty() { ".".to_owned() } else { clean };
    }
    if !bind {
        return;
    }
    if let Some(Node { value: Value::Str(source), .. }) = map.get_mut("source") {
        *source = canon.absolute(source).to_string_lossy().into_owned();
    }
}

fn short(canon: &mut Canon<'_>, text: &str, span: Span) -> Option<Node> {
    let parts = sections(text);
    let (source, target, mode) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, mode] => (*source, *target, *mode),
        _ => {
            canon.error(
                format!("`{text}` is not a volume"),
                span,
                "expected [source:]target[:mode]",
            );
            return None;
        }
    };
    if target.is_empty() || (parts.len() > 1 && source.is_empty()) {
        canon.error(format!("`{text}` is not a volume"), span, "expected [source:]target[:mode]");
        return None;
    }
    let bind = source.starts_with(['/', '.', '~']) || paths::is_windows(source);
    let text_node = |text: &str| Node::text(text, span);
    let mut entries = vec![("type", text_node(if bind { "bind" } else { "volume" }))];
    if !source.is_empty() {
        entries.push(("source", text_node(source)));
    }
    entries.push(("target", text_node(target)));
    let mut long = Node::map(entries, span);
    // of a place of one or two letters Compose v2 asks no more
    if text.len() > 2 {
        default(&mut long, if bind { "bind" } else { "volume" }, Node::map([], span));
    }
    for word in mode.split(',').filter(|word| !word.is_empty()) {
        option(canon, &mut long, word, span);
    }
    Some(long)
}

fn option(canon: &mut Canon<'_>, long: &mut Node, word: &str, span: Span) {
    let section = |long: &mut Node, name: &str, key: &str, value: Node| {
        default(long, name, Node::map([], span));
        if let Some(options) = long.as_map_mut().and_then(|map| map.get_mut(name)) {
            default(options, key, value);
        }
    };
    match word {
        "rw" => {}
        "ro" => default(long, "read_only", boolean(true, span)),
        "nocopy" => section(long, "volume", "nocopy", boolean(true, span)),
        "z" | "Z" => section(long, "bind", "selinux", Node::text(word, span)),
        "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate" => {
            section(long, "bind", "propagation", Node::text(word, span));
        }
        // how fast a desktop's shared folders are to follow: here they are the same folder
        "cached" | "delegated" | "consistent" => {}
        _ => canon.warn(format!("the mode `{word}` of a volume has no effect"), span),
    }
}

/// The parts between colons; the colon of a drive's letter (`C:\\data`, `C:/data:/data`) is none.
fn sections(text: &str) -> Vec<&str> {
    let parts: Vec<&str> = text.split(':').collect();
    let drive = |at: usize| {
        let letter = |part: &&str| part.len() == 1 && part.as_bytes()[0].is_ascii_alphabetic();
        let path = parts.get(at + 1).is_some_and(|rest| {
            // `v:/data` is a volume named v
            rest.starts_with('\\')
                || (rest.starts_with('/')
                    && parts.get(at + 2).is_some_and(|next| next.starts_with('/')))
        });
        parts.get(at).is_some_and(letter) && path
    };
    let mut out = Vec::new();
    let (mut at, mut begin) = (0, 0);
    while at < parts.len() {
        let width =
            if drive(at) { parts[at].len() + 1 + parts[at + 1].len() } else { parts[at].len() };
        out.push(&text[begin..begin + width]);
        at += if drive(at) { 2 } else { 1 };
        begin += width + 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::sections;

    #[test]
    fn a_drives_colon_divides_nothing() {
        for (text, parts) in [
            ("v:/v", &["v", "/v"][..]),
            ("/data", &["/data"]),
            ("a:/b:ro", &["a", "/b", "ro"]),
            ("C:\\x:/data:ro", &["C:\\x", "/data", "ro"]),
            ("C:/x:/data", &["C:/x", "/data"]),
            ("C:\\x:D:\\y", &["C:\\x", "D:\\y"]),
            ("a:b:c:d", &["a", "b", "c", "d"]),
        ] {
            assert_eq!(sections(text), parts, "{text}");
        }
    }
}
