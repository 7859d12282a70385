//! What makes two entries of a list the same entry.

use crate::node::Node;

/// Equal text.
pub(crate) fn text(node: &Node) -> Option<String> {
    node.as_str().map(str::to_owned)
}

/// The place in the container.
pub(crate) fn target(node: &Node) -> Option<String> {
    node.get("target")?.as_str().map(str::to_owned)
}

/// The file.
pub(crate) fn path(node: &Node) -> Option<String> {
    node.get("path")?.as_str().map(str::to_owned)
}

/// The place in the container, or the source where none is given.
pub(crate) fn grant(node: &Node) -> Option<String> {
    target(node).or_else(|| node.get("source")?.as_str().map(str::to_owned))
}

/// Address, host port, container port and protocol together.
pub(crate) fn port(node: &Node) -> Option<String> {
    let part = |key: &str| node.get(key).map(|value| value.to_json().to_string());
    // a port without an address is one on all of them
    let host = part("host_ip").unwrap_or_else(|| "\"0.0.0.0\"".to_owned());
    Some(format!("{host} {:?} {:?} {:?}", part("published"), part("target"), part("protocol")))
}

/// The subnet of an address pool.
pub(crate) fn subnet(node: &Node) -> Option<String> {
    node.get("subnet")?.as_str().map(str::to_owned)
}
