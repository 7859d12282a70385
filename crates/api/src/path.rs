//! From a request's path to the one spelling that the routes know.
//!
//! Docker's names may hold slashes (`/images/library/busybox/json`), which a router of segments cannot
//! match. Here the name is cut out and its slashes are escaped, so that a route sees one segment.

use crate::version::ApiVersion;

/// The last segments of an object's operations; what lies between them and the object is its name.
const OPERATIONS: &[(&str, &[&str])] = &[
    ("images", &["json", "history", "push", "tag", "get"]),
    ("distribution", &["json"]),
    ("plugins", &["json", "enable", "disable", "upgrade", "push", "set"]),
];

/// Paths of these objects that have no name in them.
const NAMELESS: &[&str] = &[
    "images/json",
    "images/create",
    "images/search",
    "images/get",
    "images/load",
    "images/prune",
    "plugins/privileges",
    "plugins/pull",
    "plugins/create",
];

/// A path as the routes know it, and the version it asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) version: Option<ApiVersion>,
    pub(crate) path: String,
}

/// Reads the path of a request. An escaped slash (`%2F`) counts as a slash, as in dockerd's router.
pub(crate) fn route(path: &str) -> Route {
    let path = decode(path);
    let mut segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let version =
        segments.first().and_then(|first| first.strip_prefix('v')).and_then(ApiVersion::parse);
    if version.is_some() {
        segments.remove(0);
    }
    let operations = OPERATIONS.iter().find(|(object, _)| segments.first() == Some(object));
    let path = match operations {
        Some((_, operations)) if !NAMELESS.contains(&segments.join("/").as_str()) => {
            named(&segments, operations)
        }
        _ => plain(&segments),
    };
    Route { version, path }
}

fn plain(segments: &[&str]) -> String {
    segments.iter().map(|segment| format!("/{}", encode(segment))).collect()
}

/// `images`, `library`, `busybox`, `json` → `/images/library%2Fbusybox/json`.
fn named(segments: &[&str], operations: &[&str]) -> String {
    let (object, rest) = segments.split_at(1);
    match rest.split_last() {
        Some((last, name)) if !name.is_empty() && operations.contains(last) => {
            format!("/{}/{}/{last}", object[0], encode(&name.join("/")))
        }
        Some(_) => format!("/{}/{}", object[0], encode(&rest.join("/"))),
        None => format!("/{}", object[0]),
    }
}

/// Undoes percent-escapes; what is not one stays as it is.
pub(crate) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, version: Option<ApiVersion>, want: &str) {
        assert_eq!(route(path), Route { version, path: want.to_owned() });
    }

    #[test]
    fn the_version_is_cut_off() {
        check("/v1.41/containers/json", Some(ApiVersion(1, 41)), "/containers/json");
        check("/containers/json", None, "/containers/json");
        check("/version", None, "/version");
        check("/volumes/v1.41", None, "/volumes/v1.41");
    }

    #[test]
    fn image_names_may_hold_slashes() {
        check("/images/a/b:1/json", None, "/images/a%2Fb:1/json");
        check("/images/a%2Fb/history", None, "/images/a%2Fb/history");
        check("/images/localhost:5000/a/b", None, "/images/localhost:5000%2Fa%2Fb");
        check("/images/json", None, "/images/json");
        check("/images/get", None, "/images/get");
        check("/distribution/a/b/json", None, "/distribution/a%2Fb/json");
    }

    #[test]
    fn doubled_slashes_and_odd_escapes_are_harmless() {
        check("//v1.51//_ping", Some(ApiVersion(1, 51)), "/_ping");
        check("/containers/a%zz/json", None, "/containers/a%25zz/json");
        check("/containers/%", None, "/containers/%25");
    }
}
