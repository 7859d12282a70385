//! Build arguments: which of them an instruction sees (moby's `buildargs`).

use std::collections::{BTreeMap, BTreeSet};

/// Taken without an `ARG`, and kept out of the cache key and of the history.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What `--build-arg` gave and what the file declared so far.
#[derive(Debug, Clone, Default)]
pub struct BuildArgs {
    /// From the request; `None` for a name without a value.
    given: BTreeMap<String, Option<String>>,
    /// The platform's variables: usable in `FROM`, and after an `ARG` without a default.
    platform: BTreeMap<String, String>,
    /// `ARG`s before the first `FROM`, with their defaults.
    global: BTreeMap<String, Option<String>>,
    /// `ARG`s of the current stage.
    declared: BTreeMap<String, Option<String>>,
    referenced: BTreeSet<String>,
}

impl BuildArgs {
    /// `platform` is `linux/amd64` or `linux/arm64/v8`.
    pub fn new(given: BTreeMap<String, Option<String>>, platform: &str) -> Self {
        let mut parts = platform.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (os, arch, variant) = (part(), part(), part());
        let mut known = BTreeMap::new();
        for side in ["TARGET", "BUILD"] {
            known.insert(format!("{side}PLATFORM"), platform.to_owned());
            known.insert(format!("{side}OS"), os.clone());
            known.insert(format!("{side}ARCH"), arch.clone());
            known.insert(format!("{side}VARIANT"), variant.clone());
        }
        BuildArgs { given, platform: known, ..BuildArgs::default() }
    }

    /// An `ARG` before the first `FROM`, its default expanded.
    pub fn declare_global(&mut self, name: &str, default: Option<String>) {
        self.referenced.insert(name.to_owned());
        self.global.insert(name.to_owned(), default);
    }

    /// An `ARG` of the current stage, its default expanded.
    pub fn declare(&mut self, name: &str, default: Option<String>) {
        self.referenced.insert(name.to_owned());
        self.declared.insert(name.to_owned(), default);
    }

    /// A new stage begins: it has declared nothing yet.
    pub fn next_stage(&mut self) {
        self.declared.clear();
    }

    /// What `FROM` and later global `ARG`s see.
    pub fn global_value(&self, name: &str) -> Option<&str> {
        match self.global.get(name) {
            Some(default) => self.given_value(name).or(default.as_deref()),
            None => self.platform.get(name).map(String::as_str),
        }
    }

    /// What an instruction of the current stage sees, if its environment does not say otherwise.
    pub fn value(&self, name: &str) -> Option<&str> {
        match self.declared.get(name) {
            Some(default) => self.declared_value(name, default.as_deref()),
            None if PREDEFINED.contains(&name) => self.given_value(name),
            None => None,
        }
    }

    /// `NAME=value` of all that a `RUN` gets, `except` for the names of its environment; those for the
    /// cache key only `keyed`, that is, without the predefined ones that nobody declared.
    pub fn environment(&self, env: &[String], keyed: bool) -> Vec<String> {
        let is_set =
            |name: &str| env.iter().any(|variable| variable.split('=').next() == Some(name));
        let undeclared =
            PREDEFINED.iter().copied().filter(|name| !self.declared.contains_key(*name));
        let names = self.declared.keys().map(String::as_str).chain(undeclared.filter(|_| !keyed));
        let pairs = names.filter(|name| !is_set(name));
        let mut list: Vec<String> = pairs
            .filter_map(|name| self.value(name).map(|value| format!("{name}={value}")))
            .collect();
        list.sort();
        list
    }

    /// Given names that no instruction asked for: dockerd warns of them.
    pub fn unused(&self) -> Vec<String> {
        let known = |name: &str| {
            self.referenced.contains(name)
                || PREDEFINED.contains(&name)
                || self.platform.contains_key(name)
        };
        self.given.keys().filter(|name| !known(name)).cloned().collect()
    }

    fn given_value(&self, name: &str) -> Option<&str> {
        self.given.get(name)?.as_deref()
    }

    /// Given, or the stage's own default, or the global one's value, or the platform's.
    fn declared_value<'a>(&'a self, name: &str, default: Option<&'a str>) -> Option<&'a str> {
        let global = || self.global.get(name).and_then(|default| default.as_deref());
        let platform = || self.platform.get(name).map(String::as_str);
        self.given_value(name).or(default).or_else(global).or_else(platform)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(given: &[(&str, &str)]) -> BuildArgs {
        let given = given.iter().map(|(name, value)| ((*name).into(), Some((*value).into())));
        BuildArgs::new(given.collect(), "linux/arm64/v8")
    }

    #[test]
    fn an_argument_counts_from_its_declaration_to_the_end_of_the_stage() {
        let mut args = args(&[("A", "given")]);
        assert_eq!(args.value("A"), None);
        args.declare("A", Some("default".into()));
        assert_eq!(args.value("A"), Some("given"));
        args.declare("B", Some("default".into()));
        assert_eq!(args.value("B"), Some("default"));
        args.next_stage();
        assert_eq!(args.value("A"), None);
    }

    #[test]
    fn a_global_argument_is_seen_by_from_and_by_stages_that_repeat_it() {
        let mut args = args(&[("V", "2")]);
        args.declare_global("V", Some("1".into()));
        args.declare_global("W", Some("w".into()));
        assert_eq!((args.global_value("V"), args.global_value("W")), (Some("2"), Some("w")));
        assert_eq!(args.value("W"), None);
        args.declare("W", None);
        assert_eq!(args.value("W"), Some("w"));
    }

    #[test]
    fn the_platform_and_the_proxies_are_known_without_being_given() {
        let mut args = args(&[("HTTP_PROXY", "p"), ("X", "1"), ("TARGETARCH", "s390x")]);
        assert_eq!(args.global_value("TARGETVARIANT"), Some("v8"));
        assert_eq!(args.value("TARGETARCH"), None);
        args.declare("TARGETOS", None);
        assert_eq!(args.value("TARGETOS"), Some("linux"));
        assert_eq!(args.environment(&[], false), ["HTTP_PROXY=p", "TARGETOS=linux"]);
        assert_eq!(args.environment(&["TARGETOS=x".into()], true), Vec::<String>::new());
        assert_eq!(args.unused(), ["X"]);
    }
}
