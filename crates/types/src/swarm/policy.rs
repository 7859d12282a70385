//! Who may talk to whom inside a network of the cluster.
//!
//! A service that some rule of its network names as `To` is reached by what its rules let in, and by nothing else of the
//! network. Every other service is reached by everybody on it. What comes in from outside by a published port is no
//! matter of these rules.

use crate::port::Protocol;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One rule, in the user's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyRule {
    /// A service's name, or `label=KEY` or `label=KEY=VALUE` of services.
    pub to: String,
    /// The same; none for everybody on the network.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// `5432`, `5432/tcp`, `53/udp`; none for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// The stack or project whose file says so and may take it back; empty of what the command line said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
}

/// Services that a rule means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    Service(String),
    /// Any value if there is none.
    Label(String, Option<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyPort {
    pub protocol: Protocol,
    pub port: u16,
}

impl Selector {
    /// `None` of what means nobody.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("label=") {
            Some(label) => {
                let (key, value) = match label.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (label, None),
                };
                (!key.is_empty()).then(|| Selector::Label(key.to_owned(), value))
            }
            None => {
                let is_name =
                    |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
                let is_one = !text.is_empty() && text.chars().all(is_name);
                is_one.then(|| Selector::Service(text.to_owned()))
            }
        }
    }

    /// Whether it means a service of that name and those labels.
    pub fn means(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Selector::Service(wanted) => wanted == name,
            Selector::Label(key, value) => {
                labels.get(key).is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
            }
        }
    }
}

impl PolicyPort {
    /// `None` of what is no port.
    pub fn parse(text: &str) -> Option<Self> {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let port = port.parse().ok().filter(|port| *port > 0)?;
        Some(PolicyPort { protocol, port })
    }
}

impl PolicyRule {
    /// What makes no sense in it.
    pub fn check(&self) -> Result<(), String> {
        for text in self.from.iter().chain([&self.to]) {
            if Selector::parse(text).is_none() {
                return Err(format!("{text:?} is neither a service's name nor label=KEY[=VALUE]"));
            }
        }
        match self.ports.iter().find(|text| PolicyPort::parse(text).is_none()) {
            Some(text) => Err(format!("invalid port {text:?}: PORT[/tcp|/udp]")),
            None => Ok(()),
        }
    }
}

/// `there` with the rules of `owner` replaced by `wanted`; others' stay as they are.
pub fn with_own(there: &[PolicyRule], owner: &str, wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let others = there.iter().filter(|rule| rule.owner != owner);
    others.chain(wanted).cloned().collect()
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |list: &[String], all: &str| match list.is_empty() {
            true => all.to_owned(),
            false => list.join(","),
        };
        let (from, ports) = (or(&self.from, "everybody"), or(&self.ports, "all ports"));
        write!(f, "{} from {from} on {ports}", self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_a_name_or_a_label_with_or_without_value() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        let means = |text: &str| Selector::parse(text).map(|it| it.means("web", &labels));
        assert_eq!(means("web"), Some(true));
        assert_eq!(means("we"), Some(false));
        assert_eq!(means("label=tier"), Some(true));
        assert_eq!(means("label=tier=front"), Some(true));
        assert_eq!(means("label=tier="), Some(false));
        for nonsense in ["", "label=", "label==x", "a b", "web/80"] {
            assert_eq!(means(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn a_rule_says_what_makes_no_sense_in_it() {
        let rule = |to: &str, from: &[&str], ports: &[&str]| PolicyRule {
            to: to.to_owned(),
            from: from.iter().map(|text| (*text).to_owned()).collect(),
            ports: ports.iter().map(|text| (*text).to_owned()).collect(),
            owner: String::new(),
        };
        assert_eq!(rule("db", &["web", "label=a=b"], &["1", "53/udp"]).check(), Ok(()));
        assert!(rule("", &[], &[]).check().is_err());
        for port in ["0", "70000", "1/sctp", "x", "80/"] {
            let said = rule("db", &[], &[port]).check().unwrap_err();
            assert_eq!(said, format!("invalid port {port:?}: PORT[/tcp|/udp]"));
        }
        assert_eq!(rule("db", &["web"], &["1"]).to_string(), "db from web on 1");
    }
}
