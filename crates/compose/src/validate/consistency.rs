//! Values of one service that contradict each other, or that no container can have.

use super::entries;
use crate::diagnostic::Diagnostic;
use crate::node::{Node, Value};
use crate::source::Span;
use std::collections::BTreeMap;

/// Everything wrong with one service.
pub(super) fn all(at: &str, service: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let mut error = |message: String, place: Span, label: &str| {
        diagnostics.push(Diagnostic::error(at, message, place).label(label));
    };
    for (on, dependency) in entries(service, "depends_on") {
        if dependency.as_map().is_some() && dependency.get("condition").is_none() {
            let message = format!("`depends_on.{on}` has no `condition`");
            error(message, dependency.place(), "needs `condition`");
        }
    }
    twice_said(service, &mut error);
    negative(service, &mut error);
    platforms(service, &mut error);
    targets(service, &mut error);
    device_requests(service, &mut error);
    watches(service, &mut error);
    for port in service.get("ports").and_then(Node::as_seq).unwrap_or_default() {
        if let Some(ip) = port.get("host_ip")
            && ip.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_err())
        {
            error("`host_ip` is not an IP address".to_owned(), ip.place(), "expected an address");
        }
    }
    for mount in service.get("volumes").and_then(Node::as_seq).unwrap_or_default() {
        if let Some(size) = mount.at(&["tmpfs", "size"])
            && size.as_str().is_some_and(|text| text.starts_with('-'))
        {
            error("the size of a tmpfs is negative".to_owned(), size.place(), "expected 0 or more");
        }
    }
}

/// Limits that the old keys and `deploy` give differently.
fn twice_said(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    for (own, deployed) in [
        ("cpus", ["limits", "cpus"]),
        ("mem_limit", ["limits", "memory"]),
        ("mem_reservation", ["reservations", "memory"]),
        ("pids_limit", ["limits", "pids"]),
    ] {
        let path = ["deploy", "resources", deployed[0], deployed[1]];
        if let (Some(one), Some(other)) = (service.get(own), service.at(&path))
            && one.value != other.value
        {
            let word = path.join(".");
            let message = format!("can't set distinct values on '{own}' and '{word}'");
            error(message, one.place(), &format!("differs from `{word}`"));
        }
    }
}

fn negative(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    for path in [&["scale"][..], &["deploy", "replicas"]] {
        if let Some(count) = service.at(path)
            && matches!(count.value, Value::Int(n) if n < 0)
        {
            let message = format!("{}: must be greater than or equal to 0", path.join("."));
            error(message, count.place(), "expected 0 or more");
        }
    }
}

fn platforms(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    let built = service.at(&["build", "platforms"]).and_then(Node::as_seq).unwrap_or_default();
    if let Some(own) = service.get("platform")
        && !built.is_empty()
        && !built.iter().any(|platform| platform.as_str() == own.as_str())
    {
        // as Compose v2 says it
        let platform = own.as_str().unwrap_or_default();
        let message = format!("service.build.platforms MUST include service.platform {platform:?}");
        error(message, own.place(), "not among `build.platforms`");
    }
}

/// One place in a container holds one thing.
fn targets(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    let mut seen = BTreeMap::new();
    let tmpfs = service.get("tmpfs").and_then(Node::as_seq).unwrap_or_default();
    let volumes = service.get("volumes").and_then(Node::as_seq).unwrap_or_default();
    let tmpfs = tmpfs.iter().filter_map(|node| Some((node.as_str()?.split(':').next()?, node)));
    let volumes = volumes.iter().filter_map(|node| Some((node.get("target")?.as_str()?, node)));
    for (target, node) in tmpfs.chain(volumes) {
        if let Some(line) = seen.insert(target.to_owned(), node.span.line) {
            let message = format!("target {target} is already mounted in line {line}");
            error(message, node.span, "mounted twice");
        }
    }
}

fn device_requests(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    let reserved = service.at(&["deploy", "resources", "reservations", "devices"]);
    for request in [service.get("gpus"), reserved].into_iter().flatten().filter_map(Node::as_seq) {
        for request in request.iter().filter(|request| request.get("device_ids").is_some()) {
            if let Some(count) = request.get("count") {
                let message = "`count` and `device_ids` exclude each other".to_owned();
                error(message, count.place(), "remove one of the two");
            }
        }
    }
}

fn watches(service: &Node, error: &mut impl FnMut(String, Span, &str)) {
    for rule in service.at(&["develop", "watch"]).and_then(Node::as_seq).unwrap_or_default() {
        let action = rule.get("action").and_then(Node::as_str).unwrap_or_default();
        let target = rule.get("target").and_then(Node::as_str).unwrap_or_default();
        if target.is_empty() && !matches!(action, "" | "rebuild" | "restart") {
            let message = format!("the watch action {action} needs a `target`");
            error(message, rule.place(), "needs `target`");
        }
    }
}

/// No two services may give their containers the same name.
pub(super) fn container_names(tree: &Node, diagnostics: &mut Vec<Diagnostic>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (service, node) in entries(tree, "services") {
        let Some(name) = node.get("container_name") else { continue };
        if let Some(other) = seen.insert(name.as_str().unwrap_or_default(), service) {
            let message = format!(
                "container name {:?} is already in use by service {other:?}",
                name.as_str().unwrap_or_default()
            );
            let at = format!("services.{service}");
            diagnostics.push(Diagnostic::error(at, message, name.place()).label("used twice"));
        }
    }
}
