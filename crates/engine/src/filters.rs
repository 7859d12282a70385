//! The `filters` parameter of the list, prune and event calls.

use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Name → wanted values. Several values of one name are alternatives; several names must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

impl Filters {
    /// Reads Docker's JSON: `{"name":["value"]}`, or the older `{"name":{"value":true}}`.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Filters::default());
        }
        let bad = |err: serde_json::Error| Error::invalid(format!("invalid filter: {err}"));
        if let Ok(sets) = serde_json::from_str::<BTreeMap<String, BTreeMap<String, bool>>>(text) {
            let wanted = |set: BTreeMap<String, bool>| set.into_keys().collect();
            return Ok(Filters(sets.into_iter().map(|(name, set)| (name, wanted(set))).collect()));
        }
        serde_json::from_str(text).map(Filters).map_err(bad)
    }

    /// Refuses any name outside `accepted` with Docker's sentence.
    pub fn validate(&self, accepted: &[&str]) -> Result<()> {
        match self.0.keys().find(|name| !accepted.contains(&name.as_str())) {
            Some(name) => Err(Error::invalid(format!("invalid filter '{name}'"))),
            None => Ok(()),
        }
    }

    /// Docker's JSON, as [`Filters::parse`] reads it.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Adds a value.
    pub fn add(&mut self, name: &str, value: &str) {
        self.0.entry(name.to_owned()).or_default().insert(value.to_owned());
    }
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    /// The wanted values of `name`; empty when it is not filtered on.
    pub fn get(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }
    /// True when `name` is not filtered on, or any wanted value satisfies `test`.
    pub fn matches(&self, name: &str, mut test: impl FnMut(&str) -> bool) -> bool {
        self.0
            .get(name)
            .is_none_or(|values| values.is_empty() || values.iter().any(|value| test(value)))
    }
    /// `label` filters (`key` or `key=value`), which unlike the others must *all* hold.
    pub fn matches_labels(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.get(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
            None => labels.contains_key(wanted),
        })
    }
    /// A boolean filter (`dangling=true`). Docker's sentence when the value is neither.
    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        let mut values = self.get(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some("1" | "true"), None) => Ok(Some(true)),
            (Some("0" | "false"), None) => Ok(Some(false)),
            _ => {
                let values = self.get(name).collect::<Vec<_>>().join(" ");
                Err(Error::invalid(format!("invalid filter '{name}=[{values}]'")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_of_dockers_forms_are_read() {
        let lists = Filters::parse(r#"{"status":["running","paused"]}"#).unwrap();
        let sets = Filters::parse(r#"{"status":{"running":true,"paused":true}}"#).unwrap();
        assert_eq!(lists, sets);
        assert!(lists.matches("status", |value| value == "paused"));
        assert!(lists.matches("absent", |_| false));
        assert!(lists.validate(&["name"]).is_err());
    }

    /// `cargo xtask fuzz filters`.
    #[test]
    fn fuzz_filters() {
        let words = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\"name\"",
            "\"label\"",
            "\"a=b\"",
            "true",
            "false",
            "null",
            "1",
            "{}",
            "[]",
            "{\"name\":",
            "[\"x\"]",
            "{\"x\":true}",
            "\\u0000",
            "\\",
            "ü",
            " ",
        ];
        testkit::fuzz::fuzz("filters", |dice| {
            let mut text = dice.words(&words, 12);
            if dice.once_in(2) {
                text = format!("{{\"name\":{text}}}");
            }
            let Ok(filters) = Filters::parse(&text) else { return };
            drop(filters.validate(&["name"]));
            drop(filters.flag("name"));
            let _either = filters.matches("name", |value| value.is_empty());
            let _either = filters.matches_labels("name", &BTreeMap::new());
        });
    }

    #[test]
    fn label_filters_must_all_hold() {
        let filters = Filters::parse(r#"{"label":["a","b=1"]}"#).unwrap();
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert!(filters.matches_labels("label", &labels(&[("a", ""), ("b", "1")])));
        assert!(!filters.matches_labels("label", &labels(&[("a", ""), ("b", "2")])));
    }
}
